/* SPDX-License-Identifier: GPL-2.0-only */
/* A RAM disk of the kernel's SCSI target for vhost-scsi, created in configfs */
#ifndef _SELFTESTS_VHOST_SCSI_TARGET_H
#define _SELFTESTS_VHOST_SCSI_TARGET_H

#define SCSI_TARGET_WWPN	"naa.5001405cafe00001"
#define SCSI_TARGET		1	/* portal group, which is the target ID in the guest */
#define SCSI_BLOCK		512
#define SCSI_BLOCKS		2048	/* zeroed */

/* Also removes what an interrupted test has left behind. */
int scsi_target_create(void);
int scsi_target_destroy(void);

/* Plug or unplug LUN 0, which is there at first. */
int scsi_target_plug(void);
int scsi_target_unplug(void);

#endif
