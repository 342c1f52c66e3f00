/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names for the numbers of the NVM Express Base Specification 1.4, as far as this
 * controller uses them. Numbers in comments are those of its sections.
 */
#ifndef NVME_SPEC_H
#define NVME_SPEC_H

#include <stdint.h>
#include "util.h"

/* Registers (3.1) */
enum nvme_register {
	NVME_CAP	= 0x00,
	NVME_CAP_HIGH	= 0x04,
	NVME_VS		= 0x08,
	NVME_INTMS	= 0x0c,
	NVME_INTMC	= 0x10,
	NVME_CC		= 0x14,
	NVME_CSTS	= 0x1c,
	NVME_AQA	= 0x24,
	NVME_ASQ	= 0x28,
	NVME_ASQ_HIGH	= 0x2c,
	NVME_ACQ	= 0x30,
	NVME_ACQ_HIGH	= 0x34,
	NVME_DOORBELLS	= 0x1000,
};

/* CAP (3.1.1) */
#define NVME_CAP_MQES(entries)	((uint64_t)(entries) - 1)
#define NVME_CAP_CQR		BIT(16)
#define NVME_CAP_TO(halves)	((uint64_t)(halves) << 24)	/* of a second */
#define NVME_CAP_CSS_NVM	BIT(37)

#define NVME_VERSION		0x00010400

/* CC (3.1.5) */
#define NVME_CC_EN		1u
#define NVME_CC_CSS(cc)		((cc) >> 4 & 7)
#define NVME_CC_MPS(cc)		((cc) >> 7 & 15)
#define NVME_CC_AMS(cc)		((cc) >> 11 & 7)
#define NVME_CC_SHN(cc)		((cc) >> 14 & 3)
#define NVME_CC_IOSQES(cc)	((cc) >> 16 & 15)
#define NVME_CC_IOCQES(cc)	((cc) >> 20 & 15)
#define NVME_CC_BITS		0x00fffff1u

/* CSTS (3.1.6) */
#define NVME_CSTS_RDY		1u
#define NVME_CSTS_CFS		2u
#define NVME_CSTS_SHST		0xcu
#define NVME_CSTS_SHST_OCCURS	0x4u
#define NVME_CSTS_SHST_COMPLETE	0x8u

#define NVME_PAGE		4096u		/* the only one, CAP.MPSMIN and MPSMAX are 0 */
#define NVME_SQE_SHIFT		6
#define NVME_CQE_SHIFT		4

/* Submission queue entry (4.2) */
struct nvme_command {
	uint8_t opcode;
	uint8_t flags;
	uint16_t cid;
	uint32_t nsid;
	uint32_t cdw2, cdw3;
	uint64_t mptr;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};

/* nvme_command.flags */
#define NVME_FUSE		0x03
#define NVME_PSDT		0xc0

/* Completion queue entry (4.6) */
struct nvme_completion {
	uint32_t result;
	uint32_t reserved;
	uint16_t sq_head;
	uint16_t sq_id;
	uint16_t cid;
	uint16_t status;		/* phase tag in bit 0 */
};

#define NVME_NSID_ALL		0xffffffffu

enum nvme_admin_opcode {
	NVME_DELETE_SQ		= 0x00,
	NVME_CREATE_SQ		= 0x01,
	NVME_GET_LOG_PAGE	= 0x02,
	NVME_DELETE_CQ		= 0x04,
	NVME_CREATE_CQ		= 0x05,
	NVME_IDENTIFY		= 0x06,
	NVME_ABORT		= 0x08,
	NVME_SET_FEATURES	= 0x09,
	NVME_GET_FEATURES	= 0x0a,
	NVME_ASYNC_EVENT	= 0x0c,
	NVME_FORMAT		= 0x80,
};

enum nvme_io_opcode {
	NVME_FLUSH		= 0x00,
	NVME_WRITE		= 0x01,
	NVME_READ		= 0x02,
	NVME_WRITE_ZEROES	= 0x08,
	NVME_DSM		= 0x09,
};

/* Bits 15:0 of a status: type << 8 | code (4.6.1) */
enum nvme_status {
	NVME_SUCCESS		= 0x000,
	NVME_INVALID_OPCODE	= 0x001,
	NVME_INVALID_FIELD	= 0x002,
	NVME_TRANSFER_ERROR	= 0x004,
	NVME_INTERNAL_ERROR	= 0x006,
	NVME_ABORT_REQUESTED	= 0x007,
	NVME_INVALID_NAMESPACE	= 0x00b,
	NVME_SEQUENCE_ERROR	= 0x00c,
	NVME_INVALID_PRP_OFFSET	= 0x013,
	NVME_READ_ONLY		= 0x020,	/* namespace is write protected */
	NVME_LBA_RANGE		= 0x080,
	NVME_INVALID_CQ		= 0x100,
	NVME_INVALID_QID	= 0x101,
	NVME_INVALID_SIZE	= 0x102,
	NVME_TOO_MANY_EVENTS	= 0x105,	/* event requests */
	NVME_INVALID_VECTOR	= 0x108,
	NVME_INVALID_LOG_PAGE	= 0x109,
	NVME_INVALID_DELETION	= 0x10c,
	NVME_NOT_SAVEABLE	= 0x10d,
	NVME_NOT_CHANGEABLE	= 0x10e,
	NVME_WRITE_FAULT	= 0x280,
	NVME_READ_ERROR		= 0x281,
};

#define NVME_DNR		0x4000		/* do not retry */

enum nvme_feature {
	NVME_ARBITRATION	= 0x01,
	NVME_POWER		= 0x02,
	NVME_TEMPERATURE	= 0x04,
	NVME_ERROR_RECOVERY	= 0x05,
	NVME_WRITE_CACHE	= 0x06,
	NVME_NR_QUEUES		= 0x07,
	NVME_COALESCING		= 0x08,
	NVME_VECTOR		= 0x09,
	NVME_ATOMICITY		= 0x0a,
	NVME_EVENTS		= 0x0b,
};

enum nvme_log_page {
	NVME_LOG_ERRORS		= 0x01,
	NVME_LOG_HEALTH		= 0x02,
	NVME_LOG_FIRMWARE	= 0x03,
	NVME_LOG_EFFECTS	= 0x05,
};

/* What an asynchronous event tells: a type, and information that depends on it (5.2.1) */
enum nvme_event_type {
	NVME_EVENT_ERROR,
	NVME_EVENT_HEALTH,
};

enum nvme_error_event {
	NVME_EVENT_BAD_DOORBELL,
	NVME_EVENT_BAD_DOORBELL_VALUE,
};

enum nvme_health_event {
	NVME_EVENT_RELIABILITY,
	NVME_EVENT_TEMPERATURE,
};

#endif /* NVME_SPEC_H */
