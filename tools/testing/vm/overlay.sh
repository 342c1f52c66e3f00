#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# overlay.sh FILE...: lay files of ours over build/linux
set -euo pipefail
. tools/testing/vm/lib.sh

printf '%s\n' "$@" | lay . build/linux
