// SPDX-License-Identifier: GPL-2.0-only
/* Access to the bytes of an iovec array, across its elements */
#include <string.h>
#include "device.h"

static size_t copy(const struct iovec *iov, unsigned int count, size_t offset, void *to,
		   const void *from, size_t len)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < len; i++) {
		size_t here;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		here = iov[i].iov_len - offset;
		if (here > len - done)
			here = len - done;
		if (to)
			memcpy(to + done, iov[i].iov_base + offset, here);
		else
			memcpy(iov[i].iov_base + offset, from + done, here);
		done += here;
		offset = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *to, size_t len)
{
	return copy(iov, count, offset, to, NULL, len);
}

size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		 size_t len)
{
	return copy(iov, count, offset, NULL, from, len);
}

unsigned int iov_trim(struct iovec *iov, unsigned int count, size_t skip, size_t len)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < count && len; i++) {
		struct iovec element = iov[i];

		if (skip >= element.iov_len) {
			skip -= element.iov_len;
			continue;
		}
		element.iov_base += skip;
		element.iov_len -= skip;
		skip = 0;
		if (element.iov_len > len)
			element.iov_len = len;
		len -= element.iov_len;
		iov[kept++] = element;
	}
	return kept;
}

size_t iov_length(const struct iovec *iov, unsigned int count)
{
	size_t length = 0;

	for (unsigned int i = 0; i < count; i++)
		length += iov[i].iov_len;
	return length;
}
