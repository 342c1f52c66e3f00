// SPDX-License-Identifier: GPL-2.0-only
#include "device.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/close_range.h>
#include <ioregionfd.h>
#include "kill_point.h"

int device_create_memory(const char *name, uint64_t size)
{
	int fd, saved, seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, size) || fcntl(fd, F_ADD_SEALS, seals)) {
		saved = errno;
		close(fd);
		return -saved;
	}
	return fd;
}

/* In the child, where only async-signal-safe functions may be called. */
static void exec_device(const char *program, const int *fds, int nr)
{
	char *const argv[] = { (char *)program, NULL };
	char *const envp[] = { NULL };
	int i, null, moved[DEVICE_MAX_FDS];
	sigset_t none;

	/* First move them out of the way, as old and new numbers may overlap. */
	for (i = DEVICE_LOG_FD; i < nr; i++) {
		moved[i] = fcntl(fds[i], F_DUPFD, nr);
		if (moved[i] < 0)
			return;
	}
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return;
	for (i = DEVICE_LOG_FD; i < nr; i++) {
		if (dup2(moved[i], i) < 0)
			return;
	}
	if (close_range(nr, ~0U, 0))
		return;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(program, argv, envp);
}

pid_t device_spawn(const char *program, const int *fds, struct device_state *state,
		   const struct device_args *args)
{
	pid_t pid;

	if (args->nr_more_irqs > DEVICE_MAX_MORE_IRQS)
		return -EINVAL;
	state->args = *args;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		exec_device(program, fds, DEVICE_NR_FDS + args->nr_more_irqs);
		_exit(127);
	}
	return pid;
}

static void *map_state(void)
{
	struct device_state *state;
	struct stat st;

	if (fstat(DEVICE_STATE_FD, &st))
		err(EXIT_FAILURE, "no state; the VMM starts this program");
	if ((uint64_t)st.st_size < sizeof(*state))
		errx(EXIT_FAILURE, "the state has %lld bytes, not %zu", (long long)st.st_size,
		     sizeof(*state));
	state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, DEVICE_STATE_FD, 0);
	if (state == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map the state");
	return state;
}

static void check_args(const struct device_args *args)
{
	if (args->version != DEVICE_STATE_VERSION)
		errx(EXIT_FAILURE, "the VMM knows version %u of the state, not %u", args->version,
		     DEVICE_STATE_VERSION);
	if (!args->nr_queues || args->nr_queues > DEVICE_MAX_QUEUES)
		errx(EXIT_FAILURE, "%u queues", args->nr_queues);
}

/*
 * Do not preempt a vCPU on the same CPU for each posted write: it goes on until it waits,
 * and by then there may be more to do.
 */
static void let_others_go_on(void)
{
	const struct sched_param param = { 0 };

	if (sched_setscheduler(0, SCHED_BATCH, &param))
		err(EXIT_FAILURE, "SCHED_BATCH");
}

static void open_channel(struct device *device)
{
	int ret;

	/* What a former process has fetched and not completed comes again. */
	ret = ioregionfd_open(&device->task, DEVICE_CHANNEL_FD, DEVICE_CHANNEL_FD,
			      IOREGIONFD_OPEN_RECOVER);
	if (!ret && device->args.flags & DEVICE_SLEEP)
		let_others_go_on();
	/* A socket has nothing of the kind, and is new for each process. */
	if (ret == -EOPNOTSUPP)
		ret = ioregionfd_open(&device->task, DEVICE_CHANNEL_FD, DEVICE_CHANNEL_FD, 0);
	if (ret)
		errx(EXIT_FAILURE, "cannot use the channel: %s", strerror(-ret));
}

void device_init(struct device *device)
{
	int ret;

	device->state = map_state();
	device->args = device->state->args;
	check_args(&device->args);
	ret = guest_memory_map(&device->memory, DEVICE_MEMORY_FD, device->args.regions,
			       device->args.nr_regions);
	if (ret)
		errx(EXIT_FAILURE, "cannot map guest memory: %s", strerror(-ret));
	close(DEVICE_STATE_FD);
	close(DEVICE_MEMORY_FD);
	open_channel(device);
	kill_points_init(device->args.kill_after);
}

void device_count(struct device *device, const struct ioregionfd_cmd *cmd)
{
	struct device_counts *counts = &device->state->counts;

	if (cmd->cmd == IOREGIONFD_CMD_READ)
		counts->reads++;
	else
		counts->writes++;
}

static enum ioregionfd_mode mode(uint32_t flags)
{
	if (flags & DEVICE_SLEEP)
		return IOREGIONFD_SLEEP;
	return flags & DEVICE_POLL ? IOREGIONFD_POLL : IOREGIONFD_ADAPTIVE;
}

void device_serve(struct device *device)
{
	int ret = ioregionfd_run(device->task, mode(device->args.flags), IOREGIONFD_ANY);

	if (ret)
		errx(EXIT_FAILURE, "cannot serve accesses: %s", strerror(-ret));
}
