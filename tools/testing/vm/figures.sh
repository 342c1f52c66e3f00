#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# figures.sh: fail if a document, or a cover letter, has a figure that is not what the last
# "make bench" has measured
set -euo pipefail
. tools/testing/vm/lib.sh

figures=$build/bench/figures
[ -s "$figures" ] || { echo 'no figures yet: make bench'; exit 0; }
newer=$(find tools/testing/selftests/{kvm/ioregionfd_perf.c,vhost/perf,virtio/ring/ring_perf*} \
	tools/vmm/tests/{bench-{vm.sh,init},guest_bench.c} -newer "$figures" -print -quit)
[ -z "$newer" ] || { echo "figures from before $newer: make bench"; exit 0; }
order_only=0
[ "$kernel" = 6.12 ] || order_only=1
awk -v order_only=$order_only -f tools/testing/vm/figures.awk -f tools/testing/vm/documents.awk "$figures" \
	README.md tools/vmm/README.md Documentation/driver-api/virtio/{overview,in_order}.rst hooks/letters/* ||
	die "a document has figures that are not those of the last make bench: $figures"
