// SPDX-License-Identifier: GPL-2.0-only
/*
 * Physical region pages (4.3). SGLs are not offered.
 */
#include "nvme.h"

#include <string.h>

static int add(const struct nvme *nvme, uint64_t addr, uint32_t len, struct iovec *iov,
	       unsigned int *nr)
{
	void *host = guest_memory_at(&nvme->device->memory, addr, len);

	if (!host)
		return NVME_TRANSFER_ERROR;
	iov[*nr].iov_base = host;
	iov[(*nr)++].iov_len = len;
	return NVME_SUCCESS;
}

/* Entries are read once, as the driver may change them at any time. */
static int read_entry(const struct nvme *nvme, uint64_t addr, uint64_t *entry)
{
	const uint64_t *host = guest_memory_at(&nvme->device->memory, addr, sizeof(*entry));

	if (!host)
		return NVME_TRANSFER_ERROR;
	*entry = __atomic_load_n(host, __ATOMIC_RELAXED);
	return NVME_SUCCESS;
}

/*
 * The next entry of a list. The last one of a page is where the list goes on, if there is
 * data for more than one. @len is more than 0, and gets less with each entry, so that
 * a list that leads to itself ends.
 */
static int next_entry(const struct nvme *nvme, uint64_t *list, uint32_t len, uint64_t *entry)
{
	int status;

	if (*list % NVME_PAGE == NVME_PAGE - sizeof(*entry) && len > NVME_PAGE) {
		status = read_entry(nvme, *list, list);
		if (status)
			return status;
		if (*list % NVME_PAGE)
			return NVME_INVALID_PRP_OFFSET;
	}
	status = read_entry(nvme, *list, entry);
	*list += sizeof(*entry);
	if (status)
		return status;
	/* Only the first one of a command may have an offset. */
	return *entry % NVME_PAGE ? NVME_INVALID_PRP_OFFSET : NVME_SUCCESS;
}

static int map_list(const struct nvme *nvme, uint64_t list, uint32_t len, struct iovec *iov,
		    unsigned int *nr)
{
	uint64_t entry;
	uint32_t n;
	int status;

	if (list % sizeof(entry))
		return NVME_INVALID_PRP_OFFSET;
	for (; len; len -= n) {
		status = next_entry(nvme, &list, len, &entry);
		if (status)
			return status;
		n = len < NVME_PAGE ? len : NVME_PAGE;
		status = add(nvme, entry, n, iov, nr);
		if (status)
			return status;
	}
	return NVME_SUCCESS;
}

int nvme_map(const struct nvme *nvme, const struct nvme_command *command, uint32_t len,
	     struct iovec *iov, unsigned int *nr)
{
	uint32_t n = NVME_PAGE - command->prp1 % NVME_PAGE;
	int status;

	*nr = 0;
	if (command->prp1 % 4)
		return NVME_INVALID_PRP_OFFSET;
	n = len < n ? len : n;
	status = add(nvme, command->prp1, n, iov, nr);
	len -= n;
	if (status || !len)
		return status;
	if (len > NVME_PAGE)
		return map_list(nvme, command->prp2, len, iov, nr);
	if (command->prp2 % NVME_PAGE)
		return NVME_INVALID_PRP_OFFSET;
	return add(nvme, command->prp2, len, iov, nr);
}

static int copy(const struct nvme *nvme, const struct nvme_command *command, char *buf,
		uint32_t len, bool to_guest)
{
	struct iovec iov[NVME_MAX_IOV];
	unsigned int i, nr;
	int status;

	status = nvme_map(nvme, command, len, iov, &nr);
	if (status)
		return status;
	for (i = 0; i < nr; i++) {
		if (to_guest)
			memcpy(iov[i].iov_base, buf, iov[i].iov_len);
		else
			memcpy(buf, iov[i].iov_base, iov[i].iov_len);
		buf += iov[i].iov_len;
	}
	return NVME_SUCCESS;
}

int nvme_copy_to_guest(const struct nvme *nvme, const struct nvme_command *command,
		       const void *from, uint32_t len)
{
	return copy(nvme, command, (char *)from, len, true);
}

int nvme_copy_from_guest(const struct nvme *nvme, const struct nvme_command *command, void *to,
			 uint32_t len)
{
	return copy(nvme, command, to, len, false);
}
