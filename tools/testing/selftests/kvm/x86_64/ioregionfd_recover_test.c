// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: IOREGIONFD_RECOVER loses no command, at whatever moment it comes,
 * and no late response of a former task ever reaches the guest, in whatever mode.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_trust_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

/* The value that the current task responds with, and that of former tasks. */
#define RIGHT		0x600d600d600d600dul
#define LATE		0xdeaddeaddeaddeadul

#define GENERATIONS	4

FIXTURE(recover)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct mapping map;
	int fd;
};

FIXTURE_SETUP(recover)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	self->map = mapping_open(self->fd);
	region_add(self->vm, &self->ch, SYNC, 0x4000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(recover)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	mapping_close(&self->map);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

#define fetch_command(map) __fetch_command(map, __LINE__)
static struct ioregionfd_fetch __fetch_command(struct mapping *map, int line)
{
	struct ioregionfd_fetch arg = fetch_arg(0);
	int r = commit_and_fetch(map->fd, &arg);

	TEST_ASSERT(!r, "line %d: the command is lost: %d, the state is 0x%x", line, r,
		    READ_ONCE(map->mailboxes[0].state));
	return arg;
}

/* Leaves the vCPU outside KVM_RUN, with its command sent. */
static void begin_interrupted(struct vcpu_thread *thread)
{
	thread_start(thread);
	thread_interrupt(thread);
}

static void end_interrupted(struct vcpu_thread *thread, struct guest_op *op, const char *who)
{
	thread_start(thread);
	thread_join_done(thread);
	TEST_ASSERT(op->val == RIGHT, "%s: the guest got 0x%lx, wanted 0x%lx", who, op->val, RIGHT);
}

/*
 * Nothing is lost. How many times a thread must have woken up in between before these
 * tests have seen enough.
 */
#define CHANCES		1000

/*
 * Flips the bit that a vCPU sets before it sleeps, while the command is fetched:
 * IOREGIONFD_RECOVER may meet that, and a vCPU cannot do it as often.
 */
static void flip(void *arg)
{
	struct ioregionfd_mailbox *mailbox = arg;
	uint32_t state = READ_ONCE(mailbox->state);

	if ((state & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_FETCHED)
		return;
	__atomic_compare_exchange_n(&mailbox->state, &state, state ^ IOREGIONFD_MAILBOX_WAITING,
				    false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

TEST_F_TIMEOUT(recover, while_the_state_changes, 240)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct shaker flipper = { flip, &self->map.mailboxes[0] };
	struct ioregionfd_fetch arg;
	unsigned int nr = 0;

	/* With the vCPU outside KVM_RUN nobody is woken, and recovery does little else. */
	begin_interrupted(&self->thread);
	arg = fetch_command(&self->map);
	kvm_pin_this_task_to_pcpu(0);
	shaker_start(&flipper, 1);
	while (shaker_nr(&flipper) < CHANCES) {
		recover(self->fd);
		nr++;
		TEST_ASSERT(mapping_fetch_mailbox(&self->map, 0, &arg),
			    "the command is lost in recovery number %u: the state is 0x%x",
			    nr, READ_ONCE(self->map.mailboxes[0].state));
		TEST_ASSERT(arg.cmd.flags & IOREGIONFD_CMD_F_REDELIVERED,
			    "the command is not flagged as redelivered");
	}
	shaker_stop(&flipper);
	printf("# recovered %u times\n", nr);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, RIGHT), 0);
	end_interrupted(&self->thread, op, "the last one");
}

/*
 * The vCPU itself, which spins for a while and then goes to sleep, for each command
 * once. Each is recovered at about that time.
 */
TEST_F_TIMEOUT(recover, while_the_vcpu_goes_to_sleep, 240)
{
	struct guest_op *op = op_add(self->vcpu, (struct guest_op){
		.kind = OP_READ,
		.size = 8,
		.addr = SYNC,
		.count = -1,
	});
	struct ioregionfd_fetch former = {}, arg;
	struct shaker shaker = {};
	unsigned int i, n;

	set_spin_ns(20000);
	set_cpu(self->thread.thread, 1);
	kvm_pin_this_task_to_pcpu(0);
	shaker_start(&shaker, 0);
	thread_start(&self->thread);
	for (i = 0; shaker_nr(&shaker) < CHANCES; i++) {
		WRITE_ONCE(self->map.control->polling, 1);
		for (n = 0; !mapping_fetch_mailbox(&self->map, 0, &former); n++) {
			TEST_ASSERT(n < 10 * HANG_LOOKS, "access %u: the vCPU hangs", i);
			if (n < HANG_LOOKS)
				asm volatile("pause");
			else
				usleep(1000);
		}
		recover(self->fd);
		arg = fetch_arg(0);
		arg.timeout = HANG_SECONDS * 1000000000l;
		TEST_ASSERT(!commit_and_fetch(self->fd, &arg),
			    "the command of access %u is lost: the state is 0x%x", i,
			    READ_ONCE(self->map.mailboxes[0].state));
		TEST_ASSERT(arg.cmd.flags & IOREGIONFD_CMD_F_REDELIVERED,
			    "the command of access %u is not flagged as redelivered", i);
		TEST_ASSERT_EQ(commit_only(self->fd, former.id, LATE), -ENOENT);
		TEST_ASSERT_EQ(commit_only(self->fd, arg.id, RIGHT), 0);
	}
	shaker_stop(&shaker);
	printf("# %u accesses, each recovered once\n", i);
	thread_interrupt(&self->thread);
	TEST_ASSERT_EQ(op->val, RIGHT);
}

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

	kvm_pin_this_task_to_pcpu(1);
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
	kvm_pin_this_task_to_pcpu(0);
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
		TEST_ASSERT(!r || r == -EAGAIN, "access %u: SERVE failed: %d", i, r);
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

/*
 * All at once: tasks that respond in each mode, some of them slowly, and one that
 * recovers the channel every now and then. Each address has a value of its own.
 */
#define STORM_VCPUS	2
#define STORM_OPS	300
#define STORM_ROUNDS	4

static uint64_t storm_value(uint64_t offset)
{
	return (offset + 1) * 0x9e3779b97f4a7c15ul;
}

struct storm_task {
	enum mode mode;
	struct channel ch;
	pthread_t thread;
	unsigned int accepted, refused;
};

static bool storm_end;

static void storm_count(struct storm_task *t, int r)
{
	TEST_ASSERT(!r || r == -ENOENT, "a response failed: %d", r);
	if (r)
		t->refused++;
	else
		t->accepted++;
}

static void storm_pause(unsigned int *seed)
{
	unsigned int i = rand_r(seed) % 4;

	if (i == 1)
		sched_yield();
	else if (i > 1)
		shake(rand_r(seed) % 300000);
}

static void storm_ioctl(struct storm_task *t, unsigned int *seed)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	arg.timeout = 10000000;
	if (commit_and_fetch(t->ch.dev_rd, &arg))
		return;
	storm_pause(seed);
	storm_count(t, commit_only(t->ch.dev_rd, arg.id, storm_value(arg.cmd.offset)));
}

static void storm_mapping(struct storm_task *t, struct mapping *map, unsigned int *seed)
{
	struct ioregionfd_fetch arg = {};
	struct ioregionfd_mailbox *mailbox;
	uint32_t state;

	if (!mapping_fetch(map, IOREGIONFD_ANY, &arg)) {
		shake(50000);
		return;
	}
	storm_pause(seed);
	mailbox = &map->mailboxes[ioregionfd_id_vcpu(arg.id)];
	if (!mailbox_store_data(mailbox, (uint32_t)arg.id, storm_value(arg.cmd.offset))) {
		storm_count(t, -ENOENT);
		return;
	}
	storm_pause(seed);
	state = (uint32_t)arg.id << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
	if (__atomic_compare_exchange_n(&mailbox->state, &state, mailbox_completed(state), false,
					__ATOMIC_RELEASE, __ATOMIC_RELAXED))
		storm_count(t, 0);
	else
		storm_count(t, commit_only(map->fd, arg.id, storm_value(arg.cmd.offset)));
}

static void storm_read(struct storm_task *t, unsigned int *seed)
{
	struct ioregionfd_cmd cmd;

	if (!fd_poll(t->ch.dev_rd, POLLIN, 10))
		return;
	if (read(t->ch.dev_rd, &cmd, sizeof(cmd)) != sizeof(cmd)) {
		TEST_ASSERT(errno == EAGAIN, "read() failed: %d", -errno);
		return;
	}
	storm_pause(seed);
	storm_count(t, resp_write(t->ch.dev_rd, storm_value(cmd.offset)));
}

static void *storm_main(void *arg)
{
	struct storm_task *t = arg;
	struct mapping map = mapping_open(t->ch.dev_rd);
	unsigned int seed = 7 + t->mode;

	while (!__atomic_load_n(&storm_end, __ATOMIC_ACQUIRE)) {
		switch (t->mode) {
		case MODE_IOCTL:
			storm_ioctl(t, &seed);
			break;
		case MODE_MAPPING:
			storm_mapping(t, &map, &seed);
			break;
		default:
			storm_read(t, &seed);
		}
	}
	mapping_close(&map);
	return NULL;
}

static void *storm_recover(void *arg)
{
	struct channel *ch = arg;
	unsigned int seed = 1;

	while (!__atomic_load_n(&storm_end, __ATOMIC_ACQUIRE)) {
		shake(rand_r(&seed) % 2000000);
		recover(ch->dev_rd);
	}
	return NULL;
}

static void storm_script(struct kvm_vcpu *vcpu, struct guest_op **ops)
{
	int i;

	for (i = 0; i < STORM_OPS; i++)
		ops[i] = op_read(vcpu, 8, SYNC + (vcpu->id * STORM_OPS + i) * 8);
}

TEST_F_TIMEOUT(recover, storm, 240)
{
	struct storm_task tasks[] = {
		{ MODE_IOCTL }, { MODE_IOCTL }, { MODE_MAPPING }, { MODE_MAPPING }, { MODE_READ },
	};
	struct guest_op *ops[STORM_VCPUS][STORM_OPS];
	struct vcpu_thread threads[STORM_VCPUS];
	struct kvm_vcpu *vcpus[STORM_VCPUS];
	struct channel ch;
	struct kvm_vm *vm;
	pthread_t hammer;
	int i, n, round;

	vm = ioregion_vm_create(STORM_VCPUS, guest_script_main, vcpus);
	ch = channel_open_for(vm, TR_NATIVE);
	region_add(vm, &ch, SYNC, 0x4000, SYNC_DATA, 0);
	fcntl(ch.dev_rd, F_SETFL, O_NONBLOCK);
	for (i = 0; i < STORM_VCPUS; i++)
		vcpu_thread_init(&threads[i], vcpus[i]);
	storm_end = false;
	for (i = 0; i < ARRAY_SIZE(tasks); i++) {
		tasks[i].ch = ch;
		n = pthread_create(&tasks[i].thread, NULL, storm_main, &tasks[i]);
		TEST_ASSERT(!n, "pthread_create() failed: %d", n);
	}
	n = pthread_create(&hammer, NULL, storm_recover, &ch);
	TEST_ASSERT(!n, "pthread_create() failed: %d", n);

	for (round = 0; round < STORM_ROUNDS; round++) {
		for (i = 0; i < STORM_VCPUS; i++) {
			storm_script(vcpus[i], ops[i]);
			thread_start(&threads[i]);
		}
		for (i = 0; i < STORM_VCPUS; i++) {
			n = thread_join_timeout(&threads[i], 100);
			TEST_ASSERT_EQ(n, 0);
			expect_done(vcpus[i]);
			for (n = 0; n < STORM_OPS; n++)
				TEST_ASSERT(ops[i][n]->val ==
					    storm_value((i * STORM_OPS + n) * 8),
					    "round %d vCPU %d access %d: the guest got 0x%lx",
					    round, i, n, ops[i][n]->val);
		}
	}
	__atomic_store_n(&storm_end, true, __ATOMIC_RELEASE);
	pthread_join(hammer, NULL);
	for (i = 0, n = 0; i < ARRAY_SIZE(tasks); i++) {
		pthread_join(tasks[i].thread, NULL);
		printf("# task %d: %u responses, %u refused\n", i, tasks[i].accepted,
		       tasks[i].refused);
		n += tasks[i].refused;
	}
	TEST_ASSERT(n, "no response was ever late: nothing was tested");
	kvm_vm_free(vm);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
