// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/vdpa.h>
#include "vdpa.h"

struct message {
	struct nlmsghdr header;
	struct genlmsghdr generic;
	char attributes[512];
};

static void begin(struct message *message, uint16_t family, uint8_t command, uint8_t version)
{
	memset(message, 0, sizeof(*message));
	message->header.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	message->header.nlmsg_type = family;
	message->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	message->generic.cmd = command;
	message->generic.version = version;
}

static void add_string(struct message *message, uint16_t type, const char *value)
{
	struct nlattr *attribute = (void *)message + NLMSG_ALIGN(message->header.nlmsg_len);

	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + strlen(value) + 1;
	memcpy((char *)attribute + NLA_HDRLEN, value, strlen(value) + 1);
	message->header.nlmsg_len = NLMSG_ALIGN(message->header.nlmsg_len) +
				    NLA_ALIGN(attribute->nla_len);
}

/* ID of the family in the answer to CTRL_CMD_GETFAMILY */
static int family_id(const struct nlmsghdr *header)
{
	const char *end = (const char *)header + header->nlmsg_len;
	const char *at = (const char *)header + NLMSG_LENGTH(GENL_HDRLEN);

	while (at + NLA_HDRLEN <= end) {
		const struct nlattr *attribute = (const void *)at;

		if (attribute->nla_type == CTRL_ATTR_FAMILY_ID)
			return *(const uint16_t *)(at + NLA_HDRLEN);
		at += NLA_ALIGN(attribute->nla_len);
	}
	return -ENOENT;
}

/* Returns the ID of the family if the answer has one, 0 if not, or a negative errno. */
static int ask(int fd, const struct message *message)
{
	struct nlmsghdr answer[8192 / sizeof(struct nlmsghdr)];
	int id = 0;

	if (send(fd, message, message->header.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		const struct nlmsghdr *header = answer;
		ssize_t left = recv(fd, answer, sizeof(answer), 0);

		if (left < 0)
			return -errno;
		for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
			const struct nlmsgerr *end = NLMSG_DATA(header);

			if (header->nlmsg_type == NLMSG_ERROR)
				return end->error ? end->error : id;
			id = family_id(header);
		}
	}
}

static int vdpa_command(uint8_t command, const char *name)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), result;
	struct message message;

	if (fd < 0)
		return -errno;
	begin(&message, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	add_string(&message, CTRL_ATTR_FAMILY_NAME, VDPA_GENL_NAME);
	result = ask(fd, &message);
	if (result > 0) {
		begin(&message, result, command, VDPA_GENL_VERSION);
		if (command == VDPA_CMD_DEV_NEW)
			add_string(&message, VDPA_ATTR_MGMTDEV_DEV_NAME, "vduse");
		add_string(&message, VDPA_ATTR_DEV_NAME, name);
		result = ask(fd, &message);
	}
	close(fd);
	return result;
}

int vdpa_attach(const char *name)
{
	return vdpa_command(VDPA_CMD_DEV_NEW, name);
}

int vdpa_detach(const char *name)
{
	return vdpa_command(VDPA_CMD_DEV_DEL, name);
}
