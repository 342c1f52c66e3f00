#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# upstream.sh DIR vringh|vhost: the tests of tools/virtio, in TAP, with the programs that
# are in DIR: the kernel's virtio_ring.c as a driver in user space, out of order and in
# order. Its device is vringh, in the same program or another one, or vhost, for which
# /dev/vhost-net, /dev/net/tun and /dev/vhost-test have to be there. Needs nothing but a
# shell. There are no packed rings: see in_order.c. Where all is slow, as KSELFTEST_SLOWNESS
# in the environment says, each program is run only once: virtio_test has a million buffers.
# What fails out of order is run again with virtio_ring.c as the kernel has it, if there is
# PROGRAM_stock, and skipped if that fails, too. In 7.3 that is vringh_test --parallel
# --indirect: its tables of descriptors have no room for the vring_desc_extra that
# alloc_indirect_split() has behind them there, and so overwrite each other.

dir=$1
n=0
failed=0

# options TEST: its tests, each a line of options
options() {
	case $1 in
	vringh_test)
		for features in '' --indirect --eventidx --virtio-1 \
				'--indirect --eventidx --virtio-1'; do
			echo "$features"
			echo "--parallel $features"
		done
		echo '--slow-range'
		echo '--slow-range --indirect --eventidx --virtio-1'
		echo '--parallel --fast-vringh'
		echo '--parallel --fast-vringh --indirect --eventidx --virtio-1'
		;;
	virtio_test)
		echo '--no-indirect --no-event-idx --no-virtio-1'
		echo '--delayed-interrupt --batch=random'
		echo '--batch=64 --reset=100000'
		;;
	vhost_net_test)
		echo '--buf-num=100000'
		echo '--buf-num=100000 --no-indirect --no-event-idx'
		echo '--buf-num=100000 --delayed-interrupt'
		;;
	esac
}

# missing DEVICE...: which one this machine does not have
missing() {
	for device; do
		[ -c "$device" ] || echo "no $device"
	done
}

list=$(mktemp)
trap 'rm "$list"' EXIT
case $2 in
vringh)
	tests=vringh_test
	without=
	;;
vhost)
	tests='virtio_test vhost_net_test'
	without=$(missing /dev/vhost-test /dev/vhost-net /dev/net/tun | tr "\n" " ")
	;;
esac
[ "${KSELFTEST_SLOWNESS:-1}" -gt 1 ] && some='2p' || some=p
for test in $tests; do
	for program in "$test" "${test}_in_order"; do
		options "$test" | sed -n "s/^/$program /;$some"
	done
done >"$list"

echo 'TAP version 13'
if [ -n "$without" ]; then
	echo "1..0 # SKIP $without"
	exit 4
fi
echo "1..$(wc -l <"$list")"
while read -r program options; do
	n=$((n + 1))
	# options are words
	# shellcheck disable=SC2086
	if output=$("$dir/$program" $options 2>&1 </dev/null); then
		echo "ok $n $program${options:+ $options}"
	elif [ -x "$dir/${program}_stock" ] &&
	     ! "$dir/${program}_stock" $options >/dev/null 2>&1 </dev/null; then
		echo "$output" | sed 's/^/# /'
		skip="it fails with the kernel's own virtio_ring.c, too"
		echo "ok $n $program${options:+ $options} # SKIP $skip"
	else
		echo "$output" | sed 's/^/# /'
		echo "not ok $n $program${options:+ $options}"
		failed=1
	fi
done <"$list"
exit $failed
