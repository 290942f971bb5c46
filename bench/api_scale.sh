#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# api_scale.sh: a gateway that has so many volumes.
#
#     api_scale.sh VOLUMES get|page rate|p50|p99
#     api_scale.sh VOLUMES restart|memory
#
# get: one volume by its id, 64 connections. page: the first 100 volumes, 4 connections. restart:
# milliseconds from the start of sluice-super until the gateway is ready. memory: anonymous memory of
# sluiced then, in KiB. The state is made once and kept in BENCH_DIR.
set -uo pipefail
. "$(dirname "$0")/gateway.sh"

kept=$BENCH_DIR/scale-$1
if [ ! -d "$kept" ]; then
    bench_gateway --catalog-map 4G
    "${LOAD[@]}" --connections 64 --method POST --path /v1/volumes --expect 201 --count "$1" \
        --header "Prefer: wait=30" --body '{"pool":"p","name":"v-%n","size_bytes":4096}' p50 ||
        die "the volumes were not made"
    gateway_stop
    cp -a "$GATEWAY/state" "$kept.new" && mv "$kept.new" "$kept"
fi

gateway_new scale
cp -a "$kept" "$GATEWAY/state"
began=$(date +%s%N)
gateway_start --log-level error --catalog-map 4G
restart_ms=$((($(date +%s%N) - began) / 1000000))
LOAD=(load_http --port "$PORT" --header "Authorization: Bearer $(<"$GATEWAY/state/token")")
case $2 in
restart) echo "$restart_ms" ;;
memory) awk '/^RssAnon:/ { print $2 }' "/proc/$(daemon_pid)/status" ;;
get)
    api GET '/v1/volumes?limit=1'
    id=$(get '.items[0].id')
    "${LOAD[@]}" --connections 64 --path "/v1/volumes/$id" "$3"
    ;;
page) "${LOAD[@]}" --connections 4 --path '/v1/volumes?limit=100' "$3" ;;
*) die "get, page, restart or memory" ;;
esac
