#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-only
# dpdk.sh: in the VM, DPDK's virtio driver on /dev/vhost-net, in each layout. Its testpmd
# sends back what it receives, and every byte of that is compared.

set -u
cd "$(dirname "$0")" || exit 1

tap=vhost-dpdk
log=/tmp/testpmd
input=/tmp/testpmd-input
# each with the version that Debian's DPDK has
drivers=$(printf -- '-d %s ' dpdk/lib/librte_bus_vdev.so.* dpdk/lib/librte_mempool_ring.so.* \
	dpdk/lib/librte_net_virtio.so.*)

# start ARGUMENTS: testpmd, until a line is written to descriptor 3. By itself it throws away
# what it receives in its first moments, which may be ours already.
start() {
	# That of the one before says what is waited for, until this one begins to write.
	rm -f $input $log
	mkfifo $input
	# shellcheck disable=SC2086
	dpdk/bin/dpdk-testpmd --no-pci --no-huge --no-shconf --no-telemetry -m 256 -l 0,1 \
		--iova-mode=va $drivers \
		--log-level=pmd.net.virtio.init:debug \
		--vdev="net_virtio_user0,path=/dev/vhost-net,iface=$tap,$1" -- \
		--forward-mode=io --port-topology=loop --no-mlockall \
		--no-flush-rx --total-num-mbufs=4096 <$input >$log 2>&1 &
	testpmd=$!
	exec 3>$input
	# shellcheck disable=SC2034
	for i in $(seq 300); do
		# the last that it says without a buffer, just before it starts to forward
		! grep -qs promiscuous_enable $log || return 0
		kill -0 $testpmd || return 1
		usleep 100000
	done
	return 1
}

# What became of it: its end, the features that it and vhost agreed on, its counters
stop() {
	echo >&3
	exec 3>&-
	wait $testpmd || return 1
	features=$(sed -n 's/.*features after negotiate = \(0x\)\{0,1\}//p' $log | tail -n 1)
	received=$(sed -n 's/.*RX-packets: \([0-9]*\).*/\1/p' $log | tail -n 1)
	sent=$(sed -n 's/.*TX-packets: \([0-9]*\).*/\1/p' $log | tail -n 1)
}

# check PACKED IN_ORDER MERGEABLE: says why not
check() {
	start "packed_vq=$1,in_order=$2,mrg_rxbuf=$3,queues=1,queue_size=256" || {
		echo "# it does not start"
		return 1
	}
	frames=$(./echo $tap) || frames=0
	stop || {
		echo "# it failed"
		return 1
	}
	if [ "$frames" = 0 ]; then
		echo "# frames got lost or changed; $received received, $sent sent"
		return 1
	fi
	if [ "$received" -lt "$frames" ] || [ "$sent" -lt "$frames" ]; then
		echo "# $frames frames made the trip, but $received received, $sent sent"
		return 1
	fi
	if [ $((0x$features >> 34 & 1)) != "$1" ] || [ $((0x$features >> 35 & 1)) != "$2" ]; then
		echo "# features 0x$features"
		return 1
	fi
}

echo 'TAP version 13'
if [ ! -e dpdk/bin/dpdk-testpmd ]; then
	echo '1..0 # SKIP DPDK is not installed'
	exit 4
fi
echo '1..8'
n=0
failed=0
for layout in split packed; do
	for order in '' '+in-order'; do
		for mergeable in '' '+mergeable'; do
			n=$((n + 1))
			[ $layout = packed ] && packed=1 || packed=0
			if why=$(check "$packed" $((${#order} > 0)) $((${#mergeable} > 0)) 2>&1)
			then
				echo "ok $n dpdk $layout$order$mergeable"
			else
				sed 's/^/# /' $log
				echo "$why"
				echo "not ok $n dpdk $layout$order$mergeable"
				failed=1
			fi
		done
	done
done
exit $failed
