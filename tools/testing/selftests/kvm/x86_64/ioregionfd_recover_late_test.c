// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: after IOREGIONFD_RECOVER no late response of a former task ever
 * reaches the guest, by ioctl, in the mapping, or by write(); and no posted write is
 * retired by a task that has lost it.
 */
#include "ioregionfd_recover_fixture.h"

#define GENERATIONS	4

/*
 * Responses of former tasks, when the next task has responded and the vCPU has not
 * looked yet.
 */

/* A response in the mapping, and how much of it was accepted. */
struct late {
	uint32_t number;
	bool value;	/* the value was stored */
	bool state;	/* the state was exchanged */
};

static struct late late_fetched(uint64_t id)
{
	return (struct late){ .number = id };
}

static void late_response(struct mapping *map, struct late *late)
{
	uint32_t state = late->number << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
	uint32_t waiting = state | IOREGIONFD_MAILBOX_WAITING;

	if (mailbox_store_data(&map->mailboxes[0], late->number, LATE))
		late->value = true;
	if (__atomic_compare_exchange_n(&map->mailboxes[0].state, &state,
					mailbox_completed(state), false, __ATOMIC_RELEASE,
					__ATOMIC_RELAXED) ||
	    __atomic_compare_exchange_n(&map->mailboxes[0].state, &waiting,
					mailbox_completed(waiting), false, __ATOMIC_RELEASE,
					__ATOMIC_RELAXED))
		late->state = true;
}

static void late_responses(struct mapping *map, struct late *late)
{
	int i;

	for (i = 0; i < GENERATIONS; i++)
		late_response(map, &late[i]);
}

static void expect_refused(const struct late *late)
{
	int i;

	for (i = 0; i < GENERATIONS; i++) {
		TEST_ASSERT(!late[i].state, "the state of task %d was accepted", i);
		TEST_ASSERT(!late[i].value, "the value of task %d was accepted", i);
	}
}

/* One task after the other fetches the command and is replaced. */
static void generations(struct mapping *map, struct late *late)
{
	struct ioregionfd_fetch arg = {};
	int i;

	for (i = 0; i < GENERATIONS; i++) {
		TEST_ASSERT(mapping_fetch_mailbox(map, 0, &arg), "nothing to fetch");
		late[i] = late_fetched(arg.id);
		recover(map->fd);
		/* A late response may come at any of these moments. */
		late_responses(map, late);
	}
}

TEST_F(recover, late_in_the_mapping)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct late late[GENERATIONS] = {};
	struct ioregionfd_fetch arg;

	begin_interrupted(&self->thread);
	generations(&self->map, late);
	arg = fetch_command(&self->map);
	late_responses(&self->map, late);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, RIGHT), 0);
	late_responses(&self->map, late);
	end_interrupted(&self->thread, op, "response by ioctl");
	expect_refused(late);
}

/* The same while the current task is in the middle of its own response. */
TEST_F(recover, late_between_value_and_state)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct late late[GENERATIONS] = {};
	struct ioregionfd_fetch arg = {};
	bool stored;

	begin_interrupted(&self->thread);
	generations(&self->map, late);
	TEST_ASSERT(mapping_fetch_mailbox(&self->map, 0, &arg), "nothing to fetch");
	stored = mailbox_store_data(&self->map.mailboxes[0], (uint32_t)arg.id, RIGHT);
	late_responses(&self->map, late);
	TEST_ASSERT(stored, "the current task's value was refused");
	/* The mailbox says that the vCPU sleeps. */
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, RIGHT), 0);
	late_responses(&self->map, late);
	end_interrupted(&self->thread, op, "response in the mapping");
	expect_refused(late);
}

/* When the guest has gone on to a command that another task has completed. */
TEST_F(recover, late_for_the_next_command)
{
	struct late late[GENERATIONS] = {};
	struct ioregionfd_fetch arg;
	struct guest_op *op;

	op_read(self->vcpu, 8, SYNC);
	begin_interrupted(&self->thread);
	generations(&self->map, late);
	arg = fetch_command(&self->map);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 1), 0);
	thread_start(&self->thread);
	thread_join_done(&self->thread);

	op = op_read(self->vcpu, 8, SYNC + 8);
	begin_interrupted(&self->thread);
	late_responses(&self->map, late);
	arg = fetch_command(&self->map);
	TEST_ASSERT_EQ(arg.cmd.offset, 8);
	late_responses(&self->map, late);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, RIGHT), 0);
	late_responses(&self->map, late);
	end_interrupted(&self->thread, op, "the next command");
	expect_refused(late);
}

TEST_F(recover, late_by_ioctl)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct ioregionfd_fetch arg[GENERATIONS + 1];
	int i;

	begin_interrupted(&self->thread);
	for (i = 0; i < GENERATIONS; i++) {
		arg[i] = fetch_command(&self->map);
		recover(self->fd);
		TEST_ASSERT_EQ(commit_only(self->fd, arg[0].id, LATE), -ENOENT);
	}
	arg[i] = fetch_command(&self->map);
	for (i = 0; i < GENERATIONS; i++)
		TEST_ASSERT_EQ(commit_only(self->fd, arg[i].id, LATE), -ENOENT);
	TEST_ASSERT_EQ(commit_only(self->fd, arg[i].id, RIGHT), 0);
	for (i = 0; i <= GENERATIONS; i++)
		TEST_ASSERT_EQ(commit_only(self->fd, arg[i].id, LATE), -ENOENT);
	end_interrupted(&self->thread, op, "the right one");
}

/* Retires a posted write in the mapping. Returns 0 or -ENOENT, as the ioctl does. */
static int retire_in_mapping(struct mapping *map, uint64_t id)
{
	uint64_t tail = id << 1 | 1;

	return __atomic_compare_exchange_n(&map->control->posted_tail, &tail, tail + 1, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED) ? 0 : -ENOENT;
}

static void expect_late_retires(struct mapping *map, const struct ioregionfd_fetch *late, int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		TEST_ASSERT(commit_only(map->fd, late[i].id, 0) == -ENOENT,
			    "task %d of %d could retire the posted write by ioctl", i, nr);
		TEST_ASSERT(retire_in_mapping(map, late[i].id) == -ENOENT,
			    "task %d of %d could retire the posted write in the mapping", i, nr);
	}
}

/*
 * Posted writes that were fetched by one task after the other. While the last one carries
 * the first of them out, nobody gets what comes after it, whatever the others do.
 */
TEST_F(recover, late_for_a_posted_write)
{
	struct ioregionfd_cmd want = cmd_posted(8, USER_DATA(1), 0, 1);
	struct ioregionfd_fetch late[GENERATIONS] = {}, arg = {};
	struct guest_op *op;
	int i;

	region_del(self->vm, SYNC, 0x4000, 0);
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->ch, SYNC + 0x1000, 0x1000, USER_DATA(1),
		   KVM_IOREGION_POSTED_WRITES);
	op_write(self->vcpu, 8, SYNC + 0x1000, 1);
	op_write(self->vcpu, 8, SYNC + 0x1000, 2);
	op = op_read(self->vcpu, 8, SYNC);
	begin_interrupted(&self->thread);
	for (i = 0; i < GENERATIONS; i++) {
		TEST_ASSERT(mapping_fetch_posted(&self->map, &late[i]), "nothing to fetch");
		recover(self->fd);
		expect_late_retires(&self->map, late, i + 1);
	}
	TEST_ASSERT(mapping_fetch_posted(&self->map, &arg), "nothing to fetch");
	want.flags |= IOREGIONFD_CMD_F_REDELIVERED;
	expect_cmd(arg.cmd, want);
	expect_late_retires(&self->map, late, GENERATIONS);
	TEST_ASSERT(!mapping_fetch(&self->map, IOREGIONFD_ANY, &late[0]),
		    "something else was fetched in the meantime");
	TEST_ASSERT_EQ(retire_in_mapping(&self->map, arg.id), 0);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), -ENOENT);

	arg = fetch_arg(IOREGIONFD_ANY);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	want.data = 2;
	expect_cmd(arg.cmd, want);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);
	TEST_ASSERT_EQ(commit_only(self->fd, fetch_command(&self->map).id, RIGHT), 0);
	end_interrupted(&self->thread, op, "the read after them");
}

/*
 * A former task in the middle of IOREGIONFD_COMMIT_AND_FETCH or of a response in the
 * mapping. The test and the vCPU share a CPU, on which the vCPU comes last, so that it
 * looks only after both responses.
 */
struct racer {
	struct mapping *map;
	bool in_mapping;
	pthread_t thread;
	struct ioregionfd_fetch arg;
	unsigned int go, done;
	int ret;
	bool end;
};

static int racer_respond(struct racer *r)
{
	struct late late = late_fetched(r->arg.id);

	if (!r->in_mapping)
		return commit_only(r->map->fd, r->arg.id, LATE);
	late_response(r->map, &late);
	return late.state ? 0 : -ENOENT;
}

static void *racer_main(void *arg)
{
	struct racer *r = arg;
	unsigned int n = 0;

	pin_self_to_cpu(1);
	while (!__atomic_load_n(&r->end, __ATOMIC_ACQUIRE)) {
		if (__atomic_load_n(&r->go, __ATOMIC_ACQUIRE) == n)
			continue;
		r->ret = racer_respond(r);
		__atomic_store_n(&r->done, ++n, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void set_policy(pthread_t thread, int policy, int priority)
{
	struct sched_param param = { .sched_priority = priority };
	int r = pthread_setschedparam(thread, policy, &param);

	TEST_ASSERT(!r, "pthread_setschedparam() failed: %d", r);
}

static bool is_pending(struct mapping *map)
{
	return (READ_ONCE(map->mailboxes[0].state) & IOREGIONFD_MAILBOX_STATE) ==
	       IOREGIONFD_MAILBOX_PENDING;
}

/* Returns how often the former task was first. */
static unsigned int race(struct vcpu_thread *thread, struct mapping *map, struct guest_op *op,
			 bool in_mapping)
{
	struct racer racer = { .map = map, .in_mapping = in_mapping };
	struct ioregionfd_fetch arg;
	struct shaker shaker = {};
	unsigned int i, n, first = 0;
	bool late, redelivered;
	int r;

	set_spin_ns(0);
	shaker_start(&shaker, 1);
	set_cpu(thread->thread, 0);
	set_policy(thread->thread, SCHED_IDLE, 0);
	pin_self_to_cpu(0);
	set_policy(pthread_self(), SCHED_FIFO, 1);
	r = pthread_create(&racer.thread, NULL, racer_main, &racer);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
	set_policy(racer.thread, SCHED_OTHER, 0);

	thread_start(thread);
	for (i = 0; i < op->count; i++) {
		racer.arg = fetch_command(map);
		__atomic_store_n(&racer.go, i + 1, __ATOMIC_RELEASE);
		for (n = 0; n < i % 8; n++)
			asm volatile("pause");
		recover(map->fd);
		arg = fetch_arg(0);
		arg.timeout = 0;
		r = commit_and_fetch(map->fd, &arg);
		TEST_ASSERT(!r || r == -EAGAIN, "access %u: the fetch failed: %d", i, r);
		redelivered = !r && (arg.cmd.flags & IOREGIONFD_CMD_F_REDELIVERED);
		/* The vCPU did run, and this is its next command: return it to the mailbox. */
		if (!r && !redelivered)
			recover(map->fd);
		if (redelivered) {
			TEST_ASSERT_EQ(commit_only(map->fd, arg.id, RIGHT), 0);
			/* The vCPU may look only after the former task has responded. */
			for (n = 0; __atomic_load_n(&racer.done, __ATOMIC_ACQUIRE) != i + 1; n++) {
				TEST_ASSERT(n < 1000000000, "the former task does not end");
				asm volatile("pause");
			}
		} else {
			for (n = 0; __atomic_load_n(&racer.done, __ATOMIC_ACQUIRE) != i + 1; n++) {
				TEST_ASSERT(n < HANG_LOOKS, "the former task does not end");
				usleep(1000);
			}
		}
		late = !racer.ret;
		TEST_ASSERT(late != redelivered, "access %u: %s", i,
			    late ? "two responses were accepted" : "no response was accepted");
		first += late;
		/*
		 * The vCPU has stored what it read before its next command comes, or it
		 * is done: the next iteration, or the end of the loop, waits for that.
		 */
		if (i + 1 < op->count) {
			for (n = 0; !is_pending(map); n++) {
				TEST_ASSERT(n < 10 * HANG_LOOKS, "access %u: the vCPU hangs", i);
				shake(100000);
			}
		} else {
			thread_join_done(thread);
		}
		TEST_ASSERT(READ_ONCE(op->val) == (late ? LATE : RIGHT),
			    "access %u: the guest got 0x%lx, but the response that was accepted is 0x%lx",
			    i, op->val, late ? LATE : RIGHT);
	}
	set_policy(pthread_self(), SCHED_OTHER, 0);
	__atomic_store_n(&racer.end, true, __ATOMIC_RELEASE);
	pthread_join(racer.thread, NULL);
	shaker_stop(&shaker);
	return first;
}

/* A script of one operation with a count: it stores only one value. */
static struct guest_op *race_script(struct kvm_vcpu *vcpu, uint32_t count)
{
	return op_add(vcpu, (struct guest_op){
		.kind = OP_READ,
		.size = 8,
		.addr = SYNC,
		.count = count,
	});
}

TEST_F_TIMEOUT(recover, race_with_a_late_ioctl, 240)
{
	struct guest_op *op = race_script(self->vcpu, 2000);
	unsigned int first = race(&self->thread, &self->map, op, false);

	printf("# the former task was first %u times of %u\n", first, op->count);
}

TEST_F_TIMEOUT(recover, race_with_a_late_mapping, 240)
{
	struct guest_op *op = race_script(self->vcpu, 2000);
	unsigned int first = race(&self->thread, &self->map, op, true);

	printf("# the former task was first %u times of %u\n", first, op->count);
}

/*
 * read() and write() by tasks of their own: processes or threads.
 */
struct former {
	bool process;
	int fd;
	int to[2], from[2];
	pthread_t thread;
	pid_t pid;
};

/* 'r' reads a command, 'R' writes the right value, 'w' the late one, and 'q' ends the task. */
static void *former_main(void *arg)
{
	struct former *f = arg;
	struct ioregionfd_cmd cmd;
	char what;
	int r;

	while (read(f->to[0], &what, 1) == 1 && what != 'q') {
		if (what == 'r') {
			r = read(f->fd, &cmd, sizeof(cmd));
			r = r < 0 ? -errno : r;
		} else {
			r = resp_write(f->fd, what == 'R' ? RIGHT : LATE);
		}
		if (write(f->from[1], &r, sizeof(r)) != sizeof(r))
			break;
	}
	return NULL;
}

static void former_start(struct former *f, int fd, bool process)
{
	int r;

	*f = (struct former){ .fd = fd, .process = process };
	r = pipe(f->to) ?: pipe(f->from);
	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("pipe()", r));
	if (!process) {
		r = pthread_create(&f->thread, NULL, former_main, f);
		TEST_ASSERT(!r, "pthread_create() failed: %d", r);
		return;
	}
	f->pid = fork();
	TEST_ASSERT(f->pid >= 0, __KVM_SYSCALL_ERROR("fork()", f->pid));
	if (!f->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		former_main(f);
		_exit(0);
	}
}

#define former_do(f, what) __former_do(f, what, __LINE__)
static int __former_do(struct former *f, char what, int line)
{
	int r;

	TEST_ASSERT(write(f->to[1], &what, 1) == 1, "line %d: write() failed", line);
	TEST_ASSERT(fd_poll(f->from[0], POLLIN, HANG_SECONDS * 1000),
		    "line %d: the task hangs in %s", line, what == 'r' ? "read()" : "write()");
	TEST_ASSERT(read(f->from[0], &r, sizeof(r)) == sizeof(r), "line %d: the task is gone",
		    line);
	return r;
}

static void former_stop(struct former *f)
{
	if (f->process) {
		kill(f->pid, SIGKILL);
		waitpid(f->pid, NULL, 0);
	} else {
		TEST_ASSERT(write(f->to[1], "q", 1) == 1, "write() failed");
		pthread_join(f->thread, NULL);
	}
}

/* The tasks read one after the other; then all of them write, the last one the right value. */
static void late_writes(struct vcpu_thread *thread, int fd, bool process)
{
	struct guest_op *op = op_read(thread->vcpu, 8, SYNC);
	struct former formers[GENERATIONS];
	int i, late = 0, right;

	for (i = 0; i < GENERATIONS; i++)
		former_start(&formers[i], fd, process);
	begin_interrupted(thread);
	for (i = 0; i < GENERATIONS; i++) {
		if (i)
			recover(fd);
		TEST_ASSERT_EQ(former_do(&formers[i], 'r'), sizeof(struct ioregionfd_cmd));
	}
	for (i = 0; i < GENERATIONS - 1; i++)
		late += former_do(&formers[i], 'w') != -ENOENT;
	right = former_do(&formers[i], 'R');
	for (i = 0; i < GENERATIONS; i++)
		late += former_do(&formers[i], 'w') != -ENOENT;
	end_interrupted(thread, op, "write()");
	TEST_ASSERT(!right, "the current task's write() was refused: %d", right);
	TEST_ASSERT(!late, "%d late writes were accepted", late);
	for (i = 0; i < GENERATIONS; i++)
		former_stop(&formers[i]);
}

TEST_F(recover, late_write_of_a_thread)
{
	late_writes(&self->thread, self->fd, false);
}

TEST_F(recover, late_write_of_a_process)
{
	late_writes(&self->thread, self->fd, true);
}

/* A child is not the task that has read the command, even if that task is its parent. */
TEST_F(recover, late_write_of_a_child)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct former child;
	int r;

	begin_interrupted(&self->thread);
	recover(self->fd);
	dev_recv(&self->ch);
	former_start(&child, self->fd, true);
	r = former_do(&child, 'w');
	TEST_ASSERT_EQ(resp_write(self->fd, RIGHT), r ? 0 : -ENOENT);
	end_interrupted(&self->thread, op, "write()");
	TEST_ASSERT_EQ(r, -ENOENT);
	former_stop(&child);
}

/* Without recovery one thread may respond to what another has read, as on a socket. */
TEST_F(recover, write_of_another_thread)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct former reader, writer;

	former_start(&reader, self->fd, false);
	former_start(&writer, self->fd, true);
	begin_interrupted(&self->thread);
	TEST_ASSERT_EQ(former_do(&reader, 'r'), sizeof(struct ioregionfd_cmd));
	TEST_ASSERT_EQ(former_do(&writer, 'R'), 0);
	end_interrupted(&self->thread, op, "write()");
	former_stop(&reader);
	former_stop(&writer);
}

/* A write that was refused does not affect the task that has the command. */
TEST_F(recover, late_write_while_another_task_reads)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct former former, stranger;
	int r, s;

	former_start(&former, self->fd, true);
	former_start(&stranger, self->fd, false);
	begin_interrupted(&self->thread);
	TEST_ASSERT_EQ(former_do(&former, 'r'), sizeof(struct ioregionfd_cmd));
	recover(self->fd);
	/* Pending again, and read by nobody: there is nothing to respond to. */
	TEST_ASSERT_EQ(former_do(&former, 'w'), -ENOENT);
	expect_cmd((struct ioregionfd_cmd)dev_recv(&self->ch), ({
		struct ioregionfd_cmd want = cmd_read(8, SYNC_DATA, 0);

		want.flags |= IOREGIONFD_CMD_F_REDELIVERED;
		want;
	}));
	s = former_do(&stranger, 'w');
	r = former_do(&former, 'w');
	TEST_ASSERT_EQ(resp_write(self->fd, RIGHT), s && r ? 0 : -ENOENT);
	end_interrupted(&self->thread, op, "write()");
	TEST_ASSERT_EQ(s, -ENOENT);
	TEST_ASSERT_EQ(r, -ENOENT);
	former_stop(&former);
	former_stop(&stranger);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
