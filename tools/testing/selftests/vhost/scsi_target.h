/* SPDX-License-Identifier: GPL-2.0-only */
/* A RAM disk that the kernel's SCSI target serves to vhost-scsi, made in configfs */
#ifndef _SELFTESTS_VHOST_SCSI_TARGET_H
#define _SELFTESTS_VHOST_SCSI_TARGET_H

#define SCSI_TARGET_WWPN	"naa.5001405cafe00001"
#define SCSI_TARGET		1	/* portal group: the target's number for the guest */
#define SCSI_BLOCK		512
#define SCSI_BLOCKS		2048	/* zeroed */

/* Also takes down what a test left that did not come to its end */
int scsi_target_create(void);
int scsi_target_destroy(void);

/* Whether LUN 0 is there; it is at first. */
int scsi_target_plug(void);
int scsi_target_unplug(void);

#endif
