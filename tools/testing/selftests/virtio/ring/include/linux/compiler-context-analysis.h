/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's own is for clang's annotations of locks: the rings' user-space build needs none. */
