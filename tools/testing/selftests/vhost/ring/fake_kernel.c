// SPDX-License-Identifier: GPL-2.0-only
/* What of fake_kernel.h is not a macro */
#include "fake_kernel.h"
#include "vq.h"

struct task_struct *current;

unsigned long fake_allocations;
bool fake_no_memory;

void *fake_alloc(size_t size)
{
	void *memory;

	if (fake_no_memory) {
		fake_no_memory = false;
		return NULL;
	}
	memory = calloc(1, size);
	if (!memory) {
		perror("calloc");
		exit(1);
	}
	fake_allocations++;
	return memory;
}

void fake_free(void *memory)
{
	if (memory)
		fake_allocations--;
	free(memory);
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
