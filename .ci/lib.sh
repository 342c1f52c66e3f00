# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by run and nightly: counts what each part of theirs says at its end.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
exec </dev/null 2>&1
mkdir -p build
passed=0 failed=0 skipped=0 rc=0

# part ARGUMENT...: for make
part() {
	local status=0
	make "$@" | tee build/ci || status=1
	[ $status = 0 ] || rc=1
	if [[ $(tail -n 1 build/ci) =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		skipped=$((skipped + BASH_REMATCH[3]))
	elif [ $status = 0 ]; then
		passed=$((passed + 1))
	else
		echo "make $1: failed"
		failed=$((failed + 1))
	fi
}

# part_within MINUTES ARGUMENT...: a part that is skipped if more have passed by now
part_within() {
	local minutes=$1
	shift
	if [ $((SECONDS / 60)) -gt "$minutes" ]; then
		echo "make $1: skipped, $((SECONDS / 60)) minutes have passed on this machine"
		skipped=$((skipped + 1))
	else
		part "$@"
	fi
}

# The last line of all, and the exit status
finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	exit $rc
}
