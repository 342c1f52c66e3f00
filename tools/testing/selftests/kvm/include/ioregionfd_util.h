/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the ioregionfd tests share:
 *
 * - a guest that executes a script of accesses and keeps what it read,
 * - channels of both kinds, and the device task's end of them,
 * - a model device that logs every command,
 * - vCPU threads that can be watched and interrupted in KVM_RUN.
 *
 * Failures are reported with TEST_ASSERT(), which ends the test's process from any
 * thread.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_UTIL_H
#define SELFTEST_KVM_IOREGIONFD_UTIL_H

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <linux/ioregionfd.h>

#include "ioregionfd_compat.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

/*
 * How many times as long as usual everything may take: for a kernel that is slow because it
 * checks itself. From the environment.
 */
int slowness(void);

/* The limit of every wait, even on the slowest machine. */
#define HANG_SECONDS	(10 * slowness())

#define MAX_VCPUS	4

/* Guest physical addresses without a memslot, mapped at the same virtual address. */
#define MMIO_GPA	0xc0000000ul
#define MMIO_PAGES	4

/* Recognizable values with no byte 0. The model device uses the low half. */
#define USER_DATA(n)	(0xfeedfacecafe0000ul + (n))

/* The guest's script. */

enum guest_op_kind {
	OP_READ,	/* val = [addr], the last of count times */
	OP_WRITE,	/* [addr] = val, count times, val + 1 each time */
	/* on x86 */
	OP_IN,		/* as OP_READ, from port addr */
	OP_OUT,		/* as OP_WRITE, to port addr */
	OP_INS,		/* rep ins: count elements from port addr to mem */
	OP_OUTS,	/* rep outs: count elements from mem to port addr */
	OP_MOVS,	/* rep movs: count elements from mem to addr */
	OP_LOAD16,	/* movdqu: val, hi = [addr] */
	OP_STORE16,	/* movdqu: [addr] = val, hi */
	OP_XCHG,	/* xchg: val <-> [addr] */
	OP_OR,		/* [addr] |= val */
};

struct guest_op {
	uint32_t kind;
	uint32_t size;	/* of an element, in bytes */
	uint64_t addr;
	uint64_t val;
	uint64_t hi;
	uint64_t mem;
	uint32_t count;	/* 0 is 1 */
	bool down;	/* string instruction with the direction flag set */
};

#define SCRIPT_MAX_OPS	320
#define SCRIPT_BUF_SIZE	(3 * 4096)

struct guest_script {
	uint8_t buf[SCRIPT_BUF_SIZE];
	uint32_t nr_ops;
	struct guest_op ops[SCRIPT_MAX_OPS];
} __aligned(4096);

/* One script per vCPU; the host must use vcpu_script(). */
extern struct guest_script guest_scripts[MAX_VCPUS];

void guest_script_main(uint64_t id);
struct guest_script *vcpu_script(struct kvm_vcpu *vcpu);

/* The guest's address of script->buf. */
uint64_t vcpu_buf_gva(struct kvm_vcpu *vcpu);

/* Appends to the script. The guest stores its results in what is returned. */
struct guest_op *op_add(struct kvm_vcpu *vcpu, struct guest_op op);

static inline struct guest_op *op_read(struct kvm_vcpu *vcpu, uint32_t size, uint64_t addr)
{
	return op_add(vcpu, (struct guest_op){ OP_READ, size, addr });
}

static inline struct guest_op *op_write(struct kvm_vcpu *vcpu, uint32_t size, uint64_t addr,
					uint64_t val)
{
	return op_add(vcpu, (struct guest_op){ OP_WRITE, size, addr, val });
}

#ifdef __x86_64__
#include "ioregionfd_x86.h"
#else
#include "ioregionfd_no_ports.h"
#endif

/* A pattern with no two bytes alike, different for each @seed. */
uint64_t pattern(uint64_t seed);

static inline uint64_t low_bytes(uint64_t val, uint32_t size)
{
	return size < 8 ? val & ((1ul << (8 * size)) - 1) : val;
}

struct kvm_vm *ioregion_vm_create(uint32_t nr_vcpus, void *guest_code, struct kvm_vcpu **vcpus);

/* Exits from KVM_RUN. */

#define expect_done(vcpu) __expect_done(vcpu, __LINE__)
void __expect_done(struct kvm_vcpu *vcpu, int line);

/* Runs the script to its end, with no other exit to the VMM. */
#define run_done(vcpu) __run_done(vcpu, __LINE__)
void __run_done(struct kvm_vcpu *vcpu, int line);

#define expect_mmio(...) __expect_mmio(__VA_ARGS__, __LINE__)
void __expect_mmio(struct kvm_vcpu *vcpu, uint64_t gpa, uint32_t len, bool is_write, uint64_t data,
		   int line);

static inline void complete_mmio(struct kvm_vcpu *vcpu, uint64_t val)
{
	memcpy(vcpu->run->mmio.data, &val, sizeof(val));
}

void expect_field(int line, const char *name, uint64_t want, uint64_t got);

#define expect_failure(...) __expect_failure(__VA_ARGS__, __LINE__)
void __expect_failure(struct kvm_vcpu *vcpu, struct kvm_ioregionfd_exit want, int line);

/* Says what is to become of the access that failed. */
void resolve(struct kvm_vcpu *vcpu, uint32_t action, uint64_t data);

/* Channels. */

enum transport {
	TR_SEQPACKET,	/* a socket */
	TR_NATIVE,	/* a native channel, with read() and write() */
	TR_POLLED,	/* a native channel, whose device task polls the mapping */
};

/* Small, so that the ring of posted writes is soon full. */
#define NR_POSTED	16

struct channel {
	enum transport transport;
	int kvm_rd, kvm_wr;	/* for KVM_SET_IOREGIONFD */
	int dev_rd, dev_wr;	/* the device task's */
};

struct channel channel_open(enum transport transport);

/* Longer than any access takes, and the default of the module parameter. */
#define SPIN_LONG	1000000000
#define SPIN_DEFAULT	50000

void set_spin_ns(unsigned int ns);
int create_ioregionfd(struct kvm_vm *vm, uint32_t vcpus, uint32_t posted);

/* As channel_open(); native channels belong to @vm. */
struct channel channel_open_for(struct kvm_vm *vm, enum transport transport);

/* Makes a socket hold as few commands as possible. */
void channel_shrink(struct channel *ch);
void channel_close_kvm(struct channel *ch);
void channel_close_dev(struct channel *ch);
bool fd_poll(int fd, short events, int timeout_ms);

/*
 * Checks that KVM no longer holds the channel: once the VMM has closed its own
 * descriptors, the device task must see the end. KVM never holds the file of a native
 * channel, which ends with its VM.
 */
#define expect_released(ch) __expect_released(ch, __LINE__)
void __expect_released(struct channel *ch, int line);

/* The device task's end. */

/* Reads @len bytes, in several reads if need be. Returns false at the end of the file. */
bool dev_read(struct channel *ch, void *buf, size_t len);

/* Whether there is something to read. */
bool dev_has_cmd(struct channel *ch);

#define dev_recv(ch) __dev_recv(ch, __LINE__)
struct ioregionfd_cmd __dev_recv(struct channel *ch, int line);
void dev_send_bytes(struct channel *ch, const void *buf, size_t len);

/* Sends a packet with a file descriptor attached. */
void send_with_fd(int sock, const void *buf, size_t len, int fd);

static inline struct ioregionfd_resp make_resp(uint64_t data)
{
	return (struct ioregionfd_resp){ .data = data };
}

void dev_send(struct channel *ch, uint64_t data);

/* Responds to a command that its vCPU has abandoned. A socket cannot report that. */
#define dev_send_abandoned(ch, data) __dev_send_abandoned(ch, data, __LINE__)
void __dev_send_abandoned(struct channel *ch, uint64_t data, int line);

/* A response after KVM has let go of the channel, which a socket reports as EPIPE. */
#define dev_send_late(ch, data) __dev_send_late(ch, data, __LINE__)
void __dev_send_late(struct channel *ch, uint64_t data, int line);
struct ioregionfd_cmd make_cmd(uint8_t cmd, uint32_t size, uint64_t user_data, uint64_t offset,
			       uint64_t data, bool resp);

static inline struct ioregionfd_cmd cmd_read(uint32_t size, uint64_t user_data, uint64_t offset)
{
	return make_cmd(IOREGIONFD_CMD_READ, size, user_data, offset, 0, true);
}

static inline struct ioregionfd_cmd cmd_write(uint32_t size, uint64_t user_data, uint64_t offset,
					      uint64_t data)
{
	return make_cmd(IOREGIONFD_CMD_WRITE, size, user_data, offset, data, true);
}

static inline struct ioregionfd_cmd cmd_posted(uint32_t size, uint64_t user_data, uint64_t offset,
					       uint64_t data)
{
	return make_cmd(IOREGIONFD_CMD_WRITE, size, user_data, offset, data, false);
}

/* Compares all 32 bytes, reserved ones included. */
#define expect_cmd(got, want) __expect_cmd(got, want, __LINE__)
void __expect_cmd(struct ioregionfd_cmd got, struct ioregionfd_cmd want, int line);

/* Registering regions. */

struct kvm_ioregionfd region_args(struct channel *ch, uint64_t addr, uint64_t size,
				  uint64_t user_data, uint32_t flags);

#define region_add(...) __region_add(__VA_ARGS__, __LINE__)
void __region_add(struct kvm_vm *vm, struct channel *ch, uint64_t addr, uint64_t size,
		  uint64_t user_data, uint32_t flags, int line);

#define region_del(...) __region_del(__VA_ARGS__, __LINE__)
void __region_del(struct kvm_vm *vm, uint64_t addr, uint64_t size, uint32_t flags, int line);

/* Native channels. */

/* IOREGIONFD_COMMIT_AND_FETCH. Returns 0 or -errno. */
static inline int commit_and_fetch(int fd, struct ioregionfd_fetch *arg)
{
	return ioctl(fd, IOREGIONFD_COMMIT_AND_FETCH, arg) ? -errno : 0;
}

/* To fetch a command without completing one, with a bounded wait. */
struct ioregionfd_fetch fetch_arg(uint32_t vcpu);
int commit_only(int fd, uint64_t id, uint64_t data);
void recover(int fd);

struct mapping {
	int fd;
	struct ioregionfd_info info;
	struct ioregionfd_control *control;
	struct ioregionfd_mailbox *mailboxes;
	struct ioregionfd_cmd *posted;
};

struct mapping mapping_open(int fd);
void mapping_close(struct mapping *map);

/* Fetches the next posted write from the mapping. */
bool mapping_fetch_posted(struct mapping *map, struct ioregionfd_fetch *arg);

/* Fetches the command of mailbox @i from the mapping. */
bool mapping_fetch_mailbox(struct mapping *map, uint32_t i, struct ioregionfd_fetch *arg);

/* Fetches a posted write, or a command of @vcpu or of any vCPU, if there is one. */
bool mapping_fetch(struct mapping *map, uint32_t vcpu, struct ioregionfd_fetch *arg);

/*
 * Stores the value of a response. Returns false if the mailbox no longer holds command
 * @number.
 */
bool mailbox_store_data(struct ioregionfd_mailbox *mailbox, uint32_t number, uint64_t value);

/* The state word of the same command once it is complete. */
static inline uint32_t mailbox_completed(uint32_t state)
{
	return (state & ~IOREGIONFD_MAILBOX_STATE) | IOREGIONFD_MAILBOX_COMPLETE;
}

/*
 * Completes a command or retires a posted write, without a system call unless somebody
 * sleeps. Returns 0, or -ESTALE if the vCPU has abandoned the command.
 */
int mapping_complete(struct mapping *map, uint64_t id, uint64_t data);

/* A device task in a thread, which logs and completes each command. */

#define DEV_MEM_SIZE	(MMIO_PAGES * 4096)

struct device {
	struct channel ch;
	pthread_t thread;
	/*
	 * Returns the value of a read. By default that is 8 bytes of mem; KVM has to
	 * ignore those beyond the size of the access.
	 */
	uint64_t (*respond)(struct device *dev, const struct ioregionfd_cmd *cmd);
	struct ioregionfd_cmd *log;
	unsigned int log_size;
	unsigned int nr;	/* commands so far; the first log_size are logged */
	bool ended;
	uint64_t seq[MAX_VCPUS];	/* for device_respond_seq() */
	uint8_t mem[DEV_MEM_SIZE + 8];
};

uint64_t device_value(struct device *dev, uint64_t index, uint32_t size);
uint64_t device_respond_mem(struct device *dev, const struct ioregionfd_cmd *cmd);
void device_start_on(struct device *dev, struct channel ch);

static inline void device_start(struct device *dev, enum transport transport)
{
	device_start_on(dev, channel_open(transport));
}

static inline void device_start_for(struct device *dev, struct kvm_vm *vm,
				    enum transport transport)
{
	device_start_on(dev, channel_open_for(vm, transport));
}

static inline unsigned int device_nr(struct device *dev)
{
	return __atomic_load_n(&dev->nr, __ATOMIC_ACQUIRE);
}

/* Waits for posted writes, which may not have arrived yet. More than @nr is an error. */
#define expect_nr(dev, nr) __expect_nr(dev, nr, __LINE__)
void __expect_nr(struct device *dev, unsigned int nr, int line);

#define expect_log(dev, ...) __expect_log(dev, __LINE__, (struct ioregionfd_cmd[]){ __VA_ARGS__ }, \
	sizeof((struct ioregionfd_cmd[]){ __VA_ARGS__ }) / sizeof(struct ioregionfd_cmd))
/* Checks that exactly these commands have come since the last check. */
void __expect_log(struct device *dev, int line, const struct ioregionfd_cmd *want, unsigned int nr);

/* Clears the log. The device must be idle and the VMM's access complete. */
static inline void device_forget(struct device *dev)
{
	__atomic_store_n(&dev->nr, 0, __ATOMIC_RELEASE);
}

/* Checks that the device task sees the end once nobody holds its channel. */
#define expect_device_released(dev) __expect_device_released(dev, __LINE__)
void __expect_device_released(struct device *dev, int line);

/* vCPU threads. */

struct vcpu_thread {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	pid_t tid;
	sem_t go;
	sem_t done;
	bool until_exit;	/* repeat on -EINTR */
	bool in_run;
	int ret;		/* what KVM_RUN returned: 0 or -errno */
	unsigned int nr_eintr;
	unsigned int nr_pending;
};

/* Does nothing but interrupt system calls. */
void sigusr1_handler(int sig);

/* With SA_RESTART: even so, the kernel must not restart KVM_RUN by itself. */
void catch_sigusr1(void);
void vcpu_thread_init(struct vcpu_thread *t, struct kvm_vcpu *vcpu);

/* Starts one KVM_RUN; thread_join() waits for it. */
void thread_start(struct vcpu_thread *t);

/* Repeats KVM_RUN until it returns anything but -EINTR. */
void thread_start_until_exit(struct vcpu_thread *t);
bool thread_returned(struct vcpu_thread *t);

#define thread_join(t) __thread_join(t, HANG_SECONDS, __LINE__)
#define thread_join_timeout(t, seconds) __thread_join(t, (seconds) * slowness(), __LINE__)
int __thread_join(struct vcpu_thread *t, int seconds, int line);

/* Waits for a KVM_RUN that must return 0, so that the test can check the exit. */
#define thread_join_exit(t) __thread_join_exit(t, __LINE__)
void __thread_join_exit(struct vcpu_thread *t, int line);

#define thread_join_done(t) __thread_join_done(t, __LINE__)
void __thread_join_done(struct vcpu_thread *t, int line);
bool task_asleep(pid_t tid);

/* Waits until waitpid() with @options says that the process has stopped. */
void wait_stopped(pid_t pid, int options, int *status);

/* How many times the process has gone to sleep. */
unsigned long nr_sleeps(pid_t pid);

/* Whether the thread sleeps in KVM_RUN. */
bool thread_asleep(struct vcpu_thread *t);

/* Waits until the thread sleeps in KVM_RUN. */
#define thread_wait_asleep(t) __thread_wait_asleep(t, __LINE__)
void __thread_wait_asleep(struct vcpu_thread *t, int line);

/* Waits until KVM_RUN sleeps, and interrupts it with a signal. */
#define thread_interrupt(t) __thread_interrupt(t, __LINE__)
void __thread_interrupt(struct vcpu_thread *t, int line);

/* KVM_RUN with immediate_exit. Returns 0 or -errno. */
int run_immediate(struct kvm_vcpu *vcpu);

/* How many IDs vCPUs can have. If KVM does not say (riscv), as many as there can be vCPUs */
static inline uint32_t max_vcpu_ids(void)
{
	int ids = kvm_check_cap(KVM_CAP_MAX_VCPU_ID);

	return ids ? ids : kvm_check_cap(KVM_CAP_MAX_VCPUS);
}

/* A cumulative statistic, a count or nanoseconds; -1 if there is none of that name. */
uint64_t vcpu_stat(struct kvm_vcpu *vcpu, const char *name);

/* The reference count of the KVM vendor module, or -1. */
int module_refs(void);
uint64_t now_ms(void);

/*
 * A guest that makes a known sequence of accesses, and a model device that expects
 * exactly that: each vCPU cycles through four kinds of access, whose values depend on
 * the vCPU and on how many accesses it has made. An access that is lost, duplicated,
 * out of order or completed for another vCPU shows on one of the two sides.
 */
#define SEQ_SYNC	USER_DATA(0)		/* at MMIO_GPA */
#define SEQ_POSTED	USER_DATA(0x1000)	/* at MMIO_GPA + 0x1000 */
#define SEQ_OTHER	USER_DATA(0x2000)	/* at OTHER_BASE */

/* The number of accesses to make; set with write_guest_global(). */
extern uint32_t seq_count;

static inline uint64_t seq_value(uint64_t id, uint64_t seq)
{
	return (seq + 1) * 0x9e3779b97f4a7c15ul + id * 0x100000001b3ul;
}

/* The command that access @seq of vCPU @id must become. */
struct ioregionfd_cmd seq_cmd(uint64_t id, uint64_t seq);
void guest_seq_main(uint64_t id);
uint64_t device_respond_seq(struct device *dev, const struct ioregionfd_cmd *cmd);
void seq_regions_add(struct kvm_vm *vm, struct channel *ch);

#endif /* SELFTEST_KVM_IOREGIONFD_UTIL_H */
