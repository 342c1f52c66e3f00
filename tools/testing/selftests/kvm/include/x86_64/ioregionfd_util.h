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

#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

/*
 * How many times as long as usual everything may take: for a kernel that is slow because it
 * checks itself. From the environment.
 */
static inline int slowness(void)
{
	const char *value = getenv("KSELFTEST_SLOWNESS");
	int factor = value ? atoi(value) : 1;

	return factor > 1 ? factor : 1;
}

/* The limit of every wait, even on the slowest machine. */
#define HANG_SECONDS	(10 * slowness())

#define MAX_VCPUS	4

/* Guest physical addresses without a memslot, mapped at the same virtual address. */
#define MMIO_GPA	0xc0000000ul
#define MMIO_PAGES	4

/* Unused I/O ports. */
#define PIO_BASE	0x2000

/* The guest writes here when its script is done; cheaper than a ucall. */
#define DONE_PORT	0x1100

/* Recognizable values with no byte 0. The model device uses the low half. */
#define USER_DATA(n)	(0xfeedfacecafe0000ul + (n))

/* The guest's script. */

enum guest_op_kind {
	OP_READ,	/* val = [addr], the last of count times */
	OP_WRITE,	/* [addr] = val, count times, val + 1 each time */
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
static struct guest_script guest_scripts[MAX_VCPUS];

static inline void guest_read(struct guest_op *op)
{
	switch (op->size) {
	case 1:
		op->val = READ_ONCE(*(uint8_t *)op->addr);
		break;
	case 2:
		op->val = READ_ONCE(*(uint16_t *)op->addr);
		break;
	case 4:
		op->val = READ_ONCE(*(uint32_t *)op->addr);
		break;
	case 8:
		op->val = READ_ONCE(*(uint64_t *)op->addr);
		break;
	}
}

static inline void guest_write(const struct guest_op *op, uint64_t val)
{
	switch (op->size) {
	case 1:
		WRITE_ONCE(*(uint8_t *)op->addr, val);
		break;
	case 2:
		WRITE_ONCE(*(uint16_t *)op->addr, val);
		break;
	case 4:
		WRITE_ONCE(*(uint32_t *)op->addr, val);
		break;
	case 8:
		WRITE_ONCE(*(uint64_t *)op->addr, val);
		break;
	}
}

static inline void guest_in(struct guest_op *op)
{
	/* So that the test sees which bits of the register "in" leaves unchanged. */
	uint64_t val = ~0ul;

	switch (op->size) {
	case 1:
		asm volatile("inb %w1, %b0" : "+a"(val) : "d"(op->addr));
		break;
	case 2:
		asm volatile("inw %w1, %w0" : "+a"(val) : "d"(op->addr));
		break;
	case 4:
		asm volatile("inl %w1, %k0" : "+a"(val) : "d"(op->addr));
		break;
	}
	op->val = val;
}

static inline void guest_out(const struct guest_op *op, uint64_t val)
{
	switch (op->size) {
	case 1:
		asm volatile("outb %b0, %w1" : : "a"(val), "d"(op->addr));
		break;
	case 2:
		asm volatile("outw %w0, %w1" : : "a"(val), "d"(op->addr));
		break;
	case 4:
		asm volatile("outl %k0, %w1" : : "a"(val), "d"(op->addr));
		break;
	}
}

static inline void guest_xchg(struct guest_op *op)
{
	uint64_t val = op->val;

	switch (op->size) {
	case 1:
		asm volatile("xchgb %b0, (%1)" : "+q"(val) : "r"(op->addr) : "memory");
		break;
	case 2:
		asm volatile("xchgw %w0, (%1)" : "+r"(val) : "r"(op->addr) : "memory");
		break;
	case 4:
		asm volatile("xchgl %k0, (%1)" : "+r"(val) : "r"(op->addr) : "memory");
		break;
	case 8:
		asm volatile("xchgq %q0, (%1)" : "+r"(val) : "r"(op->addr) : "memory");
		break;
	}
	op->val = val;
}

static inline void guest_or(const struct guest_op *op)
{
	switch (op->size) {
	case 1:
		asm volatile("orb %b0, (%1)" : : "q"(op->val), "r"(op->addr) : "memory");
		break;
	case 2:
		asm volatile("orw %w0, (%1)" : : "r"(op->val), "r"(op->addr) : "memory");
		break;
	case 4:
		asm volatile("orl %k0, (%1)" : : "r"(op->val), "r"(op->addr) : "memory");
		break;
	case 8:
		asm volatile("orq %q0, (%1)" : : "r"(op->val), "r"(op->addr) : "memory");
		break;
	}
}

#define GUEST_STRING(insn) ({							\
	asm volatile("rep " insn : "+c"(count), "+S"(src), "+D"(dst)		\
				 : "d"(port) : "memory");			\
})

static inline void guest_string(const struct guest_op *op)
{
	uint64_t count = op->count, src = op->mem, dst = op->addr;
	uint16_t port = op->addr;

	if (op->down)
		asm volatile("std");

	switch (op->kind) {
	case OP_INS:
		dst = op->mem;
		if (op->size == 1)
			GUEST_STRING("insb");
		else if (op->size == 2)
			GUEST_STRING("insw");
		else
			GUEST_STRING("insl");
		break;
	case OP_OUTS:
		if (op->size == 1)
			GUEST_STRING("outsb");
		else if (op->size == 2)
			GUEST_STRING("outsw");
		else
			GUEST_STRING("outsl");
		break;
	case OP_MOVS:
		if (op->size == 1)
			GUEST_STRING("movsb");
		else if (op->size == 2)
			GUEST_STRING("movsw");
		else if (op->size == 4)
			GUEST_STRING("movsl");
		else
			GUEST_STRING("movsq");
		break;
	}

	asm volatile("cld");
	GUEST_ASSERT_EQ(count, 0);
}

static inline void guest_run_op(struct guest_op *op)
{
	uint32_t i, count = op->count ?: 1;

	switch (op->kind) {
	case OP_READ:
		for (i = 0; i < count; i++)
			guest_read(op);
		break;
	case OP_WRITE:
		for (i = 0; i < count; i++)
			guest_write(op, op->val + i);
		break;
	case OP_IN:
		for (i = 0; i < count; i++)
			guest_in(op);
		break;
	case OP_OUT:
		for (i = 0; i < count; i++)
			guest_out(op, op->val + i);
		break;
	case OP_INS:
	case OP_OUTS:
	case OP_MOVS:
		guest_string(op);
		break;
	case OP_LOAD16:
		asm volatile("movdqu (%0), %%xmm0; movdqu %%xmm0, (%1)"
			     : : "r"(op->addr), "r"(&op->val) : "xmm0", "memory");
		break;
	case OP_STORE16:
		asm volatile("movdqu (%1), %%xmm0; movdqu %%xmm0, (%0)"
			     : : "r"(op->addr), "r"(&op->val) : "xmm0", "memory");
		break;
	case OP_XCHG:
		guest_xchg(op);
		break;
	case OP_OR:
		guest_or(op);
		break;
	default:
		GUEST_FAIL("unknown op %u", op->kind);
	}
}

static inline void guest_script_main(uint64_t id)
{
	struct guest_script *script = &guest_scripts[id];
	uint32_t i;

	for (;;) {
		for (i = 0; i < READ_ONCE(script->nr_ops); i++)
			guest_run_op(&script->ops[i]);
		outl(DONE_PORT, 0);
	}
}

static inline struct guest_script *vcpu_script(struct kvm_vcpu *vcpu)
{
	return addr_gva2hva(vcpu->vm, (vm_vaddr_t)&guest_scripts[vcpu->id]);
}

/* The guest's address of script->buf. */
static inline uint64_t vcpu_buf_gva(struct kvm_vcpu *vcpu)
{
	return (uint64_t)guest_scripts[vcpu->id].buf;
}

/* Appends to the script. The guest stores its results in what is returned. */
static inline struct guest_op *op_add(struct kvm_vcpu *vcpu, struct guest_op op)
{
	struct guest_script *script = vcpu_script(vcpu);

	TEST_ASSERT(script->nr_ops < SCRIPT_MAX_OPS, "script too long");
	script->ops[script->nr_ops] = op;
	return &script->ops[script->nr_ops++];
}

static inline struct guest_op *op_read(struct kvm_vcpu *vcpu, uint32_t size, uint64_t addr)
{
	return op_add(vcpu, (struct guest_op){ OP_READ, size, addr });
}

static inline struct guest_op *op_write(struct kvm_vcpu *vcpu, uint32_t size, uint64_t addr,
					uint64_t val)
{
	return op_add(vcpu, (struct guest_op){ OP_WRITE, size, addr, val });
}

static inline struct guest_op *op_in(struct kvm_vcpu *vcpu, uint32_t size, uint64_t port)
{
	return op_add(vcpu, (struct guest_op){ OP_IN, size, port });
}

static inline struct guest_op *op_out(struct kvm_vcpu *vcpu, uint32_t size, uint64_t port,
				      uint64_t val)
{
	return op_add(vcpu, (struct guest_op){ OP_OUT, size, port, val });
}

/* "in" of 1 or 2 bytes leaves the rest of the register, all ones, unchanged. */
static inline uint64_t in_result(uint32_t size, uint64_t val)
{
	switch (size) {
	case 1:
		return val | ~0xfful;
	case 2:
		return val | ~0xfffful;
	}
	return (uint32_t)val;
}

static inline uint64_t low_bytes(uint64_t val, uint32_t size)
{
	return size < 8 ? val & ((1ul << (8 * size)) - 1) : val;
}

static inline struct kvm_vm *ioregion_vm_create(uint32_t nr_vcpus, void *guest_code,
						struct kvm_vcpu **vcpus)
{
	struct kvm_vm *vm = vm_create_with_vcpus(nr_vcpus, guest_code, vcpus);
	uint32_t i;

	for (i = 0; i < nr_vcpus; i++)
		vcpu_args_set(vcpus[i], 1, i);
	virt_map(vm, MMIO_GPA, MMIO_GPA, MMIO_PAGES);
	return vm;
}

/* Exits from KVM_RUN. */

#define expect_done(vcpu) __expect_done(vcpu, __LINE__)
static inline void __expect_done(struct kvm_vcpu *vcpu, int line)
{
	struct kvm_run *run = vcpu->run;
	struct ucall uc;

	if (run->exit_reason == KVM_EXIT_IO && run->io.port == DONE_PORT) {
		vcpu_script(vcpu)->nr_ops = 0;
		return;
	}
	if (get_ucall(vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	if (run->exit_reason == KVM_EXIT_IOREGIONFD_FAILURE)
		TEST_FAIL("line %d: access to 0x%llx failed: reason %u progress %u error %u",
			  line, run->ioregionfd.guest_paddr, run->ioregionfd.reason,
			  run->ioregionfd.progress, run->ioregionfd.error);
	if (run->exit_reason == KVM_EXIT_MMIO)
		TEST_FAIL("line %d: the VMM got %u bytes at 0x%llx",
			  line, run->mmio.len, run->mmio.phys_addr);
	if (run->exit_reason == KVM_EXIT_IO)
		TEST_FAIL("line %d: the VMM got %u bytes at port 0x%x",
			  line, run->io.size, run->io.port);
	TEST_FAIL("line %d: exit reason %u (%s)",
		  line, run->exit_reason, exit_reason_str(run->exit_reason));
}

/* Runs the script to its end, with no other exit to the VMM. */
#define run_done(vcpu) __run_done(vcpu, __LINE__)
static inline void __run_done(struct kvm_vcpu *vcpu, int line)
{
	vcpu_run(vcpu);
	__expect_done(vcpu, line);
}

#define expect_mmio(...) __expect_mmio(__VA_ARGS__, __LINE__)
static inline void __expect_mmio(struct kvm_vcpu *vcpu, uint64_t gpa, uint32_t len,
				 bool is_write, uint64_t data, int line)
{
	struct kvm_run *run = vcpu->run;
	uint64_t got = 0;

	TEST_ASSERT(run->exit_reason == KVM_EXIT_MMIO,
		    "line %d: wanted KVM_EXIT_MMIO, got %u (%s)", line, run->exit_reason,
		    exit_reason_str(run->exit_reason));
	if (is_write)
		memcpy(&got, run->mmio.data, min(run->mmio.len, 8u));
	TEST_ASSERT(run->mmio.phys_addr == gpa && run->mmio.len == len &&
		    run->mmio.is_write == is_write && got == (is_write ? data : 0),
		    "line %d: wanted %u bytes at 0x%lx write %u data 0x%lx, got %u at 0x%llx write %u data 0x%lx",
		    line, len, gpa, is_write, data, run->mmio.len, run->mmio.phys_addr,
		    run->mmio.is_write, got);
}

static inline void complete_mmio(struct kvm_vcpu *vcpu, uint64_t val)
{
	memcpy(vcpu->run->mmio.data, &val, sizeof(val));
}

static inline void *io_data(struct kvm_vcpu *vcpu)
{
	return (void *)vcpu->run + vcpu->run->io.data_offset;
}

#define expect_io(...) __expect_io(__VA_ARGS__, __LINE__)
static inline void __expect_io(struct kvm_vcpu *vcpu, uint16_t port, uint32_t size,
			       bool is_write, uint64_t data, int line)
{
	struct kvm_run *run = vcpu->run;
	uint64_t got = 0;

	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO,
		    "line %d: wanted KVM_EXIT_IO, got %u (%s)", line, run->exit_reason,
		    exit_reason_str(run->exit_reason));
	if (is_write)
		memcpy(&got, io_data(vcpu), min(run->io.size, (uint8_t)8));
	TEST_ASSERT(run->io.port == port && run->io.size == size && run->io.count == 1 &&
		    run->io.direction == (is_write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN) &&
		    got == (is_write ? data : 0),
		    "line %d: wanted %u bytes at port 0x%x out %u data 0x%lx, got %u at 0x%x out %u data 0x%lx count %u",
		    line, size, port, is_write, data, run->io.size, run->io.port,
		    run->io.direction, got, run->io.count);
}

static inline void expect_field(int line, const char *name, uint64_t want, uint64_t got)
{
	TEST_ASSERT(want == got, "line %d: wanted %s 0x%lx, got 0x%lx", line, name, want, got);
}

#define expect_failure(...) __expect_failure(__VA_ARGS__, __LINE__)
static inline void __expect_failure(struct kvm_vcpu *vcpu, struct kvm_ioregionfd_exit want,
				    int line)
{
	struct kvm_ioregionfd_exit got = vcpu->run->ioregionfd;

	TEST_ASSERT(vcpu->run->exit_reason == KVM_EXIT_IOREGIONFD_FAILURE,
		    "line %d: wanted KVM_EXIT_IOREGIONFD_FAILURE, got %u (%s)", line,
		    vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason));
	TEST_ASSERT(vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING,
		    "line %d: PENDING is not set", line);
	expect_field(line, "reason", want.reason, got.reason);
	expect_field(line, "error", want.error, got.error);
	expect_field(line, "progress", want.progress, got.progress);
	expect_field(line, "region_paddr", want.region_paddr, got.region_paddr);
	expect_field(line, "region_size", want.region_size, got.region_size);
	expect_field(line, "user_data", want.user_data, got.user_data);
	expect_field(line, "guest_paddr", want.guest_paddr, got.guest_paddr);
	expect_field(line, "size", want.size, got.size);
	expect_field(line, "is_write", want.is_write, got.is_write);
	expect_field(line, "is_pio", want.is_pio, got.is_pio);
	expect_field(line, "data", want.data, got.data);
	expect_field(line, "action", want.action, got.action);
	TEST_ASSERT(!memcmp(&got, &want, sizeof(want)),
		    "line %d: a field that is not checked above differs", line);
	/* The default, which the test may change. */
	vcpu->run->ioregionfd.action = KVM_IOREGIONFD_RETRY;
}

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

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void set_sockopt(int fd, int level, int option, int val)
{
	int r = setsockopt(fd, level, option, &val, sizeof(val));

	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("setsockopt()", r));
}

static inline struct channel channel_open(enum transport transport)
{
	struct channel ch = { .transport = transport };
	int fds[2], r;

	r = socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds);
	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("socketpair()", r));
	ch.kvm_rd = fds[0];
	ch.kvm_wr = fds[0];
	ch.dev_rd = fds[1];
	ch.dev_wr = fds[1];
	return ch;
}

/* Longer than any access takes, and the default of the module parameter. */
#define SPIN_LONG	1000000000
#define SPIN_DEFAULT	50000

static inline void set_spin_ns(unsigned int ns)
{
	FILE *f = fopen("/sys/module/kvm/parameters/ioregionfd_spin_ns", "w");

	TEST_ASSERT(f && fprintf(f, "%u", ns) > 0 && !fclose(f), "cannot set ioregionfd_spin_ns");
}

static inline int create_ioregionfd(struct kvm_vm *vm, uint32_t vcpus, uint32_t posted)
{
	struct kvm_create_ioregionfd args = { .nr_mailboxes = vcpus, .nr_posted = posted };
	int fd = __vm_ioctl(vm, KVM_CREATE_IOREGIONFD, &args);

	TEST_ASSERT(fd >= 0, __KVM_IOCTL_ERROR("KVM_CREATE_IOREGIONFD", fd));
	return fd;
}

/* As channel_open(); native channels belong to @vm. */
static inline struct channel channel_open_for(struct kvm_vm *vm, enum transport transport)
{
	struct channel ch = { .transport = transport };

	if (transport != TR_NATIVE && transport != TR_POLLED)
		return channel_open(transport);

	set_spin_ns(transport == TR_POLLED ? SPIN_LONG : SPIN_DEFAULT);
	ch.kvm_rd = create_ioregionfd(vm, MAX_VCPUS, NR_POSTED);
	ch.kvm_wr = ch.kvm_rd;
	ch.dev_rd = dup(ch.kvm_rd);
	TEST_ASSERT(ch.dev_rd >= 0, __KVM_SYSCALL_ERROR("dup()", ch.dev_rd));
	ch.dev_wr = ch.dev_rd;
	return ch;
}

/* Makes a socket hold as few commands as possible. */
static inline void channel_shrink(struct channel *ch)
{
	if (ch->transport == TR_SEQPACKET)
		set_sockopt(ch->kvm_wr, SOL_SOCKET, SO_SNDBUF, 1);
}

static inline void channel_close_kvm(struct channel *ch)
{
	if (ch->kvm_rd == ch->kvm_wr)
		ch->kvm_rd = -1;
	close_fd(&ch->kvm_rd);
	close_fd(&ch->kvm_wr);
}

static inline void channel_close_dev(struct channel *ch)
{
	if (ch->dev_rd == ch->dev_wr)
		ch->dev_rd = -1;
	close_fd(&ch->dev_rd);
	close_fd(&ch->dev_wr);
}

static inline bool fd_poll(int fd, short events, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int r;

	do {
		r = poll(&pfd, 1, timeout_ms);
	} while (r < 0 && errno == EINTR);
	TEST_ASSERT(r >= 0, __KVM_SYSCALL_ERROR("poll()", r));
	return r;
}

/*
 * Checks that KVM no longer holds the channel: once the VMM has closed its own
 * descriptors, the device task must see the end. KVM never holds the file of a native
 * channel, which ends with its VM.
 */
#define expect_released(ch) __expect_released(ch, __LINE__)
static inline void __expect_released(struct channel *ch, int line)
{
	TEST_ASSERT(ch->kvm_wr < 0, "the test holds the channel itself");

	if (ch->transport == TR_NATIVE)
		TEST_ASSERT(fd_poll(ch->dev_rd, 0, HANG_SECONDS * 1000),
			    "line %d: the VM is not gone", line);
	else
		TEST_ASSERT(fd_poll(ch->dev_wr, POLLRDHUP, HANG_SECONDS * 1000),
			    "line %d: somebody still holds the socket", line);
}

/* The device task's end. */

/* Reads @len bytes, in several reads if need be. Returns false at the end of the file. */
static inline bool dev_read(struct channel *ch, void *buf, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = read(ch->dev_rd, buf + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += n;
	}
	return true;
}

/* Whether there is something to read. */
static inline bool dev_has_cmd(struct channel *ch)
{
	return fd_poll(ch->dev_rd, POLLIN, 0);
}

#define dev_recv(ch) __dev_recv(ch, __LINE__)
static inline struct ioregionfd_cmd __dev_recv(struct channel *ch, int line)
{
	struct ioregionfd_cmd cmd;

	TEST_ASSERT(fd_poll(ch->dev_rd, POLLIN, HANG_SECONDS * 1000),
		    "line %d: no command comes", line);
	TEST_ASSERT(dev_read(ch, &cmd, sizeof(cmd)), "line %d: end of file instead of a command",
		    line);
	return cmd;
}

static inline void dev_send_bytes(struct channel *ch, const void *buf, size_t len)
{
	ssize_t n = write(ch->dev_wr, buf, len);

	TEST_ASSERT(n == len, __KVM_SYSCALL_ERROR("write()", (int)n));
}

/* Sends a packet with a file descriptor attached. */
static inline void send_with_fd(int sock, const void *buf, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	TEST_ASSERT(n == len, __KVM_SYSCALL_ERROR("sendmsg()", (int)n));
}

static inline struct ioregionfd_resp make_resp(uint64_t data)
{
	return (struct ioregionfd_resp){ .data = data };
}

static inline void dev_send(struct channel *ch, uint64_t data)
{
	struct ioregionfd_resp resp = make_resp(data);

	dev_send_bytes(ch, &resp, sizeof(resp));
}

/* Responds to a command that its vCPU has abandoned. A socket cannot report that. */
#define dev_send_abandoned(ch, data) __dev_send_abandoned(ch, data, __LINE__)
static inline void __dev_send_abandoned(struct channel *ch, uint64_t data, int line)
{
	struct ioregionfd_resp resp = make_resp(data);
	ssize_t n;

	if (ch->transport == TR_SEQPACKET) {
		dev_send(ch, data);
		return;
	}
	n = write(ch->dev_wr, &resp, sizeof(resp));
	TEST_ASSERT(n < 0 && errno == ESTALE, "line %d: wanted ESTALE, got %zd, errno %d", line, n,
		    n < 0 ? errno : 0);
}

/* A response after KVM has let go of the channel, which a socket reports as EPIPE. */
#define dev_send_late(ch, data) __dev_send_late(ch, data, __LINE__)
static inline void __dev_send_late(struct channel *ch, uint64_t data, int line)
{
	struct ioregionfd_resp resp = make_resp(data);
	ssize_t n;

	if (ch->transport != TR_SEQPACKET) {
		dev_send(ch, data);
		return;
	}
	n = send(ch->dev_wr, &resp, sizeof(resp), MSG_NOSIGNAL);
	TEST_ASSERT(n < 0 && errno == EPIPE, "line %d: wanted EPIPE, got %zd, errno %d", line, n,
		    n < 0 ? errno : 0);
}

static inline struct ioregionfd_cmd make_cmd(uint8_t cmd, uint32_t size, uint64_t user_data,
					     uint64_t offset, uint64_t data, bool resp)
{
	return (struct ioregionfd_cmd){
		.cmd = cmd,
		.flags = __builtin_ctz(size) | (resp ? IOREGIONFD_CMD_F_RESP : 0),
		.user_data = user_data,
		.offset = offset,
		.data = data,
	};
}

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
static inline void __expect_cmd(struct ioregionfd_cmd got, struct ioregionfd_cmd want, int line)
{
	const uint64_t *g = (const uint64_t *)&got, *w = (const uint64_t *)&want;

	/* Only some tests have several vCPUs; they check the id themselves. */
	want.vcpu_id = got.vcpu_id;
	TEST_ASSERT(!memcmp(&got, &want, sizeof(got)),
		    "line %d: wanted head %lx user_data %lx offset %lx data %lx, got %lx %lx %lx %lx",
		    line, w[0], w[1], w[2], w[3], g[0], g[1], g[2], g[3]);
}

/* Registering regions. */

static inline struct kvm_ioregionfd region_args(struct channel *ch, uint64_t addr, uint64_t size,
						uint64_t user_data, uint32_t flags)
{
	return (struct kvm_ioregionfd){
		.guest_paddr = addr,
		.memory_size = size,
		.user_data = user_data,
		.read_fd = ch->kvm_rd,
		.write_fd = ch->kvm_wr,
		.flags = flags,
	};
}

#define region_add(...) __region_add(__VA_ARGS__, __LINE__)
static inline void __region_add(struct kvm_vm *vm, struct channel *ch, uint64_t addr,
				uint64_t size, uint64_t user_data, uint32_t flags, int line)
{
	struct kvm_ioregionfd args = region_args(ch, addr, size, user_data, flags);
	int r = __vm_ioctl(vm, KVM_SET_IOREGIONFD, &args);

	TEST_ASSERT(!r, "line %d: adding a region failed: errno %d (%s)", line, errno,
		    strerror(errno));
}

#define region_del(...) __region_del(__VA_ARGS__, __LINE__)
static inline void __region_del(struct kvm_vm *vm, uint64_t addr, uint64_t size, uint32_t flags,
				int line)
{
	struct kvm_ioregionfd args = {
		.guest_paddr = addr,
		.memory_size = size,
		.flags = flags | KVM_IOREGION_DEASSIGN,
	};
	int r = __vm_ioctl(vm, KVM_SET_IOREGIONFD, &args);

	TEST_ASSERT(!r, "line %d: removing a region failed: errno %d (%s)", line, errno,
		    strerror(errno));
}

/* Native channels. */

/* IOREGIONFD_COMMIT_AND_FETCH. Returns 0 or -errno. */
static inline int commit_and_fetch(int fd, struct ioregionfd_fetch *arg)
{
	return ioctl(fd, IOREGIONFD_COMMIT_AND_FETCH, arg) ? -errno : 0;
}

/* To fetch a command without completing one, with a bounded wait. */
static inline struct ioregionfd_fetch fetch_arg(uint32_t vcpu)
{
	return (struct ioregionfd_fetch){
		.vcpu = vcpu,
		.timeout = HANG_SECONDS * 1000000000l,
	};
}

static inline int commit_only(int fd, uint64_t id, uint64_t data)
{
	struct ioregionfd_fetch arg = {
		.id = id,
		.data = data,
		.vcpu = IOREGIONFD_ANY,
		.flags = IOREGIONFD_COMMIT_ONLY,
	};

	return commit_and_fetch(fd, &arg);
}

static inline void recover(int fd)
{
	int r = ioctl(fd, IOREGIONFD_RECOVER);

	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("IOREGIONFD_RECOVER", r));
}

struct mapping {
	int fd;
	struct ioregionfd_info info;
	struct ioregionfd_control *control;
	struct ioregionfd_mailbox *mailboxes;
	struct ioregionfd_cmd *posted;
};

static inline struct mapping mapping_open(int fd)
{
	struct mapping map = { .fd = fd };
	void *mem;
	int r;

	r = ioctl(fd, IOREGIONFD_GET_INFO, &map.info);
	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("IOREGIONFD_GET_INFO", r));
	mem = mmap(NULL, map.info.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TEST_ASSERT(mem != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap()", -1));
	map.control = mem;
	map.mailboxes = mem + map.info.mailboxes_offset;
	map.posted = mem + map.info.posted_offset;
	return map;
}

static inline void mapping_close(struct mapping *map)
{
	munmap(map->control, map->info.size);
}

/* Fetches the next posted write from the mapping. */
static inline bool mapping_fetch_posted(struct mapping *map, struct ioregionfd_fetch *arg)
{
	uint32_t tail = READ_ONCE(map->control->posted_tail);
	uint32_t head = __atomic_load_n(&map->control->posted_head, __ATOMIC_ACQUIRE);

	if (tail & 1 || tail >> 1 == head)
		return false;
	if (!__atomic_compare_exchange_n(&map->control->posted_tail, &tail, tail | 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	arg->id = (uint64_t)IOREGIONFD_ANY << 32 | tail >> 1;
	arg->cmd = map->posted[(tail >> 1) & (map->info.nr_posted - 1)];
	return true;
}

/* Fetches the command of mailbox @i from the mapping. */
static inline bool mapping_fetch_mailbox(struct mapping *map, uint32_t i,
					 struct ioregionfd_fetch *arg)
{
	struct ioregionfd_mailbox *mailbox = &map->mailboxes[i];
	uint32_t state, fetched, tail;
	struct ioregionfd_cmd cmd;

	do {
		state = __atomic_load_n(&mailbox->state, __ATOMIC_ACQUIRE);
		if ((state & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_PENDING)
			return false;
		tail = __atomic_load_n(&map->control->posted_tail, __ATOMIC_ACQUIRE) >> 1;
		if ((int32_t)((tail - mailbox->posted_before) << 1) < 0)
			return false;
		cmd = mailbox->cmd;
		fetched = (state & ~IOREGIONFD_MAILBOX_STATE) | IOREGIONFD_MAILBOX_FETCHED;
	} while (!__atomic_compare_exchange_n(&mailbox->state, &state, fetched, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	/* Not before: it may be another task's command, which the next call would complete. */
	arg->id = ioregionfd_cmd_id(i, state);
	arg->cmd = cmd;
	return true;
}

/* Fetches a posted write, or a command of @vcpu or of any vCPU, if there is one. */
static inline bool mapping_fetch(struct mapping *map, uint32_t vcpu, struct ioregionfd_fetch *arg)
{
	uint32_t i;

	if (mapping_fetch_posted(map, arg))
		return true;
	for (i = 0; i < map->info.nr_mailboxes; i++) {
		if ((vcpu == IOREGIONFD_ANY || vcpu == i) && mapping_fetch_mailbox(map, i, arg))
			return true;
	}
	return false;
}

/*
 * Stores the value of a response. Returns false if the mailbox no longer holds command
 * @number.
 */
static inline bool mailbox_store_data(struct ioregionfd_mailbox *mailbox, uint32_t number,
				      uint64_t value)
{
	uint64_t word;
	int half;

	for (half = 0; half < 2; half++) {
		word = READ_ONCE(mailbox->data[half]);
		if (word >> 32 != number ||
		    !__atomic_compare_exchange_n(&mailbox->data[half], &word,
						 ioregionfd_mailbox_data(number, half, value),
						 false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return false;
	}
	return true;
}

/* The state word of the same command once it is complete. */
static inline uint32_t mailbox_completed(uint32_t state)
{
	return (state & ~IOREGIONFD_MAILBOX_STATE) | IOREGIONFD_MAILBOX_COMPLETE;
}

/*
 * Completes a command or retires a posted write, without a system call unless somebody
 * sleeps. Returns 0, or -ESTALE if the vCPU has abandoned the command.
 */
static inline int mapping_complete(struct mapping *map, uint64_t id, uint64_t data)
{
	uint32_t i = ioregionfd_id_vcpu(id), state, tail = (uint32_t)id << 1 | 1;
	struct ioregionfd_mailbox *mailbox;
	int r;

	if (i == IOREGIONFD_ANY) {
		__atomic_compare_exchange_n(&map->control->posted_tail, &tail, tail + 1, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!READ_ONCE(map->control->blocked))
			return 0;
		r = commit_only(map->fd, 0, 0);
	} else {
		mailbox = &map->mailboxes[i];
		state = (uint32_t)id << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
		if (mailbox_store_data(mailbox, id, data) &&
		    __atomic_compare_exchange_n(&mailbox->state, &state,
						mailbox_completed(state), false,
						__ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return 0;
		r = commit_only(map->fd, id, data);
	}
	TEST_ASSERT(!r || r == -ESTALE, "IOREGIONFD_COMMIT_AND_FETCH failed: %d", r);
	return r;
}

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

/* The byte of mem that a command accesses: the low half of user_data is added to the offset. */
static inline uint8_t *device_mem(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	uint64_t index = (cmd->user_data & 0xffff) + cmd->offset;

	TEST_ASSERT(index < DEV_MEM_SIZE, "command beyond the device: user_data %llx offset %llx",
		    cmd->user_data, cmd->offset);
	return dev->mem + index;
}

static inline uint64_t device_value(struct device *dev, uint64_t index, uint32_t size)
{
	uint64_t val = 0;

	memcpy(&val, dev->mem + index, size);
	return val;
}

static inline uint64_t device_respond_mem(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	uint64_t val;

	if (cmd->cmd == IOREGIONFD_CMD_READ) {
		memcpy(&val, device_mem(dev, cmd), sizeof(val));
		return val;
	}
	memcpy(device_mem(dev, cmd), &cmd->data, 1 << (cmd->flags & IOREGIONFD_CMD_SIZE_MASK));
	/* KVM has to ignore the value of a response to a write. */
	return 0xbadbadbadbadbadb;
}

/* Responds. The region may be gone by now, and a socket with its last region. */
static inline void device_send(struct device *dev, uint64_t val)
{
	struct ioregionfd_resp resp = make_resp(val);
	ssize_t n;

	if (dev->ch.transport != TR_SEQPACKET) {
		n = write(dev->ch.dev_wr, &resp, sizeof(resp));
		TEST_ASSERT(n == sizeof(resp) || (n < 0 && errno == ESTALE),
			    __KVM_SYSCALL_ERROR("write()", (int)n));
		return;
	}
	n = send(dev->ch.dev_wr, &resp, sizeof(resp), MSG_NOSIGNAL);
	TEST_ASSERT(n == sizeof(resp) || (n < 0 && errno == EPIPE),
		    __KVM_SYSCALL_ERROR("send()", (int)n));
}

static inline void *device_main(void *arg)
{
	struct device *dev = arg;
	struct ioregionfd_cmd cmd;
	uint64_t val;

	while (dev_read(&dev->ch, &cmd, sizeof(cmd))) {
		if (dev->nr < dev->log_size)
			dev->log[dev->nr] = cmd;
		val = dev->respond(dev, &cmd);
		__atomic_store_n(&dev->nr, dev->nr + 1, __ATOMIC_RELEASE);
		if (cmd.flags & IOREGIONFD_CMD_F_RESP)
			device_send(dev, val);
	}
	__atomic_store_n(&dev->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Serves the mapping, without a system call as long as nobody sleeps. */
static inline void *device_polling_main(void *arg)
{
	struct device *dev = arg;
	struct mapping map = mapping_open(dev->ch.dev_rd);
	struct ioregionfd_fetch fetch;
	uint64_t val;

	kvm_pin_this_task_to_pcpu(1);
	WRITE_ONCE(map.control->polling, 1);
	while (!READ_ONCE(map.control->vm_dead)) {
		if (!mapping_fetch(&map, IOREGIONFD_ANY, &fetch)) {
			asm volatile("pause");
			continue;
		}
		if (dev->nr < dev->log_size)
			dev->log[dev->nr] = fetch.cmd;
		val = dev->respond(dev, &fetch.cmd);
		__atomic_store_n(&dev->nr, dev->nr + 1, __ATOMIC_RELEASE);
		mapping_complete(&map, fetch.id, val);
	}
	mapping_close(&map);
	__atomic_store_n(&dev->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

static inline void device_start_on(struct device *dev, struct channel ch)
{
	void *(*main)(void *arg) = device_main;
	int i, r;

	dev->ch = ch;
	if (ch.transport == TR_POLLED) {
		main = device_polling_main;
		kvm_pin_this_task_to_pcpu(0);
	}
	if (!dev->respond)
		dev->respond = device_respond_mem;
	if (!dev->log_size)
		dev->log_size = 4096;
	dev->log = calloc(dev->log_size, sizeof(*dev->log));
	TEST_ASSERT(dev->log, "out of memory");
	for (i = 0; i < sizeof(dev->mem); i++)
		dev->mem[i] = i * 7 + i / 256 + 1;

	r = pthread_create(&dev->thread, NULL, main, dev);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
}

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
static inline void __expect_nr(struct device *dev, unsigned int nr, int line)
{
	int i;

	for (i = 0; device_nr(dev) < nr && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(device_nr(dev) == nr, "line %d: wanted %u commands, the device saw %u",
		    line, nr, device_nr(dev));
}

#define expect_log(dev, ...) __expect_log(dev, __LINE__, (struct ioregionfd_cmd[]){ __VA_ARGS__ }, \
	sizeof((struct ioregionfd_cmd[]){ __VA_ARGS__ }) / sizeof(struct ioregionfd_cmd))
/* Checks that exactly these commands have come since the last check. */
static inline void __expect_log(struct device *dev, int line, const struct ioregionfd_cmd *want,
				unsigned int nr)
{
	unsigned int i;

	__expect_nr(dev, nr, line);
	for (i = 0; i < nr; i++)
		__expect_cmd(dev->log[i], want[i], line);
	dev->nr = 0;
}

/* Clears the log. The device must be idle and the VMM's access complete. */
static inline void device_forget(struct device *dev)
{
	__atomic_store_n(&dev->nr, 0, __ATOMIC_RELEASE);
}

/* Checks that the device task sees the end once nobody holds its channel. */
#define expect_device_released(dev) __expect_device_released(dev, __LINE__)
static inline void __expect_device_released(struct device *dev, int line)
{
	int i;

	channel_close_kvm(&dev->ch);
	for (i = 0; !__atomic_load_n(&dev->ended, __ATOMIC_ACQUIRE) && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(dev->ended, "line %d: somebody still holds the channel", line);
}

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

static inline void sigusr1_handler(int sig)
{
}

/* With SA_RESTART: even so, the kernel must not restart KVM_RUN by itself. */
static inline void catch_sigusr1(void)
{
	struct sigaction sa = { .sa_handler = sigusr1_handler, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &sa, NULL);
}

static inline void vcpu_thread_run(struct vcpu_thread *t)
{
	struct kvm_run *run = t->vcpu->run;

	for (;;) {
		t->ret = __vcpu_run(t->vcpu) ? -errno : 0;
		if (t->ret != -EINTR)
			return;
		t->nr_eintr++;
		t->nr_pending += !!(run->flags & KVM_RUN_IOREGIONFD_PENDING);
		if (!t->until_exit)
			return;
	}
}

static inline void *vcpu_thread_main(void *arg)
{
	struct vcpu_thread *t = arg;

	__atomic_store_n(&t->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	for (;;) {
		while (sem_wait(&t->go))
			;
		__atomic_store_n(&t->in_run, true, __ATOMIC_RELEASE);
		vcpu_thread_run(t);
		__atomic_store_n(&t->in_run, false, __ATOMIC_RELEASE);
		sem_post(&t->done);
	}
	return NULL;
}

static inline void vcpu_thread_init(struct vcpu_thread *t, struct kvm_vcpu *vcpu)
{
	int r;

	catch_sigusr1();
	t->vcpu = vcpu;
	sem_init(&t->go, 0, 0);
	sem_init(&t->done, 0, 0);
	r = pthread_create(&t->thread, NULL, vcpu_thread_main, t);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
	while (!__atomic_load_n(&t->tid, __ATOMIC_ACQUIRE))
		usleep(100);
}

/* Starts one KVM_RUN; thread_join() waits for it. */
static inline void thread_start(struct vcpu_thread *t)
{
	t->until_exit = false;
	sem_post(&t->go);
}

/* Repeats KVM_RUN until it returns anything but -EINTR. */
static inline void thread_start_until_exit(struct vcpu_thread *t)
{
	t->until_exit = true;
	sem_post(&t->go);
}

static inline bool thread_returned(struct vcpu_thread *t)
{
	int value;

	sem_getvalue(&t->done, &value);
	return value;
}

#define thread_join(t) __thread_join(t, HANG_SECONDS, __LINE__)
#define thread_join_timeout(t, seconds) __thread_join(t, (seconds) * slowness(), __LINE__)
static inline int __thread_join(struct vcpu_thread *t, int seconds, int line)
{
	struct timespec end;
	int r;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += seconds;
	do {
		r = sem_timedwait(&t->done, &end);
	} while (r && errno == EINTR);
	TEST_ASSERT(!r, "line %d: KVM_RUN does not return", line);
	return t->ret;
}

/* Waits for a KVM_RUN that must return 0, so that the test can check the exit. */
#define thread_join_exit(t) __thread_join_exit(t, __LINE__)
static inline void __thread_join_exit(struct vcpu_thread *t, int line)
{
	int r = __thread_join(t, HANG_SECONDS, line);

	TEST_ASSERT(!r, "line %d: KVM_RUN returned %d", line, r);
}

#define thread_join_done(t) __thread_join_done(t, __LINE__)
static inline void __thread_join_done(struct vcpu_thread *t, int line)
{
	__thread_join_exit(t, line);
	__expect_done(t->vcpu, line);
}

static inline bool task_asleep(pid_t tid)
{
	char path[64], stat[256], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY);
	TEST_ASSERT(fd >= 0, "cannot open %s", path);
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	TEST_ASSERT(n > 0, "cannot read %s", path);
	stat[n] = 0;
	p = strrchr(stat, ')');
	return p && p[2] == 'S';
}

/* Whether the thread sleeps in KVM_RUN. */
static inline bool thread_asleep(struct vcpu_thread *t)
{
	return __atomic_load_n(&t->in_run, __ATOMIC_ACQUIRE) && task_asleep(t->tid) &&
	       __atomic_load_n(&t->in_run, __ATOMIC_ACQUIRE);
}

/* Waits until the thread sleeps in KVM_RUN. */
#define thread_wait_asleep(t) __thread_wait_asleep(t, __LINE__)
static inline void __thread_wait_asleep(struct vcpu_thread *t, int line)
{
	int i;

	for (i = 0; i < HANG_SECONDS * 1000; i++) {
		TEST_ASSERT(!thread_returned(t),
			    "line %d: KVM_RUN returned %d, exit reason %u (%s)", line, t->ret,
			    t->vcpu->run->exit_reason,
			    exit_reason_str(t->vcpu->run->exit_reason));
		if (thread_asleep(t))
			return;
		usleep(1000);
	}
	TEST_FAIL("line %d: the vCPU thread does not sleep in KVM_RUN", line);
}

/* Waits until KVM_RUN sleeps, and interrupts it with a signal. */
#define thread_interrupt(t) __thread_interrupt(t, __LINE__)
static inline void __thread_interrupt(struct vcpu_thread *t, int line)
{
	struct kvm_run *run = t->vcpu->run;
	int r;

	__thread_wait_asleep(t, line);
	pthread_kill(t->thread, SIGUSR1);
	r = __thread_join(t, HANG_SECONDS, line);
	TEST_ASSERT(r == -EINTR, "line %d: wanted -EINTR, got %d, exit reason %u (%s)",
		    line, r, run->exit_reason, exit_reason_str(run->exit_reason));
	TEST_ASSERT(run->exit_reason == KVM_EXIT_INTR, "line %d: wanted KVM_EXIT_INTR, got %u",
		    line, run->exit_reason);
	TEST_ASSERT(run->flags & KVM_RUN_IOREGIONFD_PENDING, "line %d: PENDING is not set", line);
}

/* KVM_RUN with immediate_exit. Returns 0 or -errno. */
static inline int run_immediate(struct kvm_vcpu *vcpu)
{
	int r;

	vcpu->run->immediate_exit = 1;
	r = __vcpu_run(vcpu) ? -errno : 0;
	vcpu->run->immediate_exit = 0;
	return r;
}

/* A cumulative statistic, a count or nanoseconds; -1 if there is none of that name. */
static inline uint64_t vcpu_stat(struct kvm_vcpu *vcpu, const char *name)
{
	uint64_t unit = strstr(name, "_ns") ? KVM_STATS_UNIT_SECONDS : KVM_STATS_UNIT_NONE;
	struct kvm_stats_header header;
	struct kvm_stats_desc *descs, *desc;
	int fd = vcpu_get_stats_fd(vcpu), i;
	uint64_t val = -1;

	read_stats_header(fd, &header);
	descs = read_stats_descriptors(fd, &header);
	for (i = 0; i < header.num_desc; i++) {
		desc = get_stats_descriptor(descs, i, &header);
		if (strcmp(desc->name, name))
			continue;
		TEST_ASSERT_EQ(desc->flags & KVM_STATS_TYPE_MASK, KVM_STATS_TYPE_CUMULATIVE);
		TEST_ASSERT_EQ(desc->flags & KVM_STATS_UNIT_MASK, unit);
		read_stat_data(fd, &header, desc, &val, 1);
	}
	free(descs);
	close(fd);
	return val;
}

/* The reference count of the KVM vendor module, or -1. */
static inline int module_refs(void)
{
	static const char * const modules[] = { "kvm_intel", "kvm_amd" };
	char path[64], buf[32];
	int i, fd, refs = -1;

	for (i = 0; i < ARRAY_SIZE(modules); i++) {
		snprintf(path, sizeof(path), "/sys/module/%s/refcnt", modules[i]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		memset(buf, 0, sizeof(buf));
		if (read(fd, buf, sizeof(buf) - 1) > 0)
			refs = atoi(buf);
		close(fd);
		if (refs >= 0)
			break;
	}
	return refs;
}

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ul + ts.tv_nsec / 1000000;
}

/*
 * A guest that makes a known sequence of accesses, and a model device that expects
 * exactly that: each vCPU cycles through four kinds of access, whose values depend on
 * the vCPU and on how many accesses it has made. An access that is lost, duplicated,
 * out of order or completed for another vCPU shows on one of the two sides.
 */
#define SEQ_SYNC	USER_DATA(0)		/* at MMIO_GPA */
#define SEQ_POSTED	USER_DATA(0x1000)	/* at MMIO_GPA + 0x1000 */
#define SEQ_PIO		USER_DATA(0x2000)	/* at PIO_BASE */

/* The number of accesses to make; set with write_guest_global(). */
static uint32_t seq_count;

static inline uint64_t seq_value(uint64_t id, uint64_t seq)
{
	return (seq + 1) * 0x9e3779b97f4a7c15ul + id * 0x100000001b3ul;
}

/* The command that access @seq of vCPU @id must become. */
static inline struct ioregionfd_cmd seq_cmd(uint64_t id, uint64_t seq)
{
	uint64_t offset = id * 0x100 + (seq & 0x1f) * 8;

	switch (seq & 3) {
	case 0:
		return cmd_read(8, SEQ_SYNC, offset);
	case 1:
		return cmd_posted(8, SEQ_POSTED, offset, seq);
	case 2:
		return cmd_read(4, SEQ_PIO, id * 0x10 + (seq & 8));
	default:
		return cmd_write(8, SEQ_SYNC, offset, seq);
	}
}

static inline void guest_seq_main(uint64_t id)
{
	uint64_t seq, offset, val;
	uint32_t in;

	for (seq = 0; seq < READ_ONCE(seq_count); seq++) {
		offset = id * 0x100 + (seq & 0x1f) * 8;
		switch (seq & 3) {
		case 0:
			val = READ_ONCE(*(uint64_t *)(MMIO_GPA + offset));
			__GUEST_ASSERT(val == seq_value(id, seq), "vCPU %lu access %lu got %lx",
				       id, seq, val);
			break;
		case 1:
			WRITE_ONCE(*(uint64_t *)(MMIO_GPA + 0x1000 + offset), seq);
			break;
		case 2:
			asm volatile("inl %w1, %0"
				     : "=a"(in) : "d"(PIO_BASE + id * 0x10 + (seq & 8)));
			__GUEST_ASSERT(in == (uint32_t)seq_value(id, seq),
				       "vCPU %lu access %lu got %x", id, seq, in);
			break;
		default:
			WRITE_ONCE(*(uint64_t *)(MMIO_GPA + offset), seq);
		}
	}
	outl(DONE_PORT, 0);
}

static inline uint64_t device_respond_seq(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	uint64_t id = cmd->offset / (cmd->user_data == SEQ_PIO ? 0x10 : 0x100);
	uint64_t seq;

	TEST_ASSERT(id < MAX_VCPUS, "command beyond the device: offset %llx", cmd->offset);
	TEST_ASSERT(cmd->vcpu_id == id, "command of vCPU %lu says %u", id, cmd->vcpu_id);
	seq = dev->seq[id]++;
	expect_cmd(*cmd, seq_cmd(id, seq));
	return seq_value(id, seq);
}

static inline void seq_regions_add(struct kvm_vm *vm, struct channel *ch)
{
	region_add(vm, ch, MMIO_GPA, 0x1000, SEQ_SYNC, 0);
	region_add(vm, ch, MMIO_GPA + 0x1000, 0x1000, SEQ_POSTED, KVM_IOREGION_POSTED_WRITES);
	region_add(vm, ch, PIO_BASE, 0x100, SEQ_PIO, KVM_IOREGION_PIO);
}

static inline int ioregion_test_main(int argc, char **argv)
{
	struct __fixture_metadata *fixture;
	struct __test_metadata *test;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_IOREGIONFD));
	for (fixture = __fixture_list; fixture; fixture = fixture->next)
		for (test = fixture->tests; test; test = test->next)
			test->timeout *= slowness();
	return test_harness_run(argc, argv);
}

#endif /* SELFTEST_KVM_IOREGIONFD_UTIL_H */
