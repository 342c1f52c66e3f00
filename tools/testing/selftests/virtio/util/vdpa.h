/* SPDX-License-Identifier: GPL-2.0-only */
/* What "vdpa dev add" and "vdpa dev del" do, on the management device "vduse" */
#ifndef VIRTIO_TEST_VDPA_H
#define VIRTIO_TEST_VDPA_H

/* 0, or a negative errno. The driver has probed, or removed, the device on return. */
int vdpa_attach(const char *name);
int vdpa_detach(const char *name);

#endif
