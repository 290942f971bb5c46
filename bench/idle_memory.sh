#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# idle_memory.sh: resident memory in KiB of a gateway that has one pool and nothing to do.
#
#     idle_memory.sh sluiced|runner
#
# runner: with the posix driver.
set -uo pipefail
. "$(dirname "$0")/gateway.sh"
gateway_new bench
gateway_start --log-level warning
account=(--uid "$UID_LOW")
[ "$ROOT" -eq 1 ] || account=()
s pool create p --driver posix --set "path=$(pool_directory pool)" ${account[@]+"${account[@]}"} || die "pool create: $SAID"
wait_until 10 pool_is p serving || die "the pool does not serve"
case $1 in
sluiced) pid=$(daemon_pid) ;;
runner) pid=$(pool_pid p) ;;
*) die "sluiced or runner" ;;
esac
awk '/^VmRSS:/ { print $2 }' "/proc/$pid/status"
