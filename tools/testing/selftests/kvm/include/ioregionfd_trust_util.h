/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the tests that check that nothing is lost, duplicated or late, and that KVM_RUN
 * returns when it should: a device task that the test operates step by step, and
 * KVM_RUN in the modes that must not wait.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_TRUST_UTIL_H
#define SELFTEST_KVM_IOREGIONFD_TRUST_UTIL_H

#include <sys/prctl.h>
#include <sys/wait.h>

#include "ioregionfd_native_util.h"

/* How many times a wait checks, one millisecond apart, before the test fails. */
#define HANG_LOOKS	(HANG_SECONDS * 1000)

/*
 * How long a vCPU spins, in ns: long enough to see it spin, short enough that it soon
 * sleeps.
 */
#define HAND_SPIN	2000000

/* Writes a valid response. Returns 0 or -errno. */
int resp_write(int fd, uint64_t data);

/**
 * struct hand - a device task that fetches and completes commands as the test says
 * @ch: served by read() and write(), or in the mapping if it is TR_POLLED
 * @map: only for TR_POLLED
 * @arg: the command that has been fetched, if arg.id is not 0
 */
struct hand {
	struct channel ch;
	struct mapping map;
	struct ioregionfd_fetch arg;
};

struct hand hand_open(struct kvm_vm *vm, enum transport transport);
void hand_close(struct hand *hand);

/* Fetches a command, if there is one. */
bool hand_try(struct hand *hand);

#define hand_fetch(hand) __hand_fetch(hand, __LINE__)
struct ioregionfd_cmd __hand_fetch(struct hand *hand, int line);

#define hand_complete(hand, data) __hand_complete(hand, data, 0, __LINE__)
void __hand_complete(struct hand *hand, uint64_t data, int want, int line);

/* The vCPU has abandoned the command. A socket cannot report that. */
#define hand_complete_late(hand, data) __hand_complete_late(hand, data, __LINE__)
void __hand_complete_late(struct hand *hand, uint64_t data, int line);

/* Fetches a command, if there is one, and completes it as @dev would. */
bool hand_serve(struct hand *hand, struct device *dev);

/* Checks that there is no command that no guest access accounts for. */
#define expect_no_cmd(hand) __expect_no_cmd(hand, __LINE__)
void __expect_no_cmd(struct hand *hand, int line);

/*
 * One KVM_RUN with immediate_exit = @how. It runs in the vCPU's thread, so that the
 * test can report a KVM_RUN that waits. Returns 0 or -errno.
 */
#define thread_run_how(t, how) __thread_run_how(t, how, __LINE__)
int __thread_run_how(struct vcpu_thread *t, uint8_t how, int line);

static inline bool vcpu_is_pending(struct kvm_vcpu *vcpu)
{
	return vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING;
}

/* Waits until KVM_RUN has returned or sleeps. Returns whether it has returned. */
#define thread_wait_returned(t) __thread_wait_returned(t, __LINE__)
bool __thread_wait_returned(struct vcpu_thread *t, int line);

/* The value that the current task responds with, and that of former tasks. */
#define RIGHT		0x600d600d600d600dul
#define LATE		0xdeaddeaddeaddeadul

/* Fetches the command of vCPU 0, which must be there or come. */
#define fetch_command(map) __fetch_command(map, __LINE__)
struct ioregionfd_fetch __fetch_command(struct mapping *map, int line);

/* Leaves the vCPU outside KVM_RUN, with its command sent. */
void begin_interrupted(struct vcpu_thread *thread);

/* Checks that the guest gets RIGHT. @who has responded, for messages. */
void end_interrupted(struct vcpu_thread *thread, struct guest_op *op, const char *who);

/* A model device without a channel, for hand_serve(). */
struct device *model_new(void);
void model_free(struct device *dev);

/*
 * A thread that takes very short sleeps, over and over. Its timer interrupts preempt
 * other threads at varying places: where QEMU emulates several CPUs in turn, this is
 * what makes two CPUs meet within a few instructions. The number of sleeps is a measure
 * of how many chances there were for that.
 */
struct shaker {
	void (*act)(void *arg);	/* called before each sleep, or NULL */
	void *arg;
	pthread_t thread;
	unsigned int nr;
	bool end;
};

static inline unsigned int shaker_nr(struct shaker *s)
{
	return __atomic_load_n(&s->nr, __ATOMIC_RELAXED);
}

void shake(unsigned int ns);
void set_cpu(pthread_t thread, int cpu);
void shaker_start(struct shaker *s, int cpu);
void shaker_stop(struct shaker *s);

#endif /* SELFTEST_KVM_IOREGIONFD_TRUST_UTIL_H */
