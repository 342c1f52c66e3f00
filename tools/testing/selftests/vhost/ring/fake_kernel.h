/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel for vhost.c in user space. What the rings need is here, and every access to the ring
 * goes through user_memory.h. What they do not need is only declared: workers, for example. Such
 * functions compile, and crash when they are called. Names and their use are the kernel's, which
 * checkpatch would have otherwise.
 */
#ifndef FAKE_KERNEL_H
#define FAKE_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/overflow.h>
#include <linux/rbtree.h>
#include <linux/types.h>
#include <asm/byteorder.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/vhost.h>
#include <linux/virtio_features.h>
#include "user_memory.h"

#define CONFIG_64BIT 1
#define ENOIOCTLCMD 515
#define ERESTARTSYS 512
#define PAGE_SIZE 4096UL
#define TASK_COMM_LEN 16
#define EPOLLIN 1
#define EPOLLOUT 4
#define EPOLLERR 8
#define EPOLLRDNORM 0x40

#undef min
#define min(x, y) ({ typeof(x) _x = (x); typeof(y) _y = (y); _x < _y ? _x : _y; })
#undef noinline
#define noinline __attribute__((__noinline__))
#ifndef swap
#define swap(a, b) do { typeof(a) _a = (a); (a) = (b); (b) = _a; } while (0)
#endif
#define U16_MAX ((u16)~0U)
#define U64_MAX ((u64)~0ULL)
#define flex_array_size(p, member, n) ((n) * sizeof((p)->member[0]))
#define array_index_nospec(i, n) (i)
#define pr_debug(...) do { } while (0)
#define IS_ALIGNED(x, a) (!((x) & ((typeof(x))(a) - 1)))

#undef BUG
#undef BUG_ON
#define BUG_ON(x) do { if (x) abort(); } while (0)
#define BUG() abort()
#define WARN_ON(x) ((void)(x))
#define size_add(a, b) ((a) + (b))

#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)
#define MODULE_PARM_DESC(...)
#define MODULE_VERSION(...)
#define MODULE_DESCRIPTION(...)
#define MODULE_AUTHOR(...)
#define MODULE_LICENSE(...)
#define module_param(...)
#define module_param_named(...)
#define module_init(f) static int (*unused_init)(void) __attribute__((__unused__)) = f
#define module_exit(f) static void (*unused_exit)(void) __attribute__((__unused__)) = f
#define __init
#define __exit

/* Values in memory are those of a virtio 1.0 device on a little-endian CPU. */
static inline bool virtio_legacy_is_little_endian(void)
{
	return true;
}

#define __virtio16_to_cpu(le, x) ((void)(le), (u16)(x))
#define __cpu_to_virtio16(le, x) ((void)(le), (__virtio16)(x))
#define __virtio32_to_cpu(le, x) ((void)(le), (u32)(x))
#define __cpu_to_virtio32(le, x) ((void)(le), (__virtio32)(x))
#define __virtio64_to_cpu(le, x) ((void)(le), (u64)(x))
#define __cpu_to_virtio64(le, x) ((void)(le), (__virtio64)(x))

/* There is one thread. Litmus tests are what watches the barriers. */
#define smp_mb() barrier()
#define smp_rmb() barrier()
#define smp_wmb() barrier()

/* Memory of the kernel */
#define GFP_KERNEL 0
#define GFP_ATOMIC 0
#define GFP_KERNEL_ACCOUNT 0
/* How many there are, and whether the next one fails */
extern unsigned long fake_allocations;
extern bool fake_no_memory;
void *fake_alloc(size_t size, bool zero);
void fake_free(void *memory);
#define kmalloc(size, gfp) fake_alloc(size, false)
#define kzalloc(size, gfp) fake_alloc(size, true)
#define kvzalloc(size, gfp) fake_alloc(size, true)
#define kmalloc_array(n, size, gfp) fake_alloc((n) * (size), false)
#define kmalloc_obj(of, ...) ((typeof(of) *)fake_alloc(sizeof(of), false))
#define kmalloc_objs(of, n, ...) ((typeof(of) *)fake_alloc((n) * sizeof(of), false))
#define kzalloc_obj(of, ...) ((typeof(of) *)fake_alloc(sizeof(of), true))
#define kvzalloc_flex(of, member, n, ...)						\
	((typeof(of) *)fake_alloc(struct_size((typeof(of) *)NULL, member, n), true))
#define kfree(p) fake_free(p)
#define kvfree(p) fake_free(p)

/* User memory */
#define access_ok(addr, size) user_access_ok(addr, size)
#define user_read_access_begin(addr, size) user_access_begin(addr, size, false)
#define user_write_access_begin(addr, size) user_access_begin(addr, size, true)
#define user_read_access_end() user_access_end()
#define user_write_access_end() user_access_end()
#define unsafe_get_user(x, ptr, label) do {				\
	typeof(*(ptr)) _got;						\
									\
	if (user_read(&_got, ptr, sizeof(_got), USER_UNSAFE))		\
		goto label;						\
	(x) = _got;							\
} while (0)
#define unsafe_put_user(x, ptr, label) do {				\
	typeof(*(ptr)) _put = (x);					\
									\
	if (user_write(ptr, &_put, sizeof(_put), USER_UNSAFE))		\
		goto label;						\
} while (0)
#define __get_user(x, ptr) ({						\
	typeof(*(ptr)) _got = 0;					\
	int _ret = user_read(&_got, ptr, sizeof(_got), USER_SAFE);	\
									\
	(x) = _got;							\
	_ret;								\
})
#define __put_user(x, ptr) ({						\
	typeof(*(ptr)) _put = (x);					\
									\
	user_write(ptr, &_put, sizeof(_put), USER_SAFE);		\
})
#define __copy_from_user(to, from, size) (user_read(to, from, size, USER_SAFE) ? (size) : 0)
#define __copy_to_user(to, from, size) (user_write(to, from, size, USER_SAFE) ? (size) : 0)

/* The arguments of ioctls are elsewhere. */
#define get_user(x, ptr) (user_is_shared(ptr) ? __get_user(x, ptr) : ({ (x) = *(ptr); 0; }))
#define put_user(x, ptr) (user_is_shared(ptr) ? __put_user(x, ptr) : ({ *(ptr) = (x); 0; }))
#define copy_from_user(to, from, size) ({ memcpy(to, from, size); 0; })
#define copy_to_user(to, from, size) ({ memcpy(to, from, size); 0; })

struct iov_iter {
	const struct iovec *iov;
	unsigned long segments;
	size_t at, count;
};

#define ITER_SOURCE 1
#define ITER_DEST 0
void iov_iter_init(struct iov_iter *iter, unsigned int dir, const struct iovec *iov,
		   unsigned long segments, size_t count);
size_t copy_from_iter(void *to, size_t size, struct iov_iter *from);
size_t copy_to_iter(const void *from, size_t size, struct iov_iter *to);
bool copy_from_iter_full(void *to, size_t size, struct iov_iter *from);
#define iov_iter_count(iter) ((iter)->count)
#define iov_iter_advance(iter, size) ((void)(iter), (void)(size))

/* What vhost tells the world: eventfds, and bits in the dirty log */
struct eventfd_ctx {
	unsigned long signals;
};

static inline void eventfd_signal(struct eventfd_ctx *ctx)
{
	ctx->signals++;
}

extern unsigned char vq_log[];
struct page;
int pin_user_pages_fast(unsigned long addr, int n, unsigned int flags, struct page **pages);
#define FOLL_WRITE 1
#define kmap_atomic(page) ((void *)vq_log)
#define kunmap_atomic(base) do { } while (0)
#define unpin_user_pages_dirty_lock(...) do { } while (0)
#undef set_bit
#define set_bit(nr, addr) (((unsigned char *)(addr))[(nr) / 8] |= 1 << (nr) % 8)

/* Locks are not needed: there is one thread. */
struct mutex { };
typedef struct { } spinlock_t;
#define mutex_init(m) ((void)(m))
#define mutex_lock(m) ((void)(m))
#define mutex_lock_nested(m, i) ((void)(m))
#define mutex_unlock(m) ((void)(m))
#define spin_lock_init(l) ((void)(l))
#define spin_lock(l) ((void)(l))
#define spin_unlock(l) ((void)(l))
#define lockdep_assert_held(l) ((void)(l))
#define lockdep_is_held(l) 1
#define rcu_read_lock() do { } while (0)
#define rcu_read_unlock() do { } while (0)
#undef synchronize_rcu
#define synchronize_rcu() do { } while (0)
#define rcu_dereference(p) (p)
#define rcu_dereference_check(p, c) (p)
#define rcu_assign_pointer(p, v) ((p) = (v))
#define __rcu

/* For the workers, which do not run here */
typedef struct { int unused; } wait_queue_head_t;
typedef struct { int unused; } wait_queue_entry_t;
typedef struct { int unused; } poll_table;
typedef unsigned int __poll_t;
typedef unsigned short ushort;
struct file;
struct mm_struct;
struct vhost_task;
struct completion { int unused; };
struct irq_bypass_producer { int unused; };
struct xarray { int unused; };
struct llist_node { struct llist_node *next; };
struct llist_head { struct llist_node *first; };
struct task_struct {
	struct mm_struct *mm;
	int pid;
};

extern struct task_struct *current;
struct kiocb;

#define TASK_INTERRUPTIBLE 1
#define TASK_RUNNING 0
#define DEFINE_WAIT(name) int name __attribute__((__unused__))
#define prepare_to_wait(...) do { } while (0)
#define finish_wait(...) do { } while (0)
#define init_waitqueue_head(w) ((void)(w))
#define wake_up_interruptible_poll(w, mask) ((void)(w))
#define init_waitqueue_func_entry(w, f) ((void)(w), (void)(f))
#define init_poll_funcptr(p, f) ((void)(p), (void)(f))
#define xa_init_flags(xa, flags) ((void)(xa))
#undef clear_bit
#define clear_bit(nr, p) (*(p) &= ~(1UL << (nr)))
#define test_and_set_bit(nr, p) (*(p) & 1UL << (nr) || (*(p) |= 1UL << (nr), false))
#define llist_for_each_entry_safe(pos, n, node, member)			\
	for (pos = llist_first(node), n = pos; pos; pos = n)
void *llist_first(struct llist_node *node);
struct llist_node *llist_del_all(struct llist_head *head);
struct llist_node *llist_reverse_order(struct llist_node *node);
bool llist_add(struct llist_node *node, struct llist_head *head);
bool llist_empty(struct llist_head *head);
void init_llist_head(struct llist_head *head);
#define xa_for_each(xa, i, entry) for (entry = xa_entry(xa), i = 0; entry; entry = NULL)
void *xa_entry(struct xarray *xa);
void *xa_find(struct xarray *xa, unsigned long *index, unsigned long max, int mark);
void *xa_erase(struct xarray *xa, unsigned long index);
int xa_alloc(struct xarray *xa, u32 *id, void *entry, int limit, int gfp);
void xa_destroy(struct xarray *xa);
#define XA_PRESENT 0
#define XA_FLAGS_ALLOC 0
#define xa_limit_32b 0
#define set_current_state(s) do { } while (0)
#define __set_current_state(s) do { } while (0)
#define cond_resched() do { } while (0)
bool kthread_should_stop(void);
void kthread_use_mm(struct mm_struct *mm);
void kthread_unuse_mm(struct mm_struct *mm);
void kthread_stop(struct task_struct *task);
struct task_struct *kthread_create(int (*f)(void *), void *data, const char *format, ...);
void wake_up_process(struct task_struct *task);
void schedule(void);
bool signal_pending(struct task_struct *task);
int cgroup_attach_task_all(struct task_struct *from, struct task_struct *to);
struct vhost_task *vhost_task_create(bool (*f)(void *), void (*killed)(void *), void *data,
				     const char *name);
void vhost_task_start(struct vhost_task *task);
void vhost_task_stop(struct vhost_task *task);
void vhost_task_wake(struct vhost_task *task);
struct kcov_common_handle_id {
	u64 val;
};

/* It was a number once */
#define kcov_common_handle() ((typeof(((struct vhost_worker *)NULL)->kcov_handle)) { 0 })
#define kcov_remote_start_common(h) ((void)(h))
#define kcov_remote_stop() do { } while (0)
struct mm_struct *get_task_mm(struct task_struct *task);
void mmgrab(struct mm_struct *mm);
void mmput(struct mm_struct *mm);
void mmdrop(struct mm_struct *mm);
void init_completion(struct completion *c);
void complete(struct completion *c);
void wait_for_completion(struct completion *c);
void add_wait_queue(wait_queue_head_t *head, wait_queue_entry_t *entry);
void remove_wait_queue(wait_queue_head_t *head, wait_queue_entry_t *entry);
__poll_t vfs_poll(struct file *file, poll_table *table);
void poll_wait(struct file *file, wait_queue_head_t *head, poll_table *table);
__poll_t key_to_poll(void *key);
void *poll_to_key(__poll_t mask);
struct file *eventfd_fget(int fd);
struct eventfd_ctx *eventfd_ctx_fdget(int fd);
void eventfd_ctx_put(struct eventfd_ctx *ctx);
void fput(struct file *file);

#endif /* FAKE_KERNEL_H */
