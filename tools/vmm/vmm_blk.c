// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_virtio.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/fs.h>

#define SECTOR	512

static void check_size(int fd, const char *name)
{
	uint64_t size;
	struct stat st;

	if (fstat(fd, &st))
		err(EXIT_FAILURE, "cannot look at %s", name);
	size = st.st_size;
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &size))
			err(EXIT_FAILURE, "cannot get the size of %s", name);
	} else if (!S_ISREG(st.st_mode)) {
		errx(EXIT_FAILURE, "%s is neither a file nor a block device", name);
	}
	if (size < SECTOR)
		errx(EXIT_FAILURE, "%s is too short for a disk: it has no sector of %u bytes", name,
		     SECTOR);
	if (size % SECTOR)
		warnx("the guest does not see the last %lu bytes of %s, which are no whole sector",
		      size % SECTOR, name);
}

/* The lock belongs to the open file, which all processes of the device will share. */
static void lock_image(int fd, const char *name, bool read_only)
{
	if (!flock(fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB))
		return;
	if (errno == EWOULDBLOCK)
		errx(EXIT_FAILURE, "%s is in use by another VMM", name);
	err(EXIT_FAILURE, "cannot lock %s", name);
}

void vmm_blk_open(struct vmm_device *dev, const char *option)
{
	size_t len = strlen(option);
	bool read_only = len > 3 && !strcmp(option + len - 3, ",ro");
	char *name = strndup(option, read_only ? len - 3 : len);

	if (!name)
		err(EXIT_FAILURE, "strndup");
	/* O_NONBLOCK: do not wait for the other end of a FIFO */
	dev->backend_fd = open(name, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (dev->backend_fd < 0)
		err(EXIT_FAILURE, "cannot open %s%s", name,
		    !read_only && (errno == EACCES || errno == EROFS || errno == EPERM) ?
		    " for writing (there is --blk=FILE,ro)" : "");
	/* But then, io_uring must not be told that it may not wait. */
	if (fcntl(dev->backend_fd, F_SETFL, 0))
		err(EXIT_FAILURE, "F_SETFL");
	check_size(dev->backend_fd, name);
	lock_image(dev->backend_fd, name, read_only);
	if (read_only)
		dev->args.flags |= DEVICE_READ_ONLY;
	free(name);
}
