#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# payload.sh DIR PROGRAM...: copies of installed programs that run where there is no libc:
# in DIR/bin, with their libraries in DIR/lib
set -euo pipefail

dir=$1
shift
mkdir -p "$dir/bin" "$dir/lib"
for name; do
	program=$(PATH=$PATH:/usr/sbin:/sbin command -v "$name")
	# lines "name => path (address)", and the loader's "path (address)"
	ldd "$program" | awk '$2 == "=>" { print $3 } $1 ~ "^/" { print $1 }' |
		xargs -r cp -Lut "$dir/lib"
	cp -L "$program" "$dir/lib/$name"
	cat >"$dir/bin/$name" <<-'END'
		#!/bin/sh
		lib=${0%/*}/../lib
		exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$lib/${0##*/}" "$@"
	END
	chmod +x "$dir/bin/$name"
done
