#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The KUnit tests of the virtqueue core, as a program that prints TAP. Arguments are
# parameters of the module, such as seed=1 buffers=1000.
#
# KUnit nests its results: a test that has parameters is one line for each of them, and
# then one for all, which is left out here.

results=/sys/kernel/debug/kunit

if ! [ -e $results/vring_random ] &&
	! find "/lib/modules/$(uname -r)" -name 'vring_kunit.ko*' | grep -q .; then
	echo '1..0 # SKIP the kernel has no CONFIG_VIRTIO_RING_KUNIT_TEST'
	exit 4
fi

# Should the kernel kill it, what there is so far is to be seen all the same
modprobe vring_kunit "$@"
loaded=$?
trap 'rmmod vring_kunit' EXIT
if ! [ -e $results/vring_random/results ]; then
	echo '# the kernel has no CONFIG_KUNIT_DEBUGFS, which this reads'
	exit 1
fi
cat $results/vring_*/results | awk -v loaded=$loaded '
	function result(name) {
		n++
		failed += /^ *not/
		sub(/^ *(not )?ok [0-9]+ /, (/^ *not/ ? "not ok " : "ok ") n " " name)
		print
	}
	BEGIN { print "TAP version 13" }
	/^    # Subtest: / { suite = $3; next }
	/^        # Subtest: / { name = $3; next }
	/^        (not )?ok / { result(suite "." name ": ") }
	/^    (not )?ok / {
		if (!name)
			result(suite ".")
		name = ""
	}
	/ok |^ *KTAP|^ *1\.\./ { next }
	{ sub(/^[ #]*/, "# "); print }
	END {
		if (loaded)
			print "not ok " ++n " modprobe # status " loaded
		print "1.." n
		exit failed || loaded || !n
	}'
