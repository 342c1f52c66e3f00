// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sockets as channels: which ones KVM accepts, that nobody else waits because of what a
 * VMM does with its own, and that none keeps its VM alive when everybody has gone.
 */
#include <sys/un.h>
#include <sys/wait.h>

#include <linux/userfaultfd.h>
#include <linux/vm_sockets.h>

#include "ioregionfd_harness.h"

#define FIRST		MMIO_GPA
#define SECOND		(MMIO_GPA + 0x1000)
#define SIZE		0x1000
#define DATA		USER_DATA(0)

/* Returns 0 or -errno. */
static int try_region(struct kvm_vm *vm, int read_fd, int write_fd)
{
	struct channel ch = { .kvm_rd = read_fd, .kvm_wr = write_fd };
	struct kvm_ioregionfd args = region_args(&ch, FIRST, SIZE, DATA, 0);

	return __vm_ioctl(vm, KVM_SET_IOREGIONFD, &args) ? -errno : 0;
}

/*
 * Everything but a connected SOCK_SEQPACKET socket of AF_UNIX.
 */
FIXTURE(kind)
{
	struct kvm_vm *vm;
};

FIXTURE_VARIANT(kind)
{
	int family;
	int type;
	int protocol;
	int err;	/* if the socket is not connected */
};

FIXTURE_VARIANT_ADD(kind, unix_stream) { AF_UNIX, SOCK_STREAM, 0, EINVAL };
FIXTURE_VARIANT_ADD(kind, unix_dgram) { AF_UNIX, SOCK_DGRAM, 0, EINVAL };
FIXTURE_VARIANT_ADD(kind, unix_seqpacket) { AF_UNIX, SOCK_SEQPACKET, 0, ENOTCONN };
FIXTURE_VARIANT_ADD(kind, tcp) { AF_INET, SOCK_STREAM, 0, EINVAL };
FIXTURE_VARIANT_ADD(kind, udp) { AF_INET, SOCK_DGRAM, 0, EINVAL };
FIXTURE_VARIANT_ADD(kind, vsock_stream) { AF_VSOCK, SOCK_STREAM, 0, EINVAL };
FIXTURE_VARIANT_ADD(kind, vsock_seqpacket) { AF_VSOCK, SOCK_SEQPACKET, 0, EINVAL };
FIXTURE_VARIANT_ADD(kind, netlink) { AF_NETLINK, SOCK_RAW, 0, EINVAL };

FIXTURE_SETUP(kind)
{
	self->vm = vm_create_barebones();
}

FIXTURE_TEARDOWN(kind)
{
	kvm_vm_free(self->vm);
}

TEST_F(kind, refused)
{
	int fd = socket(variant->family, variant->type, variant->protocol);

	if (fd < 0 && variant->family == AF_VSOCK && !system("modprobe vsock"))
		fd = socket(variant->family, variant->type, variant->protocol);
	if (fd < 0 && (errno == EAFNOSUPPORT || errno == ESOCKTNOSUPPORT))
		SKIP(return, "this kernel has no such sockets");
	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("socket()", fd));
	TEST_ASSERT_EQ(try_region(self->vm, fd, fd), -variant->err);
	close(fd);
}

/*
 * SOCK_SEQPACKET sockets in each state.
 */
FIXTURE(state)
{
	struct kvm_vm *vm;
	struct channel ch;
};

FIXTURE_SETUP(state)
{
	self->vm = vm_create_barebones();
	self->ch = channel_open(TR_SEQPACKET);
}

/* Whatever became of it, nobody holds it. */
FIXTURE_TEARDOWN(state)
{
	if (self->ch.kvm_wr >= 0)
		channel_close_kvm(&self->ch);
	if (self->ch.dev_wr >= 0)
		expect_released(&self->ch);
	kvm_vm_free(self->vm);
}

/* Connected, but of the wrong type. */
TEST_F(state, stream_or_dgram)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM };
	int fds[2], i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		TEST_ASSERT(!socketpair(AF_UNIX, types[i], 0, fds), "socketpair() failed");
		TEST_ASSERT_EQ(try_region(self->vm, fds[0], fds[0]), -EINVAL);
		TEST_ASSERT_EQ(try_region(self->vm, fds[0], fds[1]), -EINVAL);
		close(fds[0]);
		TEST_ASSERT(send(fds[1], "", 1, MSG_NOSIGNAL) < 0, "somebody holds the socket");
		close(fds[1]);
	}
}

TEST_F(state, pipes)
{
	int fds[2];

	TEST_ASSERT(!pipe(fds), "pipe() failed");
	TEST_ASSERT_EQ(try_region(self->vm, fds[0], fds[1]), -EINVAL);
	TEST_ASSERT_EQ(try_region(self->vm, fds[0], fds[0]), -EINVAL);
	TEST_ASSERT_EQ(try_region(self->vm, fds[0], self->ch.kvm_wr), -EINVAL);
	TEST_ASSERT_EQ(try_region(self->vm, self->ch.kvm_rd, fds[1]), -EINVAL);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(state, listening)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), other;

	/* The kernel chooses a name. */
	TEST_ASSERT(!bind(listener, (void *)&addr, sizeof(sa_family_t)), "bind() failed");
	TEST_ASSERT_EQ(try_region(self->vm, listener, listener), -ENOTCONN);
	TEST_ASSERT(!listen(listener, 1), "listen() failed");
	TEST_ASSERT_EQ(try_region(self->vm, listener, listener), -ENOTCONN);
	TEST_ASSERT(!getsockname(listener, (void *)&addr, &len), "getsockname() failed");
	TEST_ASSERT(!connect(fd, (void *)&addr, len), "connect() failed");
	TEST_ASSERT_EQ(try_region(self->vm, listener, listener), -ENOTCONN);

	/* A socket that nobody has accepted yet is connected, and stays so. */
	TEST_ASSERT_EQ(try_region(self->vm, fd, fd), 0);
	other = accept(listener, NULL, NULL);
	TEST_ASSERT(other >= 0, __KVM_SYSCALL_ERROR("accept()", other));
	close(listener);
	close(fd);
	TEST_ASSERT(!fd_poll(other, POLLRDHUP, 0), "the region does not hold its socket");
	region_del(self->vm, FIRST, SIZE, 0);
	TEST_ASSERT(fd_poll(other, POLLRDHUP, HANG_SECONDS * 1000), "somebody holds the socket");
	close(other);
}

TEST_F(state, peer_has_gone)
{
	channel_close_dev(&self->ch);
	TEST_ASSERT_EQ(try_region(self->vm, self->ch.kvm_rd, self->ch.kvm_wr), -EPIPE);
}

TEST_F(state, shut_down)
{
	static const int how[] = { SHUT_RD, SHUT_WR, SHUT_RDWR };
	struct channel ch;
	int i, own;

	for (i = 0; i < ARRAY_SIZE(how); i++) {
		for (own = 0; own < 2; own++) {
			ch = channel_open(TR_SEQPACKET);
			TEST_ASSERT(!shutdown(own ? ch.kvm_wr : ch.dev_wr, how[i]),
				    "shutdown() failed");
			TEST_ASSERT_EQ(try_region(self->vm, ch.kvm_rd, ch.kvm_wr), -EPIPE);
			channel_close_kvm(&ch);
			channel_close_dev(&ch);
		}
	}
}

/* KVM reads nothing of what was there before. */
TEST_F(state, input_is_there)
{
	uint64_t val = 0x1122334455667788, got;

	dev_send_bytes(&self->ch, &val, sizeof(val));
	TEST_ASSERT_EQ(try_region(self->vm, self->ch.kvm_rd, self->ch.kvm_wr), -EPROTO);
	TEST_ASSERT_EQ(recv(self->ch.kvm_rd, &got, sizeof(got), MSG_DONTWAIT), sizeof(got));
	TEST_ASSERT_EQ(got, val);

	/* The socket can be used afterwards. */
	TEST_ASSERT_EQ(try_region(self->vm, self->ch.kvm_rd, self->ch.kvm_wr), 0);
	region_del(self->vm, FIRST, SIZE, 0);
}

TEST_F(state, empty_input_is_there)
{
	TEST_ASSERT_EQ(send(self->ch.dev_wr, NULL, 0, 0), 0);
	TEST_ASSERT_EQ(try_region(self->vm, self->ch.kvm_rd, self->ch.kvm_wr), -EPROTO);
}

TEST_F(state, of_another_vm)
{
	struct kvm_vm *vm = vm_create_barebones();
	int fd = dup(self->ch.kvm_rd);

	TEST_ASSERT_EQ(try_region(self->vm, self->ch.kvm_rd, self->ch.kvm_wr), 0);
	TEST_ASSERT_EQ(try_region(vm, fd, self->ch.kvm_wr), -EXDEV);
	/* The other end is another socket. */
	TEST_ASSERT_EQ(try_region(vm, self->ch.dev_rd, self->ch.dev_rd), 0);
	region_del(vm, FIRST, SIZE, 0);

	/* Until the last region of the socket is removed. */
	region_add(self->vm, &self->ch, SECOND, SIZE, DATA, 0);
	region_del(self->vm, FIRST, SIZE, 0);
	TEST_ASSERT_EQ(try_region(vm, fd, fd), -EXDEV);
	region_del(self->vm, SECOND, SIZE, 0);
	TEST_ASSERT_EQ(try_region(vm, fd, fd), 0);
	TEST_ASSERT_EQ(try_region(self->vm, fd, fd), -EXDEV);
	kvm_vm_free(vm);
	TEST_ASSERT_EQ(try_region(self->vm, fd, fd), 0);
	region_del(self->vm, FIRST, SIZE, 0);
	close(fd);
}

/* The end of either side shows at once, not at the next access. */
TEST_F(state, hangs_up_while_idle)
{
	TEST_ASSERT_EQ(try_region(self->vm, self->ch.kvm_rd, self->ch.kvm_wr), 0);
	TEST_ASSERT(!shutdown(self->ch.dev_wr, SHUT_WR), "shutdown() failed");
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

/*
 * A thread of the VMM reads from the channel's socket into memory that is never
 * provided: it sleeps in the kernel, holding a lock of that socket.
 */
FIXTURE(stalled)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	pthread_t reader;
	int uffd;
	void *page;
	pid_t tenant;
	int tenant_go[2];
};

/* Another process, with a VM and a region of its own. */
static void tenant_main(int go)
{
	struct channel ch = channel_open(TR_SEQPACKET);
	struct kvm_vm *vm = vm_create_barebones();
	char byte;

	/* End of file: the test has failed. */
	if (read(go, &byte, 1) != 1)
		exit(1);
	region_add(vm, &ch, FIRST, SIZE, DATA, 0);
	region_del(vm, FIRST, SIZE, 0);
	region_add(vm, &ch, FIRST, SIZE, DATA, 0);
	kvm_vm_free(vm);
	exit(0);
}

#define tenant_is_well(...) __tenant_is_well(__VA_ARGS__, __LINE__)
static void __tenant_is_well(pid_t pid, int go, int line)
{
	int i, status;

	TEST_ASSERT_EQ(write(go, "", 1), 1);
	for (i = 0; i < HANG_SECONDS * 100; i++) {
		if (waitpid(pid, &status, WNOHANG)) {
			TEST_ASSERT(WIFEXITED(status) && !WEXITSTATUS(status),
				    "line %d: the other process ended with status 0x%x", line,
				    status);
			return;
		}
		usleep(10000);
	}
	TEST_FAIL("line %d: after %u s another process hangs in KVM_SET_IOREGIONFD or its VM's end",
		  line, HANG_SECONDS);
}

FIXTURE_SETUP(stalled)
{
	struct uffdio_register reg = { .range.len = 4096, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };

	TEST_ASSERT(!pipe(self->tenant_go), "pipe() failed");
	self->tenant = fork();
	TEST_ASSERT(self->tenant >= 0, "fork() failed");
	if (!self->tenant) {
		close(self->tenant_go[1]);
		tenant_main(self->tenant_go[0]);
	}

	/* poll() of a blocking userfaultfd always returns POLLERR. */
	self->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->uffd < 0) {
		kill(self->tenant, SIGKILL);
		SKIP(return, "no userfaultfd: errno %d", errno);
	}
	self->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(self->page != MAP_FAILED, "mmap() failed");
	reg.range.start = (uintptr_t)self->page;
	TEST_ASSERT(!ioctl(self->uffd, UFFDIO_API, &api), "UFFDIO_API failed");
	TEST_ASSERT(!ioctl(self->uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER failed");

	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_open(TR_SEQPACKET);
}

struct reader {
	int fd;
	void *page;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;

	recv(r->fd, r->page, 32, 0);
	return NULL;
}

/* The thread reads @ch; once it gets something, it sleeps in the page fault. */
static void reader_start(struct channel *ch, void *page, pthread_t *thread)
{
	static struct reader r;

	r = (struct reader){ dup(ch->kvm_rd), page };
	TEST_ASSERT(!pthread_create(thread, NULL, reader_main, &r), "pthread_create() failed");
}

FIXTURE_TEARDOWN(stalled)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)self->page, .len = 4096 },
	};

	if (self->uffd < 0)
		return;
	TEST_ASSERT(!ioctl(self->uffd, UFFDIO_ZEROPAGE, &zero), "UFFDIO_ZEROPAGE failed");
	/* In case KVM got the response. */
	shutdown(self->ch.kvm_wr, SHUT_RDWR);
	pthread_join(self->reader, NULL);
	if (self->vm)
		kvm_vm_free(self->vm);
}

/* Before there is a region: KVM does not care what the thread gets. */
static void stall(struct channel *ch, int uffd, void *page, pthread_t *thread)
{
	dev_send(ch, 0x99);
	reader_start(ch, page, thread);
	TEST_ASSERT(fd_poll(uffd, POLLIN, HANG_SECONDS * 1000), "recv() does not need the page");
}

TEST_F_TIMEOUT(stalled, accesses_go_on, 90)
{
	struct guest_op *op = op_read(self->vcpu, 4, FIRST);

	stall(&self->ch, self->uffd, self->page, &self->reader);
	region_add(self->vm, &self->ch, FIRST, SIZE, DATA, 0);
	thread_start(&self->thread);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, DATA, 0));
	thread_interrupt(&self->thread);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	dev_send(&self->ch, 0x1234);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
	region_del(self->vm, FIRST, SIZE, 0);
	tenant_is_well(self->tenant, self->tenant_go[1]);
}

TEST_F_TIMEOUT(stalled, region_goes_with_a_command_on_the_wire, 90)
{
	op_read(self->vcpu, 4, FIRST);
	stall(&self->ch, self->uffd, self->page, &self->reader);
	region_add(self->vm, &self->ch, FIRST, SIZE, DATA, 0);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	thread_interrupt(&self->thread);
	region_del(self->vm, FIRST, SIZE, 0);
	vcpu_run(self->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpu, KVM_EXIT_IOREGIONFD_FAILURE);
	tenant_is_well(self->tenant, self->tenant_go[1]);
}

TEST_F_TIMEOUT(stalled, vm_goes_with_a_command_on_the_wire, 90)
{
	op_read(self->vcpu, 4, FIRST);
	stall(&self->ch, self->uffd, self->page, &self->reader);
	region_add(self->vm, &self->ch, FIRST, SIZE, DATA, 0);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	thread_interrupt(&self->thread);
	kvm_vm_free(self->vm);
	self->vm = NULL;
	tenant_is_well(self->tenant, self->tenant_go[1]);
}

/*
 * The thread reads when the vCPU has left KVM_RUN, so it gets the response, unless KVM
 * is quicker: nobody else may hang either way.
 */
TEST_F_TIMEOUT(stalled, reader_takes_the_response, 90)
{
	op_read(self->vcpu, 4, FIRST);
	region_add(self->vm, &self->ch, FIRST, SIZE, DATA, 0);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	thread_interrupt(&self->thread);
	reader_start(&self->ch, self->page, &self->reader);
	usleep(100000);
	dev_send(&self->ch, 0x1234);
	printf("# %s was quicker\n", fd_poll(self->uffd, POLLIN, 500) ? "the thread" : "KVM");
	region_del(self->vm, FIRST, SIZE, 0);
	thread_start(&self->thread);
	thread_join_exit(&self->thread);
	tenant_is_well(self->tenant, self->tenant_go[1]);
}

/*
 * Descriptors of the VM in the queue of its own channel's socket. When everybody has
 * gone the VM must go too, and drop its reference to the module.
 */
FIXTURE(passed)
{
	int refs;
};

enum passed { PASS_VM, PASS_VCPU, PASS_VM_STATS, PASS_VCPU_STATS, PASS_MEMFD, PASS_DEVICE };

FIXTURE_VARIANT(passed)
{
	enum passed what;
};

FIXTURE_VARIANT_ADD(passed, vm) { PASS_VM };
FIXTURE_VARIANT_ADD(passed, vcpu) { PASS_VCPU };
FIXTURE_VARIANT_ADD(passed, vm_stats) { PASS_VM_STATS };
FIXTURE_VARIANT_ADD(passed, vcpu_stats) { PASS_VCPU_STATS };
FIXTURE_VARIANT_ADD(passed, guest_memfd) { PASS_MEMFD };
FIXTURE_VARIANT_ADD(passed, device) { PASS_DEVICE };

FIXTURE_SETUP(passed)
{
	self->refs = module_refs();
	if (self->refs < 0)
		SKIP(return, "KVM is not a module");
}

FIXTURE_TEARDOWN(passed)
{
}

/* The exit status of a process that could not create what it was to pass. */
#define NOTHING_TO_PASS	77

static int passed_fd(struct kvm_vm *vm, struct kvm_vcpu *vcpu, enum passed what)
{
	struct kvm_create_guest_memfd memfd = { .size = 4096 };
	struct kvm_create_device device = { .type = KVM_DEV_TYPE_VFIO };
	int fd = -1;

	switch (what) {
	case PASS_VM:
		return vm->fd;
	case PASS_VCPU:
		return vcpu->fd;
	case PASS_VM_STATS:
		return vm_get_stats_fd(vm);
	case PASS_VCPU_STATS:
		return vcpu_get_stats_fd(vcpu);
	case PASS_MEMFD:
		fd = __vm_ioctl(vm, KVM_CREATE_GUEST_MEMFD, &memfd);
		break;
	case PASS_DEVICE:
		if (!__vm_ioctl(vm, KVM_CREATE_DEVICE, &device))
			fd = device.fd;
	}
	if (fd < 0)
		_exit(NOTHING_TO_PASS);
	return fd;
}

/* In a process of its own: a VM, and a channel of which the process has both ends. */
struct passing {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	int fd;
};

static void pass_before(struct passing *p)
{
	send_with_fd(p->ch.dev_wr, "", 1, p->fd);
	/* Either this is refused, or the region holds what follows. */
	try_region(p->vm, p->ch.kvm_rd, p->ch.kvm_wr);
}

static void pass_idle(struct passing *p)
{
	region_add(p->vm, &p->ch, FIRST, SIZE, DATA, 0);
	send_with_fd(p->ch.dev_wr, "", 1, p->fd);
}

static void pass_while_running(struct passing *p)
{
	region_add(p->vm, &p->ch, FIRST, SIZE, DATA, 0);
	op_read(p->vcpu, 4, FIRST);
	thread_start(&p->thread);
	dev_recv(&p->ch);
	thread_wait_asleep(&p->thread);
	send_with_fd(p->ch.dev_wr, "", 1, p->fd);
}

static void pass_while_interrupted(struct passing *p)
{
	region_add(p->vm, &p->ch, FIRST, SIZE, DATA, 0);
	op_read(p->vcpu, 4, FIRST);
	thread_start(&p->thread);
	dev_recv(&p->ch);
	thread_interrupt(&p->thread);
	send_with_fd(p->ch.dev_wr, "", 1, p->fd);
}

static void pass_with_the_response(struct passing *p)
{
	struct ioregionfd_resp resp = make_resp(0x1234);

	region_add(p->vm, &p->ch, FIRST, SIZE, DATA, 0);
	op_read(p->vcpu, 4, FIRST);
	thread_start(&p->thread);
	dev_recv(&p->ch);
	thread_interrupt(&p->thread);
	send_with_fd(p->ch.dev_wr, &resp, sizeof(resp), p->fd);
}

static void pass_behind_the_response(struct passing *p)
{
	region_add(p->vm, &p->ch, FIRST, SIZE, DATA, 0);
	op_read(p->vcpu, 4, FIRST);
	thread_start(&p->thread);
	dev_recv(&p->ch);
	thread_interrupt(&p->thread);
	dev_send(&p->ch, 0x1234);
	send_with_fd(p->ch.dev_wr, "", 1, p->fd);
}

/* Returns whether there was anything to pass. */
#define vm_goes(...) __vm_goes(__VA_ARGS__, __LINE__)
static bool __vm_goes(enum passed what, int refs, void (*pass)(struct passing *p), int line)
{
	struct passing p = { 0 };
	int status, i;
	pid_t pid;

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid) {
		p.vm = ioregion_vm_create(1, guest_script_main, &p.vcpu);
		vcpu_thread_init(&p.thread, p.vcpu);
		p.ch = channel_open(TR_SEQPACKET);
		p.fd = passed_fd(p.vm, p.vcpu, what);
		pass(&p);
		_exit(0);
	}
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOTHING_TO_PASS)
		return false;
	TEST_ASSERT(WIFEXITED(status) && !WEXITSTATUS(status),
		    "line %d: the VMM ended with status 0x%x", line, status);
	for (i = 0; module_refs() > refs && i < HANG_SECONDS * 100; i++)
		usleep(10000);
	TEST_ASSERT(module_refs() <= refs,
		    "line %d: after %u s the VM of a process that has ended is still there", line,
		    HANG_SECONDS);
	return true;
}

#define PASSED_TEST(name)						\
TEST_F_TIMEOUT(passed, name, 60)					\
{									\
	if (!vm_goes(variant->what, self->refs, pass_##name))		\
		SKIP(return, "this kernel has no such descriptor");	\
}

PASSED_TEST(before)
PASSED_TEST(idle)
PASSED_TEST(while_running)
PASSED_TEST(while_interrupted)
PASSED_TEST(with_the_response)
PASSED_TEST(behind_the_response)

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
