// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a VMM keeps its device processes alive: supervise.c, control.c, vmm_device.c,
 * vmm_virtio.c and vmm_blk.c, with accesses that are forwarded, so that no KVM is needed.
 * What would be an interrupt stays in its eventfd. Every wait has an end.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include "../control.h"
#include "../run.h"
#include "../supervise.h"
#include "../vmm_virtio.h"
#include "vmm.h"

#include "kselftest_harness.h"

#define IMAGE_SIZE	0x100000UL

static bool stop_requested;

bool run_stop_requested(void)
{
	return __atomic_load_n(&stop_requested, __ATOMIC_RELAXED);
}

/* There is no KVM behind these descriptors. */
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (request == KVM_IRQFD)
		return 0;
	return syscall(SYS_ioctl, fd, request, arg);
}

struct vmm {
	struct vm vm;
	struct vmm_device devs[2];
	struct supervisor *supervisor;
	char dir[32], socket[64], image[64];
	char blk[PATH_MAX], rogue[PATH_MAX];
};

FIXTURE(supervise) {
	struct vmm vmm;
};

static void create_file(const char *path, size_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, size))
		abort();
	close(fd);
}

FIXTURE_SETUP(supervise)
{
	unsigned int i;

	stop_requested = false;
	snprintf(self->vmm.dir, sizeof(self->vmm.dir), "/tmp/supervise.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->vmm.dir));
	snprintf(self->vmm.socket, sizeof(self->vmm.socket), "%s/socket", self->vmm.dir);
	snprintf(self->vmm.image, sizeof(self->vmm.image), "%s/image", self->vmm.dir);
	vmm_name_beside(self->vmm.blk, "virtio-blk");
	vmm_name_beside(self->vmm.rogue, "rogue");
	self->vmm.vm.fd = -1;
	self->vmm.vm.nr_vcpus = 1;
	self->vmm.vm.ram_size = MEMORY_SIZE;
	self->vmm.vm.ram_fd = device_create_memory("guest", MEMORY_SIZE);
	ASSERT_GE(self->vmm.vm.ram_fd, 0);
	for (i = 0; i < 2; i++) {
		char image[72];

		snprintf(image, sizeof(image), "%s%u", self->vmm.image, i);
		create_file(image, IMAGE_SIZE);
		vmm_virtio_init(&self->vmm.devs[i], i, VIRTIO_ID_BLOCK);
		snprintf(self->vmm.devs[i].name, sizeof(self->vmm.devs[i].name), "blk%u", i);
		self->vmm.devs[i].program = self->vmm.blk;
		self->vmm.devs[i].args.features = vmm_virtio_default_features;
		vmm_blk_open(&self->vmm.devs[i], image);
		vmm_device_create(&self->vmm.devs[i], &self->vmm.vm, VMM_DISPATCH_FORWARD);
	}
}

FIXTURE_TEARDOWN(supervise)
{
	char command[64];

	if (self->vmm.supervisor)
		supervise_stop(self->vmm.supervisor);
	snprintf(command, sizeof(command), "rm -r %s", self->vmm.dir);
	EXPECT_EQ(0, system(command));
}

static void begin(struct vmm *vmm, unsigned int deaths)
{
	struct crash_limit limit = { deaths, 60 };

	vmm->supervisor = supervise(vmm->devs, 2, limit, vmm->socket);
}

/* As a driver does it, to DRIVER_OK */
static void drive(struct vmm_device *dev)
{
	vmm_put(dev, VIRTIO_MMIO_STATUS, 0);
	vmm_put(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	vmm_put(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	vmm_put(dev, VIRTIO_MMIO_DRIVER_FEATURES, 1);	/* VIRTIO_F_VERSION_1 */
	vmm_put(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				     VIRTIO_CONFIG_S_FEATURES_OK);
	vmm_put(dev, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

#define DRIVEN	0xf

#define STATUS(vmm)	vmm_ask((vmm)->socket, "status", sizeof("status"))

/* What the registers hold outlives any number of processes. */
TEST_F_TIMEOUT(supervise, restart, LIMIT_S)
{
	unsigned int i;

	begin(&self->vmm, 100);
	drive(&self->vmm.devs[0]);
	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(vmm_kill_one(&self->vmm.devs[0]));
		ASSERT_EQ(DRIVEN, vmm_get(&self->vmm.devs[0], VIRTIO_MMIO_STATUS));
	}
	EXPECT_NE(NULL, strstr(STATUS(&self->vmm), "blk0 running"));
	EXPECT_NE(NULL, strstr(STATUS(&self->vmm), "deaths 20 "));
	EXPECT_NE(NULL, strstr(STATUS(&self->vmm), "killed by signal 9"));
	EXPECT_EQ(0, vmm_get(&self->vmm.devs[1], VIRTIO_MMIO_STATUS));
}

struct accesses {
	struct vmm_device *dev;
	bool stop;
	unsigned long done, wrong;
};

static void *keep_accessing(void *arg)
{
	struct accesses *a = arg;

	while (!__atomic_load_n(&a->stop, __ATOMIC_RELAXED)) {
		vmm_put(a->dev, VIRTIO_MMIO_QUEUE_SEL, a->done & 0xff);
		if (vmm_get(a->dev, VIRTIO_MMIO_STATUS) != DRIVEN ||
		    vmm_get(a->dev, VIRTIO_MMIO_MAGIC_VALUE) != 0x74726976)
			a->wrong++;
		__atomic_fetch_add(&a->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Deaths at any moment of an access: it is carried out all the same. */
TEST_F_TIMEOUT(supervise, restart_under_load, LIMIT_S)
{
	struct accesses accesses = { .dev = &self->vmm.devs[0] };
	pthread_t thread;
	unsigned int i;

	begin(&self->vmm, 1000);
	drive(&self->vmm.devs[0]);
	ASSERT_EQ(0, pthread_create(&thread, NULL, keep_accessing, &accesses));
	for (i = 0; i < 100; i++) {
		usleep(rand() % 3000);
		ASSERT_TRUE(vmm_kill_one(&self->vmm.devs[0]));
	}
	__atomic_store_n(&accesses.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, accesses.wrong);
	EXPECT_LT(0, accesses.done);
}

/* The driver learns of it, can reset the device, and gets no further. */
TEST_F_TIMEOUT(supervise, crash_loop, LIMIT_S)
{
	struct vmm_device *dev = &self->vmm.devs[0];
	uint64_t count;

	begin(&self->vmm, 3);
	drive(dev);
	ASSERT_TRUE(vmm_kill_one(dev));
	ASSERT_TRUE(vmm_kill_one(dev));
	EXPECT_EQ(DRIVEN, vmm_get(dev, VIRTIO_MMIO_STATUS));
	while (read(dev->irq_fd, &count, sizeof(count)) > 0)
		;
	ASSERT_TRUE(vmm_kill_one(dev));
	EXPECT_TRUE(dev->has_failed);
	EXPECT_EQ(sizeof(count), read(dev->irq_fd, &count, sizeof(count)));
	EXPECT_EQ(DRIVEN | VIRTIO_CONFIG_S_NEEDS_RESET, vmm_get(dev, VIRTIO_MMIO_STATUS));
	EXPECT_EQ(VIRTIO_MMIO_INT_CONFIG, vmm_get(dev, VIRTIO_MMIO_INTERRUPT_STATUS));
	vmm_put(dev, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	EXPECT_EQ(0, vmm_get(dev, VIRTIO_MMIO_INTERRUPT_STATUS));
	EXPECT_EQ(VIRTIO_ID_BLOCK, vmm_get(dev, VIRTIO_MMIO_DEVICE_ID));
	EXPECT_EQ(0, vmm_get(dev, VIRTIO_MMIO_CONFIG));
	drive(dev);
	EXPECT_EQ(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
		  vmm_get(dev, VIRTIO_MMIO_STATUS));
	EXPECT_NE(NULL, strstr(STATUS(&self->vmm), "blk0 failed pid 0 deaths 3"));
	EXPECT_NE(NULL, strstr(vmm_ask(self->vmm.socket, "kill\0blk0", 10),
			       "error: blk0 has failed"));
	EXPECT_NE(NULL, strstr(vmm_upgrade(self->vmm.socket, "blk0", self->vmm.blk),
			       "error: blk0 has failed"));
	drive(&self->vmm.devs[1]);
	EXPECT_EQ(DRIVEN, vmm_get(&self->vmm.devs[1], VIRTIO_MMIO_STATUS));
}

/* Deaths that are further apart than the limit says are no crash loop. */
TEST_F_TIMEOUT(supervise, slow_crashes, LIMIT_S)
{
	struct crash_limit limit = { 2, 1 };
	unsigned int i;

	self->vmm.supervisor = supervise(self->vmm.devs, 2, limit, self->vmm.socket);
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(vmm_kill_one(&self->vmm.devs[0]));
		ASSERT_FALSE(self->vmm.devs[0].has_failed);
		usleep(1100000);
	}
}

TEST_F_TIMEOUT(supervise, no_program, LIMIT_S)
{
	self->vmm.devs[0].program = "/nonexistent";
	begin(&self->vmm, 3);
	EXPECT_TRUE(vmm_wait_failed(&self->vmm.devs[0]));
	EXPECT_EQ(VIRTIO_CONFIG_S_NEEDS_RESET, vmm_get(&self->vmm.devs[0], VIRTIO_MMIO_STATUS));
	EXPECT_NE(NULL, strstr(STATUS(&self->vmm), "it could not be executed"));
}

/* What a device process does that the guest controls ends in a failed device. */
TEST_F_TIMEOUT(supervise, rogues, LIMIT_S)
{
	static const char *const rogues[] = { "exit", "close", "junk", "lie" };
	struct crash_limit limit = { 3, 60 };
	unsigned int i;

	for (i = 0; i < 4; i++) {
		snprintf(self->vmm.devs[0].args.serial, sizeof(self->vmm.devs[0].args.serial),
			 "%s", rogues[i]);
		self->vmm.devs[0].program = self->vmm.rogue;
		self->vmm.devs[1].program = self->vmm.blk;
		self->vmm.devs[0].has_failed = false;
		self->vmm.supervisor = supervise(self->vmm.devs, 2, limit, self->vmm.socket);
		EXPECT_EQ(0x74726976, vmm_get(&self->vmm.devs[0], VIRTIO_MMIO_MAGIC_VALUE));
		EXPECT_TRUE(self->vmm.devs[0].has_failed);
		EXPECT_EQ(0x74726976, vmm_get(&self->vmm.devs[1], VIRTIO_MMIO_MAGIC_VALUE));
		EXPECT_EQ(1, supervise_stop(self->vmm.supervisor));
		self->vmm.supervisor = NULL;
	}
}

/* The successor of a liar: the driver has to reset it, and then it works. */
TEST_F_TIMEOUT(supervise, after_a_liar, LIMIT_S)
{
	struct vmm_device *dev = &self->vmm.devs[0];

	begin(&self->vmm, 100);
	drive(dev);
	pthread_mutex_lock(&dev->lock);
	memset(&dev->state->mmio, 0xa5, sizeof(dev->state->mmio));
	memset(dev->state->queues, 0x5a, sizeof(dev->state->queues));
	memset(dev->state->requests, 0xff, sizeof(dev->state->requests));
	pthread_mutex_unlock(&dev->lock);
	ASSERT_TRUE(vmm_kill_one(dev));
	EXPECT_TRUE(vmm_get(dev, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	drive(dev);
	EXPECT_EQ(DRIVEN, vmm_get(dev, VIRTIO_MMIO_STATUS));
}

TEST_F_TIMEOUT(supervise, upgrade, LIMIT_S)
{
	char copy[PATH_MAX + 32], command[3 * PATH_MAX];

	begin(&self->vmm, 2);
	drive(&self->vmm.devs[0]);
	snprintf(copy, sizeof(copy), "%s/new-blk", self->vmm.dir);
	snprintf(command, sizeof(command), "cp %s %s", self->vmm.blk, copy);
	ASSERT_EQ(0, system(command));
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, "blk0", copy), "ok", 2));
	EXPECT_EQ(DRIVEN, vmm_get(&self->vmm.devs[0], VIRTIO_MMIO_STATUS));
	EXPECT_NE(NULL, strstr(STATUS(&self->vmm), copy));
	/* No program, or none that works: the former one goes on, and no death counts. */
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, "blk0", "/nonexistent"), "error", 5));
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, "blk0", "virtio-blk"), "error", 5));
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, "blk0", self->vmm.dir), "error", 5));
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, "blk0", "/bin/false"), "error", 5));
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, "blk0", "/bin/false"), "error", 5));
	EXPECT_EQ(DRIVEN, vmm_get(&self->vmm.devs[0], VIRTIO_MMIO_STATUS));
	EXPECT_NE(NULL, strstr(STATUS(&self->vmm), "deaths 0 "));
	EXPECT_NE(NULL, strstr(STATUS(&self->vmm), copy));
}

TEST_F_TIMEOUT(supervise, upgrades_at_once, LIMIT_S)
{
	char words[PATH_MAX + 32];
	int first, n;

	begin(&self->vmm, 2);
	n = snprintf(words, sizeof(words), "upgrade%cblk0%c%s", 0, 0, self->vmm.blk) + 1;
	first = vmm_connect(self->vmm.socket);
	ASSERT_EQ(n, send(first, words, n, 0));
	/* Requests are taken one after the other, and the first takes a second. */
	EXPECT_NE(NULL, strstr(vmm_ask(self->vmm.socket, words, n), "under way"));
	EXPECT_EQ(0, strncmp(vmm_receive(first), "ok", 2));
	/* Nobody is there any more to be told. */
	ASSERT_EQ(n, send(first, words, n, 0));
	close(first);
	usleep(1200000);
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, "blk0", self->vmm.blk), "ok", 2));
}

/* Peers that say nothing, do not listen, or make no sense */
TEST_F_TIMEOUT(supervise, control_nonsense, LIMIT_S)
{
	static const char many[] = "a\0b\0c\0d";
	char junk[2 * CONTROL_MAX_MESSAGE];
	int peers[3 * CONTROL_PEERS];
	unsigned int i;

	begin(&self->vmm, 2);
	memset(junk, 'x', sizeof(junk));
	EXPECT_EQ(0, strncmp(vmm_ask(self->vmm.socket, "status", 6), "error", 5));
	EXPECT_EQ(0, strncmp(vmm_ask(self->vmm.socket, "", 1), "error", 5));
	EXPECT_EQ(0, strncmp(vmm_ask(self->vmm.socket, many, sizeof(many)), "error", 5));
	EXPECT_EQ(0, strncmp(vmm_ask(self->vmm.socket, junk, sizeof(junk)), "error", 5));
	EXPECT_EQ(0, strncmp(vmm_ask(self->vmm.socket, "kill\0blk7", 10), "error: no device", 16));
	EXPECT_EQ(0, strncmp(vmm_ask(self->vmm.socket, "kill", 5), "error", 5));
	for (i = 0; i < 3 * CONTROL_PEERS; i++)
		peers[i] = vmm_connect(self->vmm.socket);
	EXPECT_EQ(0, strncmp(STATUS(&self->vmm), "ok", 2));
	/* Does not take its responses; may be cut off */
	i = 3 * CONTROL_PEERS - 1;
	while (send(peers[i], "status", 7, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	EXPECT_EQ(0, strncmp(STATUS(&self->vmm), "ok", 2));
	for (i = 0; i < 3 * CONTROL_PEERS; i++)
		close(peers[i]);
}

TEST_F(supervise, control_socket_of_its_user)
{
	struct stat st;

	begin(&self->vmm, 2);
	ASSERT_EQ(0, stat(self->vmm.socket, &st));
	EXPECT_EQ(0600, st.st_mode & 0777);
	supervise_stop(self->vmm.supervisor);
	self->vmm.supervisor = NULL;
	EXPECT_NE(0, stat(self->vmm.socket, &st));
}

static void *read_status(void *arg)
{
	struct accesses *a = arg;

	if (vmm_get(a->dev, VIRTIO_MMIO_STATUS) != DRIVEN)
		a->wrong++;
	__atomic_fetch_add(&a->done, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* It holds who accesses it, and nobody else. */
TEST_F_TIMEOUT(supervise, stopped, LIMIT_S)
{
	struct accesses accesses = { .dev = &self->vmm.devs[0] };
	pthread_t thread;
	unsigned int i;

	begin(&self->vmm, 2);
	drive(&self->vmm.devs[0]);
	ASSERT_EQ(0, kill(vmm_pid_of(&self->vmm.devs[0]), SIGSTOP));
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_status, &accesses));
	drive(&self->vmm.devs[1]);
	for (i = 0; i < 100; i++)
		ASSERT_EQ(DRIVEN, vmm_get(&self->vmm.devs[1], VIRTIO_MMIO_STATUS));
	EXPECT_EQ(0, strncmp(STATUS(&self->vmm), "ok", 2));
	EXPECT_EQ(0, __atomic_load_n(&accesses.done, __ATOMIC_RELAXED));
	ASSERT_EQ(0, kill(vmm_pid_of(&self->vmm.devs[0]), SIGCONT));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, accesses.wrong);
}

/* The VM ends while a vCPU waits for it. */
TEST_F_TIMEOUT(supervise, stopped_at_the_end, LIMIT_S)
{
	struct accesses accesses = { .dev = &self->vmm.devs[0] };
	pthread_t thread;

	begin(&self->vmm, 2);
	drive(&self->vmm.devs[0]);
	ASSERT_EQ(0, kill(vmm_pid_of(&self->vmm.devs[0]), SIGSTOP));
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_status, &accesses));
	usleep(100000);
	/* Without a signal: it may have come too early. */
	__atomic_store_n(&stop_requested, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(1, accesses.wrong);
	EXPECT_EQ(0, supervise_stop(self->vmm.supervisor));
	self->vmm.supervisor = NULL;
}

/* Processes end with a VMM that is killed, also those that are stopped. */
TEST_F_TIMEOUT(supervise, vmm_killed, LIMIT_S)
{
	pid_t pids[2], parent;
	struct pollfd p[2];
	unsigned int i;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	parent = fork();
	if (!parent) {
		begin(&self->vmm, 10);
		drive(&self->vmm.devs[0]);
		drive(&self->vmm.devs[1]);
		for (i = 0; i < 2; i++)
			pids[i] = vmm_pid_of(&self->vmm.devs[i]);
		kill(pids[1], SIGSTOP);
		if (write(fds[1], pids, sizeof(pids)) != sizeof(pids))
			_exit(1);
		pause();
		_exit(1);
	}
	ASSERT_EQ(sizeof(pids), read(fds[0], pids, sizeof(pids)));
	/* Before they die: init may be quick to reap them. */
	for (i = 0; i < 2; i++) {
		p[i].fd = pidfd_open(pids[i], 0);
		p[i].events = POLLIN;
		ASSERT_GE(p[i].fd, 0);
	}
	ASSERT_EQ(0, poll(p, 2, 0));
	ASSERT_EQ(0, kill(parent, SIGKILL));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(1, poll(&p[i], 1, WAIT_MS));
		close(p[i].fd);
	}
	waitpid(parent, NULL, 0);
}

/* Does the VMM refuse this, with exit status 1? */
static bool refuses(const char *option)
{
	struct vmm_device dev = { 0 };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		vmm_blk_open(&dev, option);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

TEST_F(supervise, images)
{
	struct vmm_device dev = { 0 };
	char path[80], read_only[96];

	snprintf(path, sizeof(path), "%s/disk", self->vmm.dir);
	snprintf(read_only, sizeof(read_only), "%s,ro", path);
	EXPECT_TRUE(refuses(path));
	create_file(path, 0);
	EXPECT_TRUE(refuses(path));
	create_file(path, 511);
	EXPECT_TRUE(refuses(path));
	create_file(path, 512);
	EXPECT_FALSE(refuses(path));
	EXPECT_FALSE(refuses(read_only));
	EXPECT_TRUE(refuses(self->vmm.dir));
	EXPECT_TRUE(refuses("/dev/null"));
	/* Those of the fixture are in use. */
	snprintf(path, sizeof(path), "%s0", self->vmm.image);
	EXPECT_TRUE(refuses(path));
	snprintf(path, sizeof(path), "%s0,ro", self->vmm.image);
	EXPECT_TRUE(refuses(path));
	snprintf(path, sizeof(path), "%s/fifo", self->vmm.dir);
	ASSERT_EQ(0, mkfifo(path, 0600));
	EXPECT_TRUE(refuses(path));
	snprintf(path, sizeof(path), "%s/disk,ro", self->vmm.dir);
	vmm_blk_open(&dev, path);
	EXPECT_EQ(DEVICE_READ_ONLY, dev.args.flags);
	EXPECT_EQ(O_RDONLY, fcntl(dev.backend_fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK));
	close(dev.backend_fd);
}

TEST(features)
{
	uint64_t bits = 0;

	EXPECT_EQ(NULL, vmm_virtio_features("packed", &bits));
	EXPECT_EQ(1ULL << VIRTIO_F_RING_PACKED, bits);
	EXPECT_EQ(NULL, vmm_virtio_features("in_order,packed", &bits));
	EXPECT_EQ(1ULL << VIRTIO_F_RING_PACKED | 1ULL << VIRTIO_F_IN_ORDER, bits);
	EXPECT_NE(NULL, vmm_virtio_features("", &bits));
	EXPECT_NE(NULL, vmm_virtio_features("packed,", &bits));
	EXPECT_NE(NULL, vmm_virtio_features("pack", &bits));
	EXPECT_NE(NULL, vmm_virtio_features("packed,out_of_order", &bits));
}

TEST_HARNESS_MAIN
