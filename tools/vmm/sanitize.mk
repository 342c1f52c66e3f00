# SPDX-License-Identifier: GPL-2.0-only
#
# SANITIZE=1: with AddressSanitizer and UndefinedBehaviorSanitizer, of gcc or of clang. These
# cannot be linked statically. O has to be another directory than without.

STATIC := -static
ifneq ($(SANITIZE),)
STATIC :=
SANITIZE_CFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -Wno-missing-field-initializers -DSANITIZE
endif
