// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio drivers on QEMU's devices, which qemu-devices.sh sets up. QEMU offers split and
 * packed virtqueues, and can reset a single virtqueue.
 */
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <linux/virtio_config.h>
#include "../kselftest_harness.h"
#include "util/disk.h"
#include "util/frames.h"
#include "util/sysfs.h"

#define MODULES		"virtio_pci virtio_blk virtio_net virtio_console 9pnet_virtio 9p"
#define MOUNTED		"/tmp/qemu_devices_test.d"
#define SERIAL_BYTES	(512 << 10)
#define FILE_BYTES	1000000

#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET	40
#endif

FIXTURE(qemu)
{
	char device[32];	/* such as "virtio0" */
};

FIXTURE_VARIANT(qemu)
{
	const char *name;
	bool packed;
	unsigned int hub;
};

FIXTURE_VARIANT_ADD(qemu, split) { .name = "split", .hub = 0 };
FIXTURE_VARIANT_ADD(qemu, packed) { .name = "packed", .packed = true, .hub = 1 };

/* Find the directory below @parent whose @file contains @value. Returns 0 or -1. */
static int find(char *name, size_t size, const char *parent, const char *file, const char *value)
{
	char pattern[256], line[80];
	int result = -1;
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*/%s", parent, file);
	if (glob(pattern, 0, NULL, &found))
		return -1;
	for (size_t i = 0; i < found.gl_pathc && result; i++) {
		if (file_read(line, sizeof(line), "%s", found.gl_pathv[i]) || strcmp(line, value))
			continue;
		found.gl_pathv[i][strlen(found.gl_pathv[i]) - strlen(file) - 1] = '\0';
		snprintf(name, size, "%s", strrchr(found.gl_pathv[i], '/') + 1);
		result = 0;
	}
	globfree(&found);
	return result;
}

static int mount_directory(const char *tag)
{
	mkdir(MOUNTED, 0700);
	return mount(tag, MOUNTED, "9p", 0, "trans=virtio,version=9p2000.L,msize=131072");
}

FIXTURE_SETUP(qemu)
{
	ASSERT_EQ(0, load_modules(MODULES));
	if (access("/sys/bus/virtio/devices/virtio0", F_OK))
		SKIP(return, "QEMU was not started with the arguments of qemu-devices.sh");
	/* A test that failed may have left this. */
	umount2(MOUNTED, MNT_DETACH);
}

FIXTURE_TEARDOWN(qemu)
{
	if (!*self->device)
		return;
	EXPECT_EQ(variant->packed, virtio_feature(self->device, VIRTIO_F_RING_PACKED));
	EXPECT_EQ(0, virtio_feature(self->device, VIRTIO_F_IN_ORDER));
}

/* What is written to the disk is in its file, which can be seen in the shared directory. */
TEST_F(qemu, blk)
{
	char name[16], path[64], file[64];
	struct disk disk;

	ASSERT_EQ(0, find(name, sizeof(name), "/sys/block", "serial", variant->name));
	ASSERT_EQ(0, link_target(self->device, sizeof(self->device), "/sys/block/%s/device", name));
	snprintf(path, sizeof(path), "/dev/%s", name);
	snprintf(file, sizeof(file), MOUNTED "/%s.disk", variant->name);

	ASSERT_EQ(0, disk_open(&disk, path));
	/* The file may be one that another run has written to. */
	ASSERT_EQ(0, disk_clear(&disk));
	EXPECT_EQ(0, disk_work(&disk, 16, 40, 128));
	EXPECT_EQ(0, disk_compare(&disk, path));
	ASSERT_EQ(0, mount_directory(variant->name));
	EXPECT_EQ(0, disk_compare(&disk, file));
	EXPECT_EQ(0, umount(MOUNTED));
	disk_close(&disk);
}

/* Find the two interfaces of a hub, and set them up. */
static int find_interfaces(char names[2][IF_NAMESIZE], unsigned int hub)
{
	for (unsigned int i = 0; i < 2; i++) {
		char address[32];

		snprintf(address, sizeof(address), "52:54:00:00:%02x:%02x", hub, i);
		if (find(names[i], IF_NAMESIZE, "/sys/class/net", "address", address) ||
		    interface_up(names[i], 1500))
			return -1;
	}
	return 0;
}

static int pass_both_ways(char names[2][IF_NAMESIZE], uint32_t count, unsigned int burst)
{
	struct frames there, back;
	int result = -1;

	if (!frames_open(&there, names[0], names[1]) && !frames_open(&back, names[1], names[0]) &&
	    !frames_pass(&there, count, burst, FRAME_LEAST, 1514) &&
	    !frames_pass(&back, count, burst, FRAME_LEAST, 1514))
		result = 0;
	frames_close(&there);
	frames_close(&back);
	return result;
}

TEST_F_TIMEOUT(qemu, net, 60)
{
	char names[2][IF_NAMESIZE];

	ASSERT_EQ(0, find_interfaces(names, variant->hub));
	ASSERT_EQ(0, link_target(self->device, sizeof(self->device), "/sys/class/net/%s/device",
				 names[0]));
	EXPECT_EQ(0, pass_both_ways(names, 1455, 1));
	EXPECT_EQ(0, pass_both_ways(names, 2000, 64));
}

static int resize(const char *interface, unsigned int size)
{
	struct ethtool_ringparam ring = { .cmd = ETHTOOL_GRINGPARAM };
	struct ifreq ifr = { .ifr_data = (void *)&ring };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), result = -1;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", interface);
	if (fd < 0)
		return -1;
	if (!ioctl(fd, SIOCETHTOOL, &ifr)) {
		ring.cmd = ETHTOOL_SRINGPARAM;
		ring.rx_pending = size;
		ring.tx_pending = size;
		result = ioctl(fd, SIOCETHTOOL, &ifr);
	}
	close(fd);
	return result;
}

static pid_t start_flood(const char *from, const char *to)
{
	struct frames frames;
	pid_t pid = fork();

	if (pid)
		return pid;
	if (!frames_open(&frames, from, to))
		frames_flood(&frames, 600);
	_exit(0);
}

static int drain(const char *from, const char *to)
{
	struct frames frames;
	int result = frames_open(&frames, from, to);

	if (!result)
		frames_drain(&frames);
	frames_close(&frames);
	return result;
}

static int resize_in_traffic(char names[2][IF_NAMESIZE], unsigned int size)
{
	pid_t there = start_flood(names[0], names[1]);
	pid_t back = start_flood(names[1], names[0]);
	int result;

	usleep(100000);
	result = resize(names[0], size);
	usleep(100000);
	kill(there, SIGKILL);
	kill(back, SIGKILL);
	waitpid(there, NULL, 0);
	waitpid(back, NULL, 0);
	return drain(names[0], names[1]) || drain(names[1], names[0]) ? -1 : result;
}

/*
 * Resize the rings while frames pass; frames still pass afterwards.
 * Clause: 2.6.1.2.2a.
 */
TEST_F_TIMEOUT(qemu, resize, 90)
{
	static const unsigned int sizes[] = { 64, 128, 32, 256, 128, 256 };
	char names[2][IF_NAMESIZE];
	struct queue_statistics is;

	ASSERT_EQ(0, find_interfaces(names, variant->hub));
	ASSERT_EQ(0, link_target(self->device, sizeof(self->device), "/sys/class/net/%s/device",
				 names[0]));
	if (virtio_feature(self->device, VIRTIO_F_RING_RESET) != 1)
		SKIP(return, "QEMU does not offer VIRTIO_F_RING_RESET");

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (variant->packed) {
			/* QEMU 7.2 sends nothing any more if this happens while frames pass. */
			EXPECT_EQ(0, resize(names[0], sizes[i])) TH_LOG("%s", strerror(errno));
		} else {
			EXPECT_EQ(0, resize_in_traffic(names, sizes[i]))
				TH_LOG("%s", strerror(errno));
		}
		/* QEMU's hub drops frames if the receiver has no buffers. */
		EXPECT_EQ(0, pass_both_ways(names, 600, sizes[i] / 2));
		if (!virtio_queue_statistics(self->device, 0, &is))
			EXPECT_EQ(sizes[i], is.size);
	}
}

/* A file of the host has the right content, and one of ours still has it after a new mount. */
TEST_F_TIMEOUT(qemu, 9p, 60)
{
	unsigned int number, last = 0;
	char *data, *again;
	FILE *file;
	int fd;

	ASSERT_EQ(0, find(self->device, sizeof(self->device), "/sys/bus/virtio/devices",
			  "mount_tag", variant->name));
	ASSERT_EQ(0, mount_directory(variant->name));
	file = fopen(MOUNTED "/numbers", "r");
	ASSERT_NE(NULL, file);
	while (fscanf(file, "%u\n", &number) == 1 && number == last + 1)
		last = number;
	EXPECT_EQ(200000, last);
	fclose(file);

	data = malloc(FILE_BYTES);
	again = malloc(FILE_BYTES);
	ASSERT_TRUE(data && again);
	for (unsigned int i = 0; i < FILE_BYTES; i++)
		data[i] = random();
	fd = open(MOUNTED "/ours", O_RDWR | O_CREAT | O_TRUNC, 0600);
	ASSERT_LE(0, fd);
	EXPECT_EQ(FILE_BYTES, write(fd, data, FILE_BYTES));
	EXPECT_EQ(0, close(fd));
	ASSERT_EQ(0, umount(MOUNTED));

	ASSERT_EQ(0, mount_directory(variant->name));
	fd = open(MOUNTED "/ours", O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(FILE_BYTES, read(fd, again, FILE_BYTES));
	EXPECT_EQ(0, memcmp(data, again, FILE_BYTES));
	close(fd);
	EXPECT_EQ(0, umount(MOUNTED));
}

static int open_port(const char *layout, unsigned int side)
{
	char value[16], name[32], path[64];

	snprintf(value, sizeof(value), "%s-%u", layout, side);
	if (find(name, sizeof(name), "/sys/class/virtio-ports", "name", value))
		return -1;
	snprintf(path, sizeof(path), "/dev/%s", name);
	return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

/* Write everything to one port, in parts of many sizes, and read it from the other one. */
static size_t transfer(int from, int to, const char *data, char *got, size_t size)
{
	size_t sent = 0, received = 0;

	while (received < size) {
		struct pollfd fds[] = {
			{ .fd = sent < size ? from : -1, .events = POLLOUT },
			{ .fd = to, .events = POLLIN },
		};
		ssize_t done;

		if (poll(fds, 2, 5000) <= 0)
			break;
		if (fds[0].revents & POLLOUT) {
			size_t chunk = 1 + sent * 7 % 8000;

			done = write(from, data + sent, chunk < size - sent ? chunk : size - sent);
			if (done > 0)
				sent += done;
		}
		if (fds[1].revents & POLLIN) {
			done = read(to, got + received, size - received);
			if (done > 0)
				received += done;
		}
	}
	return received;
}

TEST_F_TIMEOUT(qemu, serial, 60)
{
	char *data = malloc(SERIAL_BYTES), *got = malloc(SERIAL_BYTES), port[32], name[16];
	int fds[2];

	ASSERT_TRUE(data && got);
	for (unsigned int i = 0; i < SERIAL_BYTES; i++)
		data[i] = random();
	snprintf(name, sizeof(name), "%s-0", variant->name);
	ASSERT_EQ(0, find(port, sizeof(port), "/sys/class/virtio-ports", "name", name));
	ASSERT_EQ(0, link_target(self->device, sizeof(self->device),
				 "/sys/class/virtio-ports/%s/device", port));
	for (unsigned int side = 0; side < 2; side++) {
		fds[side] = open_port(variant->name, side);
		ASSERT_LE(0, fds[side]);
	}
	for (unsigned int side = 0; side < 2; side++) {
		memset(got, 0, SERIAL_BYTES);
		EXPECT_EQ(SERIAL_BYTES,
			  transfer(fds[side], fds[!side], data, got, SERIAL_BYTES));
		EXPECT_EQ(0, memcmp(data, got, SERIAL_BYTES));
	}
	close(fds[0]);
	close(fds[1]);
}

TEST_HARNESS_MAIN
