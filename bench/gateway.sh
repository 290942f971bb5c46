# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# gateway.sh: a whole gateway for a benchmark, on the disk that is measured; sourced. It uses what the
# tests have for that (tests/gateway.sh) and sets
#
#   LOAD   load_http with the gateway's port and a token; say what to ask for and the metric behind it
TMPDIR=${BENCH_DIR:?}
export TMPDIR
. "$(dirname "${BASH_SOURCE[0]}")/../tests/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/../tests/gateway.sh"

# What fails here has no number: bench/run.sh shows this instead.
die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# bench_gateway [OPTION...]: started, with a pool p of the driver ram.
bench_gateway() {
    gateway_new bench
    gateway_start --log-level warning "$@"
    s pool create p --driver ram || die "pool create: $SAID"
    # shellcheck disable=SC2034 # for who sources this
    LOAD=(load_http --port "$PORT" --header "Authorization: Bearer $(<"$GATEWAY/state/token")")
}
