// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "sysfs.h"
#include "task.h"
#include "vdpa.h"

#define LOG_SIZE	4096
#define PATIENCE_MS	10000
/* How long the kernel waits for a task that may be dead */
#define MESSAGE_TIMEOUT_S	"5"
#define REPORT	"queue %u: %31[^,], size %u, %lu buffers in %lu used elements, largest batch %u, " \
		"%lu notified, %lu suppressed, %lu kicks"
#define VHOST_REPORT	"queue %u: vhost-net, size %u, base 0x%x, %lu interrupts, %lu misses"

static int complain(const struct task *task, const char *what)
{
	fprintf(stderr, "# %s: %s\n", task->name, what);
	return -1;
}

static void sleep_ms(unsigned int ms)
{
	nanosleep(&(struct timespec) { .tv_nsec = ms * 1000000L }, NULL);
}

/* Read the task's stderr from @offset on. Returns the length. */
static size_t read_log(const struct task *task, off_t offset, char *text)
{
	ssize_t length = pread(task->log, text, LOG_SIZE - 1, offset);

	if (length < 0)
		length = 0;
	text[length] = '\0';
	return length;
}

static void show_log(const struct task *task)
{
	char text[LOG_SIZE], *line, *rest = text;
	off_t size = lseek(task->log, 0, SEEK_END);

	read_log(task, size > LOG_SIZE - 1 ? size - (LOG_SIZE - 1) : 0, text);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			fprintf(stderr, "# vduse_task: %s\n", line);
}

/* Wait until the log contains @what @count times, from @offset on. */
static int wait_log(const struct task *task, off_t offset, const char *what, unsigned int count)
{
	char text[LOG_SIZE];

	for (unsigned int ms = 0; ms < PATIENCE_MS; ms += 5) {
		unsigned int found = 0;

		read_log(task, offset, text);
		for (char *at = text; (at = strstr(at, what)); at += strlen(what))
			found++;
		if (found >= count)
			return 0;
		if (waitid(P_PID, task->pid, &(siginfo_t) {}, WEXITED | WNOHANG | WNOWAIT) < 0)
			break;
		sleep_ms(5);
	}
	show_log(task);
	return complain(task, "the expected line is missing in the output of the task");
}

static void execute(const struct task *task, const struct ring_kind *kind, const char *type,
		    const char *backend)
{
	char path[256], batch[32], size[32];
	const char *arguments[16];
	unsigned int n = 0;
	ssize_t length;

	length = readlink("/proc/self/exe", path, sizeof(path) - sizeof("/vduse_task"));
	if (length < 0)
		_exit(127);
	path[length] = '\0';
	strcat(dirname(path), "/vduse_task");

	arguments[n++] = "vduse_task";
	if (kind->packed)
		arguments[n++] = "--packed";
	if (kind->in_order)
		arguments[n++] = "--in-order";
	if (kind->no_indirect)
		arguments[n++] = "--no-indirect";
	if (kind->no_event_idx)
		arguments[n++] = "--no-event-idx";
	if (kind->mergeable)
		arguments[n++] = "--mergeable";
	if (kind->max_batch) {
		snprintf(batch, sizeof(batch), "--max-batch=%u", kind->max_batch);
		arguments[n++] = batch;
	}
	snprintf(size, sizeof(size), "--queue-size=%u", kind->queue_size ?: RING_SIZE);
	arguments[n++] = size;
	arguments[n++] = task->name;
	arguments[n++] = type;
	arguments[n++] = backend;
	arguments[n] = NULL;

	dup2(task->log, STDERR_FILENO);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(path, (char **)arguments);
	_exit(127);
}

/* A failed test may have left its device behind, without its task. */
static void detach_others(void)
{
	struct dirent *entry;
	DIR *directory = opendir("/sys/bus/vdpa/devices");

	while (directory && (entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			vdpa_detach(entry->d_name);
	if (directory)
		closedir(directory);
}

int task_start(struct task *task, const struct ring_kind *kind, const char *type,
	       const char *backend)
{
	memset(task, 0, sizeof(*task));
	snprintf(task->name, sizeof(task->name), "%s%d", type, getpid());
	if (load_modules("vduse virtio_vdpa virtio_blk virtio_net tun"))
		return complain(task, "cannot load the modules");
	detach_others();
	task->log = memfd_create("vduse_task", MFD_CLOEXEC);
	if (task->log < 0 || fcntl(task->log, F_SETFL, O_APPEND))
		return complain(task, strerror(errno));

	task->pid = fork();
	if (task->pid < 0)
		return complain(task, strerror(errno));
	if (!task->pid)
		execute(task, kind, type, backend);
	if (wait_log(task, 0, "ready", 1) ||
	    file_write(MESSAGE_TIMEOUT_S, "/sys/class/vduse/%s/msg_timeout", task->name) ||
	    task_attach(task)) {
		kill(task->pid, SIGKILL);
		waitpid(task->pid, NULL, 0);
		return -1;
	}
	return 0;
}

int task_attach(struct task *task)
{
	int error = vdpa_attach(task->name);

	if (error)
		return complain(task, strerror(-error));
	if (path_match(task->virtio, sizeof(task->virtio),
		       "/sys/bus/vdpa/devices/%s/virtio[0-9]*", task->name))
		return complain(task, "no virtio device has appeared");
	return 0;
}

int task_detach(struct task *task)
{
	int error = vdpa_detach(task->name);

	task->virtio[0] = '\0';
	return error ? complain(task, strerror(-error)) : 0;
}

static int parse(const char *line, struct task_report *report)
{
	unsigned int index;
	char layout[32];

	memset(report, 0, sizeof(*report));
	if (sscanf(line, REPORT, &index, layout, &report->size, &report->buffers,
		   &report->elements, &report->largest_batch, &report->notified,
		   &report->suppressed, &report->kicks) != 9)
		return -1;
	report->packed = !strncmp(layout, "packed", 6);
	report->in_order = strstr(layout, "in-order");
	return 0;
}

/* Send a signal and wait for the task's answer: @count lines that end with @end. */
static int ask(struct task *task, int signal, const char *end, unsigned int count, char *text)
{
	off_t offset = lseek(task->log, 0, SEEK_END);

	if (kill(task->pid, signal))
		return complain(task, strerror(errno));
	if (wait_log(task, offset, end, count))
		return -1;
	read_log(task, offset, text);
	return 0;
}

/* The next line of an answer */
static const char *take_line(const struct task *task, char **text)
{
	const char *line = strsep(text, "\n");

	fprintf(stderr, "# %s %s\n", task->virtio, line);
	return line;
}

int task_report(struct task *task, unsigned int queues, struct task_report *reports)
{
	char text[LOG_SIZE], *rest = text;

	if (ask(task, SIGUSR1, " kicks\n", queues, text))
		return -1;
	for (unsigned int i = 0; i < queues; i++)
		if (parse(take_line(task, &rest), &reports[i]))
			return complain(task, "malformed report");
	return 0;
}

int task_vhost_report(struct task *task, unsigned int queues, struct vhost_report *reports)
{
	char text[LOG_SIZE], *rest = text;

	if (ask(task, SIGUSR1, " misses\n", queues, text))
		return -1;
	for (unsigned int i = 0; i < queues; i++) {
		struct vhost_report *report = &reports[i];
		unsigned int index;

		if (sscanf(take_line(task, &rest), VHOST_REPORT, &index, &report->size,
			   &report->base, &report->interrupts, &report->misses) != 5)
			return complain(task, "malformed report");
	}
	return 0;
}

int task_move(struct task *task)
{
	char text[LOG_SIZE];

	return ask(task, SIGUSR2, ": moved\n", 1, text);
}

int task_stop(struct task *task)
{
	int status, result = 0;

	if (task->virtio[0] && task_detach(task))
		result = -1;
	kill(task->pid, SIGTERM);
	if (waitpid(task->pid, &status, 0) < 0)
		return complain(task, strerror(errno));
	if (status) {
		show_log(task);
		result = complain(task, "the task ended with an error");
	}
	close(task->log);
	return result;
}
