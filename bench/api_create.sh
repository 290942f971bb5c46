#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# api_create.sh: volumes made on the driver ram, each awaited: the operation and the volume are durable
# when the answer comes.
#
#     api_create.sh CONNECTIONS rate|p50|p99
set -uo pipefail
. "$(dirname "$0")/gateway.sh"
bench_gateway
"${LOAD[@]}" --connections "$1" --method POST --path /v1/volumes --expect 201 \
    --header "Idempotency-Key: %n" --header "Prefer: wait=30" \
    --body '{"pool":"p","name":"v-%n","size_bytes":1048576}' "$2"
