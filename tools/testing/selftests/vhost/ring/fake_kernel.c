// SPDX-License-Identifier: GPL-2.0-only
/* What of fake_kernel.h is not a macro */
#include "fake_kernel.h"
#include "vq.h"

struct task_struct *current;

unsigned long fake_allocations;
bool fake_no_memory;

/* What is around memory, so that fake_free() sees whether something was written beyond its end */
struct fake_head {
	size_t size;
	size_t unused;
};

#define GUARD 64

/* For an entry of @fetched, these say that it has no descriptors, which vhost would take. */
static unsigned char guard_byte(unsigned int i)
{
	return i & 2 ? 0 : 0x5a;
}

void *fake_alloc(size_t size, bool zero)
{
	struct fake_head *head;
	unsigned int i;

	if (fake_no_memory) {
		fake_no_memory = false;
		return NULL;
	}
	head = malloc(sizeof(*head) + size + GUARD);
	if (!head) {
		perror("malloc");
		exit(1);
	}
	head->size = size;
	memset(head + 1, zero ? 0 : 0x5a, size);
	for (i = 0; i < GUARD; i++)
		((unsigned char *)(head + 1))[size + i] = guard_byte(i);
	fake_allocations++;
	return head + 1;
}

void fake_free(void *memory)
{
	struct fake_head *head;
	unsigned int i;

	if (!memory)
		return;
	head = (struct fake_head *)memory - 1;
	for (i = 0; i < GUARD; i++) {
		if (((unsigned char *)memory)[head->size + i] != guard_byte(i)) {
			fprintf(stderr, "written beyond the end of %zu bytes\n", head->size);
			abort();
		}
	}
	fake_allocations--;
	free(head);
}

void iov_iter_init(struct iov_iter *iter, unsigned int dir, const struct iovec *iov,
		   unsigned long segments, size_t count)
{
	*iter = (struct iov_iter){ .iov = iov, .segments = segments, .count = count };
}

/* Copy to @to or from @from, whichever is not NULL. Returns the number of bytes copied. */
static size_t copy(struct iov_iter *iter, void *to, const void *from, size_t size)
{
	size_t done = 0;

	while (done < size && iter->segments) {
		size_t n = min(size - done, iter->iov->iov_len - iter->at);
		char *user = (char *)iter->iov->iov_base + iter->at;

		if (to ? user_read(to + done, user, n, USER_SAFE) :
			 user_write(user, from + done, n, USER_SAFE))
			break;
		done += n;
		iter->at += n;
		if (iter->at == iter->iov->iov_len) {
			iter->iov++;
			iter->segments--;
			iter->at = 0;
		}
	}
	iter->count -= done;
	return done;
}

size_t copy_from_iter(void *to, size_t size, struct iov_iter *from)
{
	return copy(from, to, NULL, size);
}

size_t copy_to_iter(const void *from, size_t size, struct iov_iter *to)
{
	return copy(to, NULL, from, size);
}

bool copy_from_iter_full(void *to, size_t size, struct iov_iter *from)
{
	return copy(from, to, NULL, size) == size;
}

/* The dirty log is one page, wherever it is. */
int pin_user_pages_fast(unsigned long addr, int n, unsigned int flags, struct page **pages)
{
	if (addr / PAGE_SIZE != VQ_LOG / PAGE_SIZE)
		abort();
	return 1;
}
