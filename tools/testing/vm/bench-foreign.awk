# SPDX-License-Identifier: GPL-2.0-only
#
# The table of "make bench-arm64" or "make bench-riscv64", as arch= says, and whether the
# figure that has a limit is below it. After figures.awk.

BEGIN {
	limit["arm64"] = 0.38
	limit["riscv64"] = 0.18
}

# Nothing there is compared with a device in the kernel
function base_of(name) {
	return name ~ /-write\// ? "mmio-write/ioeventfd" : "mmio/forward-socket"
}

{
	accesses[++n_accesses] = $1
}

END {
	printf "\n%-30s %9s %7s   %s\n", "instructions per access", arch, "", "the ratio is to"
	for (i = 1; i <= n_accesses; i++) {
		name = accesses[i]
		printf "%-30s %9d %7.3f   %s\n", name, figure[name, arch],
			ratio(name, arch, base_of(name), arch), base_of(name)
	}
	value = ratio("ioregionfd/ioctl", arch, "mmio/forward-socket", arch)
	met = value > 0 && value <= limit[arch]
	printf "\n%-9s %-6s %s: %.3f, at most %.4g\n", met ? "ok" : "NOT MET", arch,
		"ioregionfd/ioctl / mmio/forward-socket", value, limit[arch]
	exit !met
}
