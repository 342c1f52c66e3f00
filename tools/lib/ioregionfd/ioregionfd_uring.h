/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause */
/*
 * libioregionfd in a liburing loop of the caller's own:
 *
 *	ioregionfd_request_init(&request, task, IOREGIONFD_ANY);
 *	do {
 *		sqe = io_uring_get_sqe(&ring);
 *		ioregionfd_uring_prep(sqe, &request);
 *		io_uring_sqe_set_data(sqe, ...);
 *		io_uring_submit_and_wait(&ring, 1);
 *		io_uring_peek_cqe(&ring, &cqe);
 *		ret = ioregionfd_request_complete(&request, cqe->res);
 *		io_uring_cqe_seen(&ring, cqe);
 *	} while (ret > 0);
 *
 * IORING_OP_ASYNC_CANCEL does not find such a request. One that waits ends with its ring, or
 * with the thread that submitted it.
 */
#ifndef IOREGIONFD_URING_H
#define IOREGIONFD_URING_H

#include <liburing.h>
#include "ioregionfd.h"

/**
 * ioregionfd_uring_prep() - prepare to complete a command and to fetch the next one
 * @sqe: a submission queue entry, whose user_data is left to the caller
 * @request: the request, which belongs to the kernel from the submission to the
 *	completion
 *
 * The kernel's io_uring must have IORING_OP_URING_CMD (Linux 5.19). If it does not, the
 * completion's res is -EINVAL.
 */
static inline void ioregionfd_uring_prep(struct io_uring_sqe *sqe,
					 struct ioregionfd_request *request)
{
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, request->fd, &request->fetch, 0, 0);
	sqe->cmd_op = IOREGIONFD_COMMIT_AND_FETCH;
}

#endif /* IOREGIONFD_URING_H */
