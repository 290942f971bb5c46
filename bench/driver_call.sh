#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# driver_call.sh: bench/driver_call below a sluice-super of its own.
#
#     driver_call.sh one|two IN_FLIGHT nothing|get rate|p50|p99
#
# one, two: gateway's side and runner on one processor, or each on its own.
set -euo pipefail

runner_processor=0
[ "$1" = one ] || runner_processor=1
archives=("$BUILD"/drivers/ram-*)
log=$(mktemp "$BENCH_DIR/driver_call.XXXXXX")
if ! timeout 20 taskset -c "$runner_processor" "$BUILD/bin/sluice-super" \
        --sluiced "$BUILD/bench/driver_call" --runner "$BUILD/bin/sluice-runner" \
        -- "${archives[0]}" 0 "$2" "$3" "$4" 2>"$log"; then
    tail -n 5 "$log" >&2
    exit 1
fi
