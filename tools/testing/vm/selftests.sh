#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# selftests.sh DIR PROGRAM...: build KVM selftests with their own Makefile, below DIR;
# in DIR/payload are then the programs for the VM, and what runs them there.
set -euo pipefail
. tools/testing/vm/lib.sh

dir=$1
shift
# static: the VM has no libc; through the environment, so that += adds to it
export LDFLAGS=-static
export LDLIBS=-luring
stat_test=x86_64/ioregionfd_stat_test
[[ " $* " != *" $stat_test "* ]] || LDLIBS+=' -ljson-c'
logged "${dir##*/}" make -C build/linux/tools/testing/selftests/kvm OUTPUT="$PWD/$dir" \
	TEST_GEN_PROGS_x86_64="$*" TEST_GEN_PROGS_EXTENDED_x86_64= TEST_PROGS_x86_64=

rm -rf "$dir/payload"
mkdir -p "$dir/payload/x86_64"
cp tools/testing/vm/run-selftests "$dir/payload/"
for program; do
	strip -o "$dir/payload/$program" "$dir/$program"
done

# ioregionstat, for the test that runs it
if [ -e "$dir/$stat_test" ]; then
	logged ioregionstat make -C tools/ioregionstat O="$PWD/$dir/ioregionstat"
	strip -o "$dir/payload/x86_64/ioregionstat" "$dir/ioregionstat/ioregionstat"
fi

# The example in the README, for the test that runs it
awk '/^```c$/ { c = 1; next } /^```/ { c = 0 } c' README.md >"$dir/readme_device.c"
gcc -static -O2 -Wall -Wextra -Werror -isystem build/linux/usr/include \
	-o "$dir/payload/x86_64/readme_device" "$dir/readme_device.c"
say "$# selftests"
