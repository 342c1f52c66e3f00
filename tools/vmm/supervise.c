// SPDX-License-Identifier: GPL-2.0-only
#include "supervise.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "control.h"
#include "util.h"
#include "vmm_vhost.h"

#define PROVEN_MS	1000	/* so long a program has to live after an upgrade */
#define RETRY_MS	100	/* when a process could not be made */
#define END_MS		1000	/* so long the end of the VM waits for vhost */
#define NEVER		INT64_MAX

#define UPGRADE_PENDING	"an upgrade of %s is under way"

/* What the thread knows of a device. */
struct supervised {
	struct vmm_device *dev;
	bool failed;
	unsigned long deaths;
	int64_t *times;		/* of the last deaths, as many as the limit: a ring */
	char last[64];		/* of what it died last */
	int64_t start_at;	/* there is no process, and one is to be started then */
	/*
	 * Upgrade: the program to go back to, when the new one is proven, and who wants
	 * to know. The first process of the new program has been started if @upgraded.
	 */
	char *former;
	bool upgraded;
	int64_t proven_at;
	int peer;
};

struct supervisor {
	struct supervised *devs;
	unsigned int nr;
	struct crash_limit limit;
	struct control control;
	int stop_fd;
	pthread_t thread;
};

static void describe(char *text, size_t size, int status)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == 127)
		snprintf(text, size, "it could not be executed");
	else
		snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
}

/* Note a death. Was it one too many? */
static bool over_limit(struct supervised *s, const struct crash_limit *limit)
{
	int64_t now = now_ms(), *oldest;

	s->times[s->deaths++ % limit->deaths] = now;
	/* Of as many as the ring holds, the one that will be overwritten next. */
	oldest = &s->times[s->deaths % limit->deaths];
	return s->deaths >= limit->deaths && now - *oldest <= limit->seconds * 1000LL;
}

static void fail(struct supervised *s, const struct crash_limit *limit)
{
	warnx("%s: %u deaths within %u s: it has failed, and the VM goes on without it",
	      s->dev->name, limit->deaths, limit->seconds);
	s->failed = true;
	s->start_at = NEVER;
	if (s->dev->vhost)
		vmm_vhost_fail(s->dev);
	else
		vmm_device_fail(s->dev);
}

/* Upgrades */

static void end_upgrade(struct supervised *s, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	control_respond(s->peer, "%s\n", text);
	close(s->peer);
	free(s->former);
	s->former = NULL;
	s->upgraded = false;
	s->proven_at = NEVER;
}

static void go_back(struct supervised *s, const char *why)
{
	char *program = s->former;

	free((void *)s->dev->program);
	s->dev->program = program;
	s->former = NULL;
	end_upgrade(s, "error: %s: %s; back to %s", s->dev->name, why, program);
}

static void start_process(struct supervised *s)
{
	int ret = vmm_device_spawn(s->dev);

	if (ret) {
		warnx("%s: cannot start a process, will try again: %s", s->dev->name,
		      strerror(-ret));
		s->start_at = now_ms() + RETRY_MS;
		return;
	}
	s->start_at = NEVER;
	if (s->former) {
		s->upgraded = true;
		s->proven_at = now_ms() + PROVEN_MS;
	}
}

static void died(struct supervisor *sv, struct supervised *s)
{
	int status = vmm_device_reap(s->dev);

	describe(s->last, sizeof(s->last), status);
	s->start_at = now_ms();
	/* The death that the upgrade takes, and that of a program which is no good. */
	if (s->former && !s->upgraded)
		return;
	if (s->former) {
		warnx("%s: %s: %s", s->dev->name, s->dev->program, s->last);
		go_back(s, s->last);
		return;
	}
	warnx("%s: process %s", s->dev->name, s->last);
	if (over_limit(s, &sv->limit))
		fail(s, &sv->limit);
}

/* Requests */

static void respond_status(const struct supervisor *sv, int peer)
{
	char text[CONTROL_MAX_MESSAGE - 8];
	const struct supervised *s;
	unsigned int i;
	size_t len = 0;

	text[0] = '\0';
	for (i = 0; i < sv->nr && len < sizeof(text); i++) {
		s = &sv->devs[i];
		len += snprintf(text + len, sizeof(text) - len,
				"%s %s pid %d deaths %lu program %s%s%s%s\n", s->dev->name,
				s->failed ? "failed" : s->former ? "upgrading" :
				s->dev->pid ? "running" : "starting", s->dev->pid, s->deaths,
				s->dev->program,
				vmm_vhost_is_late(s->dev) ? " waits for vhost" : "",
				s->last[0] ? " last " : "", s->last);
	}
	control_respond(peer, "ok\n%s", text);
}

static void request_kill(struct supervised *s, int peer)
{
	vmm_device_kill(s->dev);
	control_respond(peer, "ok\n");
}

static void request_upgrade(struct supervised *s, int peer, const char *program)
{
	char *copy;

	if (s->former) {
		control_respond(peer, "error: " UPGRADE_PENDING "\n", s->dev->name);
		return;
	}
	if (*program != '/' || access(program, X_OK)) {
		control_respond(peer, "error: %s is not the absolute name of a program: %s\n",
				program, *program == '/' ? strerror(errno) : "it is relative");
		return;
	}
	copy = strdup(program);
	s->peer = copy ? fcntl(peer, F_DUPFD_CLOEXEC, 0) : -1;
	if (s->peer < 0) {
		control_respond(peer, "error: %s\n", strerror(errno));
		free(copy);
		return;
	}
	s->former = (char *)s->dev->program;
	s->dev->program = copy;
	s->upgraded = false;
	/* Between any two instructions is a good moment, see device_state.h. */
	vmm_device_kill(s->dev);
}

static struct supervised *find(struct supervisor *sv, const char *name)
{
	unsigned int i;

	for (i = 0; i < sv->nr; i++) {
		if (!strcmp(sv->devs[i].dev->name, name))
			return &sv->devs[i];
	}
	return NULL;
}

static void request(void *opaque, int peer, char **words, unsigned int nr)
{
	struct supervisor *sv = opaque;
	struct supervised *s;

	if (nr == 1 && !strcmp(words[0], "status")) {
		respond_status(sv, peer);
		return;
	}
	if (!(nr == 2 && !strcmp(words[0], "kill")) &&
	    !(nr == 3 && !strcmp(words[0], "upgrade"))) {
		control_respond(peer,
				"error: there is: status; kill DEVICE; upgrade DEVICE BINARY\n");
		return;
	}
	s = find(sv, words[1]);
	if (!s)
		control_respond(peer, "error: no device %s\n", words[1]);
	else if (s->failed)
		control_respond(peer, "error: %s has failed\n", words[1]);
	else if (nr == 2)
		request_kill(s, peer);
	else
		request_upgrade(s, peer, words[2]);
}

/* The thread */

static int timeout(const struct supervisor *sv)
{
	int64_t next = NEVER, now = now_ms(), late_at;
	unsigned int i;

	for (i = 0; i < sv->nr; i++) {
		late_at = vmm_vhost_late_at(sv->devs[i].dev);
		if (late_at < next)
			next = late_at;
		if (sv->devs[i].start_at < next)
			next = sv->devs[i].start_at;
		if (sv->devs[i].proven_at < next)
			next = sv->devs[i].proven_at;
	}
	if (next == NEVER)
		return -1;
	return next > now ? next - now : 0;
}

static void look_after(struct supervisor *sv, struct supervised *s, bool has_died)
{
	if (has_died)
		died(sv, s);
	if (s->start_at <= now_ms())
		start_process(s);
	if (vmm_vhost_late_at(s->dev) <= now_ms())
		vmm_vhost_warn_late(s->dev);
	if (s->proven_at <= now_ms())
		end_upgrade(s, "ok: %s is %s now", s->dev->name, s->dev->program);
}

static void *supervisor_thread(void *arg)
{
	struct pollfd fds[1 + 2 * MAX_DEVICES + CONTROL_FDS], *vhosts, *control;
	struct supervisor *sv = arg;
	unsigned int i;

	vhosts = fds + 1 + sv->nr;
	control = vhosts + sv->nr;
	for (;;) {
		fds[0] = (struct pollfd) { .fd = sv->stop_fd, .events = POLLIN };
		for (i = 0; i < sv->nr; i++) {
			fds[1 + i] = (struct pollfd) { .fd = sv->devs[i].dev->pidfd,
						       .events = POLLIN };
			vhosts[i] = (struct pollfd) { .fd = vmm_vhost_fd(sv->devs[i].dev),
						      .events = POLLIN };
		}
		control_poll(&sv->control, control);
		if (poll(fds, control + CONTROL_FDS - fds, timeout(sv)) < 0)
			continue;	/* out of memory: the devices go on meanwhile */
		if (fds[0].revents)
			return NULL;
		for (i = 0; i < sv->nr; i++) {
			/* What a process has not got a response to its successor asks again. */
			if (vhosts[i].revents && !fds[1 + i].revents)
				vmm_vhost_serve(sv->devs[i].dev);
			look_after(sv, &sv->devs[i], fds[1 + i].revents);
		}
		control_serve(&sv->control, control, request, sv);
	}
}

static void init_device(struct supervisor *sv, struct supervised *s, struct vmm_device *dev)
{
	int ret;

	s->dev = dev;
	s->start_at = NEVER;
	s->proven_at = NEVER;
	s->times = calloc(sv->limit.deaths, sizeof(*s->times));
	dev->program = strdup(dev->program);
	if (!s->times || !dev->program)
		err(EXIT_FAILURE, "malloc");
	ret = vmm_device_spawn(dev);
	if (ret)
		errx(EXIT_FAILURE, "cannot start %s: %s", dev->program, strerror(-ret));
}

static void start_thread(struct supervisor *sv)
{
	sigset_t all, saved;
	int ret;

	/*
	 * Signals are for those who run vCPUs. But SIGCHLD, which nobody wants, would go
	 * there too if whoever started the process had it blocked.
	 */
	sigfillset(&all);
	sigdelset(&all, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &all, &saved);
	ret = pthread_create(&sv->thread, NULL, supervisor_thread, sv);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (ret)
		errx(EXIT_FAILURE, "cannot start a thread: %s", strerror(ret));
}

struct supervisor *supervise(struct vmm_device *devs, unsigned int nr, struct crash_limit limit,
			     const char *control_path)
{
	struct supervisor *sv = calloc(1, sizeof(*sv));
	unsigned int i;

	if (!sv)
		err(EXIT_FAILURE, "calloc");
	sv->limit = limit;
	sv->nr = nr;
	sv->devs = calloc(nr ?: 1, sizeof(*sv->devs));
	sv->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (!sv->devs || sv->stop_fd < 0)
		err(EXIT_FAILURE, "cannot watch over devices");
	control_open(&sv->control, control_path);
	for (i = 0; i < nr; i++)
		init_device(sv, &sv->devs[i], &devs[i]);
	start_thread(sv);
	return sv;
}

/* Nobody else touches the devices by then, but for what the thread of a vhost is at. */
static void end_device(struct supervised *s)
{
	if (s->former)
		end_upgrade(s, "error: the VM has ended");
	if (s->dev->pid) {
		vmm_device_kill(s->dev);
		vmm_device_reap(s->dev);
	}
	free(s->times);
	free((void *)s->dev->program);
}

unsigned int supervise_stop(struct supervisor *sv)
{
	unsigned int i, failed = 0;
	uint64_t one = 1;
	int64_t until;

	if (write(sv->stop_fd, &one, sizeof(one)) != sizeof(one))
		err(EXIT_FAILURE, "cannot stop the supervisor");
	pthread_join(sv->thread, NULL);
	for (i = 0; i < sv->nr; i++) {
		failed += sv->devs[i].failed;
		end_device(&sv->devs[i]);
	}
	/* All together, and when there is no process that could ask for more. */
	until = now_ms() + END_MS;
	for (i = 0; i < sv->nr; i++)
		vmm_vhost_stop(sv->devs[i].dev, until);
	control_close(&sv->control);
	close(sv->stop_fd);
	free(sv->devs);
	free(sv);
	return failed;
}
