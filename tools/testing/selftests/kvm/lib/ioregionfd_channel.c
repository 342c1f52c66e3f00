// SPDX-License-Identifier: GPL-2.0-only
/*
 * Channels of both kinds, the regions that lead to them, and the device task's end.
 */
#include "ioregionfd_util.h"

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void set_sockopt(int fd, int level, int option, int val)
{
	int r = setsockopt(fd, level, option, &val, sizeof(val));

	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("setsockopt()", r));
}

struct channel channel_open(enum transport transport)
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

int create_ioregionfd(struct kvm_vm *vm, uint32_t vcpus, uint32_t posted)
{
	struct kvm_create_ioregionfd args = { .nr_mailboxes = vcpus, .nr_posted = posted };
	int fd = __vm_ioctl(vm, KVM_CREATE_IOREGIONFD, &args);

	TEST_ASSERT(fd >= 0, __KVM_IOCTL_ERROR("KVM_CREATE_IOREGIONFD", fd));
	return fd;
}

struct channel channel_open_for(struct kvm_vm *vm, enum transport transport)
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

void channel_shrink(struct channel *ch)
{
	if (ch->transport == TR_SEQPACKET)
		set_sockopt(ch->kvm_wr, SOL_SOCKET, SO_SNDBUF, 1);
}

void channel_close_kvm(struct channel *ch)
{
	if (ch->kvm_rd == ch->kvm_wr)
		ch->kvm_rd = -1;
	close_fd(&ch->kvm_rd);
	close_fd(&ch->kvm_wr);
}

void channel_close_dev(struct channel *ch)
{
	if (ch->dev_rd == ch->dev_wr)
		ch->dev_rd = -1;
	close_fd(&ch->dev_rd);
	close_fd(&ch->dev_wr);
}

void __expect_released(struct channel *ch, int line)
{
	TEST_ASSERT(ch->kvm_wr < 0, "the test holds the channel itself");

	if (ch->transport == TR_NATIVE)
		TEST_ASSERT(fd_poll(ch->dev_rd, 0, HANG_SECONDS * 1000),
			    "line %d: the VM is not gone", line);
	else
		TEST_ASSERT(fd_poll(ch->dev_wr, POLLRDHUP, HANG_SECONDS * 1000),
			    "line %d: somebody still holds the socket", line);
}

bool dev_read(struct channel *ch, void *buf, size_t len)
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

bool dev_has_cmd(struct channel *ch)
{
	return fd_poll(ch->dev_rd, POLLIN, 0);
}

struct ioregionfd_cmd __dev_recv(struct channel *ch, int line)
{
	struct ioregionfd_cmd cmd;

	TEST_ASSERT(fd_poll(ch->dev_rd, POLLIN, HANG_SECONDS * 1000),
		    "line %d: no command comes", line);
	TEST_ASSERT(dev_read(ch, &cmd, sizeof(cmd)), "line %d: end of file instead of a command",
		    line);
	return cmd;
}

void dev_send_bytes(struct channel *ch, const void *buf, size_t len)
{
	ssize_t n = write(ch->dev_wr, buf, len);

	TEST_ASSERT(n == len, __KVM_SYSCALL_ERROR("write()", (int)n));
}

void send_with_fd(int sock, const void *buf, size_t len, int fd)
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

void dev_send(struct channel *ch, uint64_t data)
{
	struct ioregionfd_resp resp = make_resp(data);

	dev_send_bytes(ch, &resp, sizeof(resp));
}

void __dev_send_abandoned(struct channel *ch, uint64_t data, int line)
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

void __dev_send_late(struct channel *ch, uint64_t data, int line)
{
	struct ioregionfd_resp resp = make_resp(data);
	ssize_t n;

	if (ch->transport != TR_SEQPACKET) {
		__dev_send_abandoned(ch, data, line);
		return;
	}
	n = send(ch->dev_wr, &resp, sizeof(resp), MSG_NOSIGNAL);
	TEST_ASSERT(n < 0 && errno == EPIPE, "line %d: wanted EPIPE, got %zd, errno %d", line, n,
		    n < 0 ? errno : 0);
}

struct ioregionfd_cmd make_cmd(uint8_t cmd, uint32_t size, uint64_t user_data, uint64_t offset,
			       uint64_t data, bool resp)
{
	return (struct ioregionfd_cmd){
		.cmd = cmd,
		.flags = __builtin_ctz(size) | (resp ? IOREGIONFD_CMD_F_RESP : 0),
		.user_data = user_data,
		.offset = offset,
		.data = data,
	};
}

void __expect_cmd(struct ioregionfd_cmd got, struct ioregionfd_cmd want, int line)
{
	const uint64_t *g = (const uint64_t *)&got, *w = (const uint64_t *)&want;

	/* Only some tests have several vCPUs; they check the id themselves. */
	want.vcpu_id = got.vcpu_id;
	TEST_ASSERT(!memcmp(&got, &want, sizeof(got)),
		    "line %d: wanted head %lx user_data %lx offset %lx data %lx, got %lx %lx %lx %lx",
		    line, w[0], w[1], w[2], w[3], g[0], g[1], g[2], g[3]);
}

struct kvm_ioregionfd region_args(struct channel *ch, uint64_t addr, uint64_t size,
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

void __region_add(struct kvm_vm *vm, struct channel *ch, uint64_t addr, uint64_t size,
		  uint64_t user_data, uint32_t flags, int line)
{
	struct kvm_ioregionfd args = region_args(ch, addr, size, user_data, flags);
	int r = __vm_ioctl(vm, KVM_SET_IOREGIONFD, &args);

	TEST_ASSERT(!r, "line %d: adding a region failed: errno %d (%s)", line, errno,
		    strerror(errno));
}

void __region_del(struct kvm_vm *vm, uint64_t addr, uint64_t size, uint32_t flags, int line)
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
