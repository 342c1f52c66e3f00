/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the kernel has what tools/virtio has in mod_devicetable.h */
#include <linux/mod_devicetable.h>
