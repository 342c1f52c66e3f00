// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio-blk driver on a VDUSE device, with each kind of virtqueue: the file behind the
 * device has what was written, and the driver reads what the file has.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "../kselftest_harness.h"
#include "util/disk.h"
#include "util/sysfs.h"
#include "util/task.h"

#define BACKING		"/tmp/vduse_blk_test"
#define SIZE		(16 << 20)
#define SYSLOG_ACTION_CONSOLE_OFF	6
#define SYSLOG_ACTION_CONSOLE_ON	7
#define TAINT_WARN	0x200
#define MOUNTED		"/tmp/vduse_blk_test.d"

struct blk {
	struct task task;
	char device[32];	/* such as /dev/vda */
};

FIXTURE(vduse_blk)
{
	struct blk blk;
};

FIXTURE_VARIANT(vduse_blk)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	vduse_blk
#include "util/ring_kinds.h"

static int find_device(struct blk *blk)
{
	char name[16];

	if (path_match(name, sizeof(name), "/sys/bus/virtio/devices/%s/block/vd*",
		       blk->task.virtio))
		return -1;
	snprintf(blk->device, sizeof(blk->device), "/dev/%s", name);
	return 0;
}

/*
 * Keep the messages about requests that fail on purpose off the console, where they would
 * look like errors. A warning would still taint the kernel.
 */
static void hush(bool on)
{
	klogctl(on ? SYSLOG_ACTION_CONSOLE_OFF : SYSLOG_ACTION_CONSOLE_ON, NULL, 0);
}

/*
 * vduse of Linux 7.3 holds its ready_lock while it calls the driver, and takes it in a kick.
 * virtio_blk adds buffers with a lock that it takes when it is called, too, and virtqueue_add()
 * kicks if a split ring is full: two CPUs wait for each other, for ever.
 */
static bool vduse_deadlocks(const struct ring_kind *kind)
{
	struct utsname name;

	return kind->queue_size && !kind->packed && !uname(&name) && atoi(name.release) >= 7;
}

FIXTURE_SETUP(vduse_blk)
{
	int fd;

	if (variant->kind.in_order && !virtio_knows_in_order())
		SKIP(return, "this kernel's virtio_ring does not support VIRTIO_F_IN_ORDER");
	if (vduse_deadlocks(&variant->kind))
		SKIP(return, "this kernel's vduse deadlocks with virtio_blk when the ring is full");
	fd = open(BACKING, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SIZE));
	close(fd);
	ASSERT_EQ(0, task_start(&self->blk.task, &variant->kind, "blk", BACKING));
	ASSERT_EQ(0, find_device(&self->blk)) task_stop(&self->blk.task);
}

FIXTURE_TEARDOWN(vduse_blk)
{
	hush(false);
	if (self->blk.task.pid)
		EXPECT_EQ(0, task_stop(&self->blk.task));
	unlink(BACKING);
}

/*
 * The driver has accepted what was offered, and the kernel reports that.
 * Clause: 2.2.1a, 6.1a.
 */
TEST_F(vduse_blk, negotiated)
{
	const struct ring_kind *kind = &variant->kind;
	const char *device = self->blk.task.virtio;
	struct queue_statistics is;

	EXPECT_EQ(1, virtio_feature(device, VIRTIO_F_VERSION_1));
	EXPECT_EQ(kind->packed, virtio_feature(device, VIRTIO_F_RING_PACKED));
	EXPECT_EQ(kind->in_order, virtio_feature(device, VIRTIO_F_IN_ORDER));
	EXPECT_EQ(!kind->no_indirect, virtio_feature(device, VIRTIO_RING_F_INDIRECT_DESC));
	EXPECT_EQ(!kind->no_event_idx, virtio_feature(device, VIRTIO_RING_F_EVENT_IDX));
	TH_LOG("%s: virtio-blk negotiated%s%s", device,
	       virtio_feature(device, VIRTIO_F_RING_PACKED) ? " packed" : "",
	       virtio_feature(device, VIRTIO_F_IN_ORDER) ? " in_order" : "");

	if (!virtio_knows_in_order())
		return;
	ASSERT_EQ(0, virtio_queue_statistics(device, 0, &is));
	EXPECT_EQ(kind->packed, is.packed);
	EXPECT_EQ(kind->in_order, is.in_order);
	EXPECT_EQ(kind->queue_size ?: RING_SIZE, is.size);
}

/* Many requests at a time; both sides count the same. */
TEST_F_TIMEOUT(vduse_blk, requests, 60)
{
	const struct ring_kind *kind = &variant->kind;
	struct queue_statistics is;
	struct task_report report;
	struct disk disk;

	ASSERT_EQ(0, disk_open(&disk, self->blk.device));
	ASSERT_EQ(SIZE / DISK_SECTOR, disk.sectors);
	EXPECT_EQ(0, disk_work(&disk, 16, 60, 128));
	EXPECT_EQ(0, disk_compare(&disk, BACKING));
	EXPECT_EQ(0, disk_compare(&disk, self->blk.device));
	disk_close(&disk);

	ASSERT_EQ(0, task_report(&self->blk.task, 1, &report));
	EXPECT_EQ(kind->packed, report.packed);
	EXPECT_EQ(kind->in_order, report.in_order);
	if (kind->in_order) {
		ASSERT_EQ(0, virtio_queue_statistics(self->blk.task.virtio, 0, &is));
		EXPECT_EQ(report.buffers, is.buffers);
		EXPECT_EQ(report.elements, is.batches);
	}
	EXPECT_EQ(kind->in_order && kind->max_batch != 1, report.elements < report.buffers);
	EXPECT_GE(kind->max_batch ?: UINT_MAX, report.largest_batch);
}

static bool kernel_has_warned(void)
{
	char taints[32];

	return file_read(taints, sizeof(taints), "/proc/sys/kernel/tainted") ||
	       strtoul(taints, NULL, 0) & TAINT_WARN;
}

/* Start reads beyond the end of the file. The exit status says whether all failed. */
static pid_t start_failing_reads(const struct disk *disk, void *data)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (unsigned int i = 0; i < 400; i++)
		if (pread(disk->fd, data, 4096, SIZE / 2 + i * 4096) != -1 || errno != EIO)
			_exit(1);
	_exit(0);
}

/*
 * Requests that fail among others that succeed. They are not written completely, so the device
 * must not skip them.
 */
TEST_F_TIMEOUT(vduse_blk, errors, 60)
{
	struct disk disk;
	int status;
	void *data;
	pid_t pid;

	ASSERT_EQ(0, disk_open(&disk, self->blk.device));
	ASSERT_EQ(0, posix_memalign(&data, 4096, 4096));
	ASSERT_EQ(0, truncate(BACKING, SIZE / 2));
	hush(true);
	EXPECT_EQ(-1, pwrite(disk.fd, data, 4096, SIZE - 4096));
	EXPECT_EQ(EIO, errno);

	disk.sectors /= 2;
	pid = start_failing_reads(&disk, data);
	ASSERT_LE(0, pid);
	EXPECT_EQ(0, disk_work(&disk, 8, 60, 16));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	hush(false);
	EXPECT_FALSE(kernel_has_warned());
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, disk_compare(&disk, BACKING));
	free(data);
	disk_close(&disk);
}

static int remove_driver(void *virtio)
{
	return file_write(virtio, "/sys/bus/virtio/drivers/virtio_blk/unbind");
}

/* Remove the device while requests are outstanding, and add it again. */
TEST_F_TIMEOUT(vduse_blk, removal, 60)
{
	struct disk disk;

	ASSERT_EQ(0, disk_open(&disk, self->blk.device));
	EXPECT_EQ(0, disk_work_until(&disk, 16, 64, remove_driver, self->blk.task.virtio));
	ASSERT_EQ(0, file_write(self->blk.task.virtio, "/sys/bus/virtio/drivers/virtio_blk/bind"));
	ASSERT_EQ(0, find_device(&self->blk));
	EXPECT_EQ(0, disk_compare(&disk, self->blk.device));
	close(disk.fd);

	ASSERT_EQ(0, task_detach(&self->blk.task));
	ASSERT_EQ(0, system("rmmod virtio_blk && modprobe virtio_blk"));
	ASSERT_EQ(0, task_attach(&self->blk.task));
	ASSERT_EQ(0, find_device(&self->blk));
	disk.removed = false;
	disk.fd = open(self->blk.device, O_RDWR | O_DIRECT);
	ASSERT_LE(0, disk.fd);
	EXPECT_EQ(0, disk_work(&disk, 4, 20, 64));
	EXPECT_EQ(0, disk_compare(&disk, BACKING));
	disk_close(&disk);
}

/* fio and mkfs.ext4 are in bin/ next to this program, or installed. */
static int run(const char *format, const char *argument)
{
	char directory[256], path[512], command[1024];
	ssize_t length = readlink("/proc/self/exe", directory, sizeof(directory) - 1);

	if (length < 0)
		return -1;
	directory[length] = '\0';
	*strrchr(directory, '/') = '\0';
	snprintf(path, sizeof(path), "%s/bin:%s", directory, getenv("PATH"));
	setenv("PATH", path, 1);
	snprintf(command, sizeof(command), format, argument);
	return system(command);
}

#define FIO	"fio --directory=" MOUNTED " --ioengine=io_uring --iodepth=8 --direct=1 " \
		"--size=1M --verify=crc32c --verify_fatal=1 --thread --group_reporting %s " \
		"--name=random --numjobs=2 --rw=randwrite --bsrange=1k-64k " \
		"--name=sequential --numjobs=2 --rw=write --bs=16k >" BACKING ".fio"

static bool kernel_suits_fio(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return !access("/proc/sysvipc/shm", F_OK);
}

static int mount_it(const char *device)
{
	mkdir(MOUNTED, 0700);
	return mount(device, MOUNTED, "ext4", 0, NULL);
}

/* What fio writes to files is there, also after the file system was mounted again. */
TEST_F_TIMEOUT(vduse_blk, filesystem, 120)
{
	if (run("%s >/dev/null", "fio --version"))
		SKIP(return, "fio is not installed");
	if (!kernel_suits_fio())
		SKIP(return, "fio needs a kernel with CONFIG_SYSVIPC and CONFIG_TIMERFD");
	if (load_modules("ext4"))
		SKIP(return, "this kernel has no ext4");

	ASSERT_EQ(0, run("mkfs.ext4 -q %s", self->blk.device));
	ASSERT_EQ(0, mount_it(self->blk.device));
	EXPECT_EQ(0, run(FIO, ""));
	EXPECT_EQ(0, umount(MOUNTED));
	ASSERT_EQ(0, task_detach(&self->blk.task));
	ASSERT_EQ(0, task_attach(&self->blk.task));
	ASSERT_EQ(0, find_device(&self->blk));
	ASSERT_EQ(0, mount_it(self->blk.device));
	EXPECT_EQ(0, run(FIO, "--verify_only"));
	EXPECT_EQ(0, umount(MOUNTED));
}

TEST_HARNESS_MAIN
