// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, file: a native channel: how it is made and bound to a VM, and the
 * operations of its file descriptor.
 *
 * The file holds the channel, and the channel does not hold the file: when the last
 * descriptor goes it has failed. Nor does either hold the VM.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/string.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>

#include "native.h"

static_assert(sizeof(struct ioregionfd_control) == 128);
static_assert(offsetof(struct ioregionfd_control, posted_head) == 64);
static_assert(sizeof(struct ioregionfd_mailbox) == 64);
static_assert(offsetof(struct ioregionfd_mailbox, cmd) == 8);
static_assert(offsetof(struct ioregionfd_mailbox, data) == 40);
static_assert(offsetof(struct ioregionfd_mailbox, posted_before) == 56);
static_assert(sizeof(struct ioregionfd_info) == 64);

/*
 * What the channels of a VM may take. The memory is charged to who makes them, but
 * not seen in the size of any process.
 */
#define VM_BYTES_MAX	(256UL << 20)

static const struct file_operations ioregionfd_fops;

/* Making a channel. */

/* Its size is the user's choice, who is told if it fails; the log is not. */
static void *native_vmalloc(size_t size)
{
	return __vmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN);
}

/* What a channel takes: the one part goes with its file, the other with the channel. */

static size_t ring_bytes(u32 nr_posted)
{
	return PAGE_ALIGN(nr_posted * sizeof(struct ioregionfd_cmd));
}

static size_t mailboxes_bytes(unsigned int nr)
{
	return PAGE_ALIGN(sizeof(struct ioregionfd_control) +
			  nr * sizeof(struct ioregionfd_mailbox)) +
	       PAGE_ALIGN(struct_size_t(struct native_channel, mailboxes, nr));
}

/* What of it is left. Under ch->bind_lock. */
static size_t native_bytes(const struct native_channel *ch)
{
	return mailboxes_bytes(ch->nr_mailboxes) +
	       (ch->released ? 0 : ring_bytes(ch->nr_posted));
}

static bool vm_account(struct ioregionfd_vm *vm, size_t bytes)
{
	bool fits;

	spin_lock(&vm->lock);
	fits = bytes <= VM_BYTES_MAX - vm->bytes;
	if (fits)
		vm->bytes += bytes;
	spin_unlock(&vm->lock);
	return fits;
}

static void vm_unaccount(struct ioregionfd_vm *vm, size_t bytes)
{
	spin_lock(&vm->lock);
	vm->bytes -= bytes;
	spin_unlock(&vm->lock);
}

static int native_alloc(struct native_channel *ch, const struct kvm_create_ioregionfd *args)
{
	struct ioregionfd_mailbox *shared;
	unsigned int i;

	ch->nr_mailboxes = args->nr_mailboxes;
	ch->size = PAGE_ALIGN(sizeof(*ch->control) + args->nr_mailboxes * sizeof(*shared));
	ch->control = native_vmalloc(ch->size);
	if (!ch->control)
		return -ENOMEM;
	ch->nr_posted = args->nr_posted;
	ch->ring = native_vmalloc(ring_bytes(args->nr_posted));
	if (!ch->ring) {
		vfree(ch->control);
		return -ENOMEM;
	}

	shared = (void *)(ch->control + 1);
	for (i = 0; i < ch->nr_mailboxes; i++) {
		ch->mailboxes[i].shared = shared + i;
		spin_lock_init(&ch->mailboxes[i].lock);
		rcuwait_init(&ch->mailboxes[i].wait);
		init_waitqueue_head(&ch->mailboxes[i].tasks);
		init_waitqueue_head(&ch->mailboxes[i].parked);
	}
	return 0;
}

static struct native_channel *native_new(const struct kvm_create_ioregionfd *args)
{
	struct native_channel *ch;

	ch = native_vmalloc(struct_size(ch, mailboxes, args->nr_mailboxes));
	if (!ch)
		return NULL;
	if (native_alloc(ch, args)) {
		vfree(ch);
		return NULL;
	}
	ch->channel.ops = &ioregionfd_native_ops;
	kref_init(&ch->refs);
	ch->sync_wake = args->flags & KVM_IOREGIONFD_SYNC_WAKE;
	spin_lock_init(&ch->bind_lock);
	INIT_LIST_HEAD(&ch->list);
	spin_lock_init(&ch->ring_lock);
	spin_lock_init(&ch->read_lock);
	init_waitqueue_head(&ch->space_wq);
	init_waitqueue_head(&ch->tasks);
	init_waitqueue_head(&ch->readers);
	init_waitqueue_head(&ch->parked);
	init_waitqueue_head(&ch->poll_wq);
	return ch;
}

/* Which VM it is for. */

static int native_bind(struct native_channel *ch, struct ioregionfd_vm *vm)
{
	int r = 0;

	spin_lock(&ch->bind_lock);
	if (ch->vm && ch->vm != vm) {
		r = -EXDEV;
	} else if (!ch->vm && !vm_account(vm, native_bytes(ch))) {
		r = -ENOSPC;
	} else if (!ch->vm) {
		kref_get(&vm->refs);
		ch->vm = vm;
		spin_lock(&vm->lock);
		list_add(&ch->list, &vm->channels);
		spin_unlock(&vm->lock);
	}
	ch->binders += !r;
	spin_unlock(&ch->bind_lock);
	return r;
}

static void native_unbind(struct native_channel *ch)
{
	struct ioregionfd_vm *vm = ch->vm;

	lockdep_assert_held(&ch->bind_lock);

	spin_lock(&vm->lock);
	list_del_init(&ch->list);
	spin_unlock(&vm->lock);
	vm_unaccount(vm, native_bytes(ch));
	ch->vm = NULL;
	ioregionfd_vm_put(vm);
}

/**
 * native_assigned() - a KVM_SET_IOREGIONFD that uses the channel comes to its end
 * @channel: the channel, which ioregionfd_native_get() has returned
 * @success: whether it has a region now
 *
 * The first one with success binds the channel to its VM for good.
 *
 * Context: process.
 */
void native_assigned(struct ioregionfd_channel *channel, bool success)
{
	struct native_channel *ch = container_of(channel, struct native_channel, channel);

	spin_lock(&ch->bind_lock);
	ch->binders--;
	ch->bound |= success;
	if (!ch->bound && !ch->binders)
		native_unbind(ch);
	spin_unlock(&ch->bind_lock);
}

static void native_free(struct kref *refs)
{
	struct native_channel *ch = container_of(refs, struct native_channel, refs);

	if (ch->vm) {
		vm_unaccount(ch->vm, mailboxes_bytes(ch->nr_mailboxes));
		ioregionfd_vm_put(ch->vm);
	}
	vfree(ch->control);
	vfree(ch);
}

static void native_put(struct native_channel *ch)
{
	kref_put(&ch->refs, native_free);
}

/**
 * native_region_put() - drop a region's reference to a channel
 * @channel: the channel
 *
 * Context: may sleep.
 */
void native_region_put(struct ioregionfd_channel *channel)
{
	native_put(container_of(channel, struct native_channel, channel));
}

/* The last descriptor has gone, or there was none. */
static void native_release(struct native_channel *ch)
{
	struct ioregionfd_cmd *ring;

	spin_lock(&ch->bind_lock);
	/* Pairs with the acquire in mailbox_req_run(). Litmus: response-removal. */
	smp_store_release(&ch->released, true);
	if (ch->vm) {
		spin_lock(&ch->vm->lock);
		list_del_init(&ch->list);
		spin_unlock(&ch->vm->lock);
		vm_unaccount(ch->vm, ring_bytes(ch->nr_posted));
	}
	spin_unlock(&ch->bind_lock);

	/*
	 * Pairs with the barrier in mailbox_post(), after mailbox_req_new() has changed used:
	 * a vCPU either sees that the channel is released, or is woken.
	 * Litmus: used-release.
	 */
	smp_mb();
	native_wake_vcpus(ch);

	/* Nobody can see the posted writes any more; the mailboxes are the vCPUs', too. */
	spin_lock(&ch->ring_lock);
	ring = ch->ring;
	ch->ring = NULL;
	spin_unlock(&ch->ring_lock);
	vfree(ring);
	native_put(ch);
}

/**
 * ioregionfd_native_create() - make a channel
 * @kvm: the VM that it is for, or NULL: to be bound later
 * @args: checked
 *
 * The file knows of the VM only to compare with: it does not keep it.
 *
 * Context: may sleep.
 * Return: a file descriptor, or a negative errno: -ENOSPC: the channels of the VM take
 * as much memory as they may; -ENOMEM, -EMFILE, -ENFILE.
 */
int ioregionfd_native_create(struct kvm *kvm,
			     const struct kvm_create_ioregionfd *args)
{
	struct native_channel *ch = native_new(args);
	struct ioregionfd_vm *vm;
	int fd = 0;

	if (!ch)
		return -ENOMEM;
	if (kvm) {
		vm = ioregionfd_vm_make(kvm);
		fd = vm ? native_bind(ch, vm) : -ENOMEM;
		if (!fd)
			native_assigned(&ch->channel, true);
	}
	if (fd) {
		native_release(ch);
		return fd;
	}

	fd = anon_inode_getfd("kvm-ioregionfd", &ioregionfd_fops, ch,
			      O_RDWR | O_CLOEXEC);
	if (fd < 0)
		native_release(ch);
	return fd;
}

/**
 * ioregionfd_native_get() - the channel of two file descriptors, if it is such
 * @kvm: the VM that wants to use it, which has an ioregionfd_vm
 * @read_fd: where responses come from
 * @write_fd: where commands go; the same file
 *
 * The caller tells native_assigned() what has come of it.
 *
 * Context: may sleep.
 * Return: the channel, with a reference; NULL if @read_fd is not one that
 * KVM_CREATE_IOREGIONFD made; or an ERR_PTR: -EXDEV if that is for another VM,
 * -EINVAL if the two are not the same, -ENOSPC as ioregionfd_native_create(), -EBADF.
 */
struct ioregionfd_channel *ioregionfd_native_get(struct kvm *kvm, int read_fd,
						 int write_fd)
{
	struct file *read_file, *write_file;
	struct native_channel *ch = NULL;
	int r;

	read_file = fget(read_fd);
	if (!read_file)
		return ERR_PTR(-EBADF);
	write_file = fget(write_fd);
	if (!write_file) {
		fput(read_file);
		return ERR_PTR(-EBADF);
	}

	if (read_file->f_op == &ioregionfd_fops) {
		ch = read_file->private_data;
		r = read_file == write_file ? native_bind(ch, kvm->ioregionfd) : -EINVAL;
		if (r)
			ch = ERR_PTR(r);
		else
			kref_get(&ch->refs);
	}
	fput(read_file);
	fput(write_file);
	return IS_ERR_OR_NULL(ch) ? ERR_CAST(ch) : &ch->channel;
}

/* Takes a channel off the list of its VM. Returns it with a reference, or NULL. */
static struct native_channel *native_pop(struct ioregionfd_vm *vm)
{
	struct native_channel *ch;

	spin_lock(&vm->lock);
	ch = list_first_entry_or_null(&vm->channels, struct native_channel, list);
	if (ch) {
		/* It leaves the list before its file lets it go. */
		kref_get(&ch->refs);
		list_del_init(&ch->list);
	}
	spin_unlock(&vm->lock);
	return ch;
}

/**
 * ioregionfd_native_vm_destroy() - tell device tasks that their VM is gone
 * @vm: of the VM, which is being destroyed
 *
 * Context: may sleep.
 */
void ioregionfd_native_vm_destroy(struct ioregionfd_vm *vm)
{
	struct native_channel *ch;

	/* There may be many channels and waiters: one at a time, without the lock. */
	while ((ch = native_pop(vm))) {
		WRITE_ONCE(ch->vm_dead, true);
		WRITE_ONCE(ch->control->vm_dead, 1);
		/*
		 * Pairs with that of who waits, between the entry in a queue and the look.
		 * Litmus: vm-dead.
		 */
		smp_mb();
		wake_all_fetchers(ch);
		native_put(ch);
		cond_resched();
	}
}

/* The file's operations. */

/* Since ->reading has changed, poll() may find something. */
static void wake_pollers(struct native_channel *ch)
{
	/* After the barrier in wake_next_fetcher(), which pairs with file_poll() */
	if (waitqueue_active(&ch->poll_wq) && fetch(ch, IOREGIONFD_ANY, NULL))
		wake_up_poll(&ch->poll_wq, EPOLLIN | EPOLLRDNORM);
}

static ssize_t file_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct native_channel *ch = iocb->ki_filp->private_data;
	bool nowait = (iocb->ki_flags & IOCB_NOWAIT) || (iocb->ki_filp->f_flags & O_NONBLOCK);
	struct ioregionfd_fetch arg = {
		.vcpu = IOREGIONFD_ANY,
		.timeout = nowait ? 0 : -1,
	};
	int r;

	if (iov_iter_count(to) < sizeof(arg.cmd))
		return -EINVAL;
	r = fetch_wait(ch, &arg, true);
	if (r == -ENODEV)
		return 0;
	if (r)
		return r;

	if (!copy_to_iter_full(&arg.cmd, sizeof(arg.cmd), to)) {
		spin_lock(&ch->read_lock);
		if (ch->reading == arg.id)
			WRITE_ONCE(ch->reading, 0);
		spin_unlock(&ch->read_lock);
		fetch_requeue(ch, &arg);
		wake_pollers(ch);
		return -EFAULT;
	}
	if (!wants_response(&arg.cmd))
		retire_read(ch, arg.id);
	wake_next_fetcher(ch);
	return sizeof(arg.cmd);
}

/*
 * The command that a write() by this task completes. Since IOREGIONFD_RECOVER it must be
 * one that the task has read: the former one may write late.
 */
static u64 read_by_current(struct native_channel *ch)
{
	u64 id = 0;

	spin_lock(&ch->read_lock);
	if (!ch->recovered || ch->reader == current) {
		id = ch->reading;
		WRITE_ONCE(ch->reading, 0);
	}
	spin_unlock(&ch->read_lock);
	return id;
}

static ssize_t file_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct native_channel *ch = iocb->ki_filp->private_data;
	struct ioregionfd_resp resp;
	u64 id;
	int r;

	if (iov_iter_count(from) != sizeof(resp))
		return -EINVAL;
	if (!copy_from_iter_full(&resp, sizeof(resp), from))
		return -EFAULT;
	if (resp.status > IOREGIONFD_STATUS_TO_VMM || memchr_inv(resp.pad, 0, sizeof(resp.pad)))
		return -EINVAL;

	id = read_by_current(ch);
	if (!id)
		return -ENOENT;

	r = complete_cmd(ch, id, resp.data, resp.status);
	/* Another task may have waited in read() for this. */
	wake_next_fetcher(ch);
	wake_pollers(ch);
	return r ?: sizeof(resp);
}

static __poll_t file_poll(struct file *file, poll_table *table)
{
	struct native_channel *ch = file->private_data;
	__poll_t events = EPOLLOUT | EPOLLWRNORM;

	poll_wait(file, &ch->poll_wq, table);
	/*
	 * Pairs with the barrier before wake_fetcher().
	 * Litmus: post-waiter, pass-on, vm-dead.
	 */
	smp_mb();
	if (READ_ONCE(ch->vm_dead))
		return events | EPOLLIN | EPOLLRDNORM | EPOLLHUP;
	if (!READ_ONCE(ch->reading) && fetch(ch, IOREGIONFD_ANY, NULL))
		events |= EPOLLIN | EPOLLRDNORM;
	return events;
}

static size_t mapping_size(const struct native_channel *ch)
{
	return ch->size + ring_bytes(ch->nr_posted);
}

static long file_get_info(struct native_channel *ch, void __user *user)
{
	struct ioregionfd_info info = {
		.size = mapping_size(ch),
		.nr_mailboxes = ch->nr_mailboxes,
		.nr_posted = ch->nr_posted,
		.mailboxes_offset = sizeof(*ch->control),
		.posted_offset = ch->size,
		.version = IOREGIONFD_VERSION,
		.statuses = BIT(IOREGIONFD_STATUS_DONE) | BIT(IOREGIONFD_STATUS_UNMAPPED) |
			    BIT(IOREGIONFD_STATUS_TO_VMM),
	};

	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static long file_commit_and_fetch(struct native_channel *ch, struct ioregionfd_fetch __user *user)
{
	struct ioregionfd_fetch arg;
	int r;

	r = fetch_load(ch, &arg, user);
	return r ?: commit_and_fetch(ch, &arg, user);
}

/*
 * Takes the command away from the former task, which cannot complete it any more. Not if
 * it is not fetched, or complete already. The vCPU may announce that it sleeps meanwhile.
 */
static bool mailbox_revoke(struct mailbox *m)
{
	u32 word = READ_ONCE(m->shared->state);
	unsigned int n;

	for (n = 0; n < STATE_TRIES; n++) {
		if (mailbox_is(m, IOREGIONFD_MAILBOX_PENDING) || mailbox_is_complete(m))
			return false;
		if (try_cmpxchg(&m->shared->state, &word, mailbox_word(m, IOREGIONFD_MAILBOX_FREE)))
			return true;
	}
	/* A state that changes all the time says nothing. */
	WRITE_ONCE(m->shared->state, mailbox_word(m, IOREGIONFD_MAILBOX_FREE));
	return true;
}

/* What the former task has left in the mailbox, in whatever state. */
static void recover_mailbox(struct mailbox *m)
{
	struct ioregionfd_cmd cmd;

	spin_lock(&m->lock);
	if (mailbox_revoke(m) && READ_ONCE(m->sent)) {
		WRITE_ONCE(m->number, m->number + 1);
		WRITE_ONCE(m->redelivered, m->number);
		cmd = m->req.cmd;
		cmd.flags |= IOREGIONFD_CMD_F_REDELIVERED;
		/* The vCPU may be asleep. */
		mailbox_publish(m, &cmd, IOREGIONFD_MAILBOX_PENDING | IOREGIONFD_MAILBOX_WAITING);
	}
	spin_unlock(&m->lock);
}

/* What posted_tail becomes, so that nobody can retire what was fetched before. */
static u64 ring_recovered(struct native_channel *ch, u64 word)
{
	/* An index that cannot be would keep the vCPUs waiting for ever. */
	if (ring_used(ch, word) > ch->nr_posted)
		word = (word & ~(u64)U32_MAX) | (u64)ch->head << 1;
	return (word & ~POSTED_FETCHED) + POSTED_RECOVERED;
}

/* All that are in the ring, since a task may handle more than the one that it has fetched. */
static void ring_flag_redelivered(struct native_channel *ch, u64 word)
{
	u32 n = ch->head, used = ring_used(ch, word);

	if (used > ch->nr_posted)
		return;
	while (used--) {
		n--;
		/* As in mailbox_publish(); and who copies it now fails to fetch it. */
		data_race(ch->ring[n & (ch->nr_posted - 1)].flags |=
			  IOREGIONFD_CMD_F_REDELIVERED);
	}
}

/* The posted writes that the former task had fetched, and perhaps more of them. */
static void recover_ring(struct native_channel *ch)
{
	u64 *tail = &ch->control->posted_tail;
	bool flagged = false;
	unsigned int n;
	u64 word;

	spin_lock(&ch->ring_lock);
	word = READ_ONCE(*tail);
	for (n = 0; n < STATE_TRIES; n++) {
		/* Once: from there on only what is retired leaves the ring. */
		if ((word & POSTED_FETCHED) && !flagged) {
			ring_flag_redelivered(ch, word);
			flagged = true;
		}
		/* A full barrier: who fetches after it sees the flags. Litmus: posted-recover. */
		if (try_cmpxchg(tail, &word, ring_recovered(ch, word)))
			break;
	}
	/* An index that changes all the time says nothing. */
	if (n == STATE_TRIES)
		WRITE_ONCE(*tail, ring_recovered(ch, word));
	spin_unlock(&ch->ring_lock);
}

static long file_recover(struct native_channel *ch)
{
	unsigned int i;

	spin_lock(&ch->read_lock);
	WRITE_ONCE(ch->reading, 0);
	ch->recovered = true;
	spin_unlock(&ch->read_lock);

	/* Also for vCPUs that have not accessed anything yet. */
	WRITE_ONCE(ch->control->polling, 0);
	for (i = 0; i < ch->nr_mailboxes; i++)
		WRITE_ONCE(ch->mailboxes[i].shared->polling, 0);
	for (i = 0; i < READ_ONCE(ch->used); i++)
		recover_mailbox(&ch->mailboxes[i]);
	recover_ring(ch);
	native_wake_vcpus(ch);
	wake_all_fetchers(ch);
	return 0;
}

static long file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct native_channel *ch = file->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case IOREGIONFD_GET_INFO:
		return file_get_info(ch, user);
	case IOREGIONFD_COMMIT_AND_FETCH:
		return file_commit_and_fetch(ch, user);
	case IOREGIONFD_RECOVER:
		return file_recover(ch);
	case IOREGIONFD_INTERRUPT:
		WRITE_ONCE(ch->interrupted, true);
		wake_all_fetchers(ch);
		return 0;
	default:
		return -ENOTTY;
	}
}

static vm_fault_t file_fault(struct vm_fault *vmf)
{
	struct native_channel *ch = vmf->vma->vm_file->private_data;
	size_t offset;

	if (vmf->pgoff >= mapping_size(ch) >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	offset = vmf->pgoff << PAGE_SHIFT;
	vmf->page = vmalloc_to_page(offset < ch->size ? (void *)ch->control + offset :
				    (void *)ch->ring + (offset - ch->size));
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct file_vm_ops = {
	.fault = file_fault,
};

static int file_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct native_channel *ch = file->private_data;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff + vma_pages(vma) > mapping_size(ch) >> PAGE_SHIFT)
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &file_vm_ops;
	return 0;
}

static int file_release(struct inode *inode, struct file *file)
{
	native_release(file->private_data);
	return 0;
}

static const struct file_operations ioregionfd_fops = {
	.owner = THIS_MODULE,
	.read_iter = file_read_iter,
	.write_iter = file_write_iter,
	.poll = file_poll,
	.unlocked_ioctl = file_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.uring_cmd = ioregionfd_uring_cmd,
	.mmap = file_mmap,
	.release = file_release,
};
