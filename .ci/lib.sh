# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by run and nightly: counts what each part of theirs says at its end.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
exec </dev/null 2>&1
mkdir -p build
passed=0 failed=0 skipped=0 rc=0

# count STATUS FILE TARGET: what make TARGET said at its end, which is in FILE
count() {
	[ "$1" = 0 ] || rc=1
	if [[ $(tail -n 1 "$2") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		skipped=$((skipped + BASH_REMATCH[3]))
	elif [ "$1" = 0 ]; then
		passed=$((passed + 1))
	else
		echo "make $3: failed"
		failed=$((failed + 1))
	fi
	echo "==> $((SECONDS / 60)) minutes have passed after make $3"
}

# part ARGUMENT...: for make
part() {
	make "$@" | tee build/ci
	count "${PIPESTATUS[0]}" build/ci "$*"
}

# within MINUTES ARGUMENT...: is there time for this part, which is skipped otherwise?
within() {
	local minutes=$1
	shift
	[ $((SECONDS / 60)) -gt "$minutes" ] || return 0
	echo "make $*: skipped, $((SECONDS / 60)) minutes have passed on this machine"
	skipped=$((skipped + 1))
	return 1
}

part_within() {
	if within "$@"; then
		part "${@:2}"
	fi
}

# begin_within MINUTES ARGUMENT..., and end: a part beside others, which prints all at its end
beside=
begin_within() {
	if within "$@"; then
		beside=${*:2}
		make "${@:2}" >build/ci-beside &
	fi
}

end() {
	local status=0
	[ -n "$beside" ] || return 0
	wait $! || status=$?
	cat build/ci-beside
	count "$status" build/ci-beside "$beside"
	beside=
}

# The last line of all, and the exit status
finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	exit $rc
}
