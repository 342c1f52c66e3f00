// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include "../kselftest.h"
#include "scsi_target.h"

#define CONFIGFS	"/sys/kernel/config"
#define TARGET		CONFIGFS "/target"
#define ADAPTER		TARGET "/core/rd_mcp_4711"
#define DISK		ADAPTER "/vhost_scsi_test"
#define FABRIC		TARGET "/vhost"
#define PORT		FABRIC "/" SCSI_TARGET_WWPN
#define GROUP		PORT "/tpgt_1"
#define LUN		GROUP "/lun/lun_0"
#define LINK		LUN "/disk"

#define INITIATOR	"naa.6001405cafe00001"
#define PAGES		"rd_pages=256"		/* SCSI_BLOCKS */

static const char * const directories[] = { ADAPTER, DISK, FABRIC, PORT, GROUP, LUN };

static int complain(const char *what)
{
	fprintf(stderr, "# target: %s: %s\n", what, strerror(errno));
	return -1;
}

static int put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return complain(path);
	ret = write(fd, value, strlen(value)) == strlen(value) ? 0 : complain(path);
	close(fd);
	return ret;
}

int scsi_target_plug(void)
{
	return symlink(DISK, LINK) ? complain(LINK) : 0;
}

int scsi_target_unplug(void)
{
	return unlink(LINK) ? complain(LINK) : 0;
}

int scsi_target_destroy(void)
{
	unlink(LINK);
	for (int i = ARRAY_SIZE(directories) - 1; i >= 0; i--)
		rmdir(directories[i]);
	/* The target may have other ports */
	if (!access(PORT, F_OK) || !access(ADAPTER, F_OK)) {
		fprintf(stderr, "# target: still there\n");
		return -1;
	}
	return 0;
}

int scsi_target_create(void)
{
	if (access(TARGET, F_OK) && mount("configfs", CONFIGFS, "configfs", 0, NULL))
		return complain(CONFIGFS);
	if (scsi_target_destroy())
		return -1;
	for (int i = 0; i < ARRAY_SIZE(directories); i++)
		if (mkdir(directories[i], 0755) && errno != EEXIST)
			return complain(directories[i]);
	return put(DISK "/control", PAGES) || put(DISK "/enable", "1") ||
	       put(GROUP "/nexus", INITIATOR) || scsi_target_plug() ? -1 : 0;
}
