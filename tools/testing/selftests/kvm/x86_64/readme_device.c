// SPDX-License-Identifier: GPL-2.0-only
/* The device task of README.md, word for word: "make check" compares. */
#include <errno.h>
#include <linux/ioregionfd.h>
#include <unistd.h>

int main(void)
{
	struct ioregionfd_resp resp = {};
	struct ioregionfd_cmd cmd;
	__u64 count = 0;

	/* The VMM gave us what KVM_CREATE_IOREGIONFD returned, or a socket, as fd 0. */
	while (read(0, &cmd, sizeof(cmd)) == sizeof(cmd)) {
		if (cmd.cmd == IOREGIONFD_CMD_READ)
			resp.data = count++;
		else
			count = cmd.data;
		if (!(cmd.flags & IOREGIONFD_CMD_F_RESP))
			continue;
		/* ESTALE: the VMM has given the access up. */
		if (write(0, &resp, sizeof(resp)) != sizeof(resp) && errno != ESTALE)
			return 1;
	}
	return 0;
}
