#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# api_get.sh: GET of one volume by its id.
#
#     api_get.sh ours|bare CONNECTIONS rate|p50|p99
#
# bare: libmicrohttpd alone with an answer of the same size, headers and all; `ours` has to be measured
# before in the same BENCH_DIR, which keeps the size.
set -uo pipefail
size_file=$BENCH_DIR/api_get.size

if [ "$1" = bare ]; then
    exec machine_http "$(<"$size_file")" load_http --connections "$2" "$3"
fi

. "$(dirname "$0")/gateway.sh"
bench_gateway
s volume create v --pool p --size 1G || die "volume create: $SAID"
id=$(get .id)
answer=$(curl -sS -i --unix-socket "$SOCKET" "http://localhost/v1/volumes/$id" | wc -c)
# Of that, libmicrohttpd alone has a status line, Date, Content-Length and Content-Type too.
head=$(printf 'HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 999\r\nContent-Type: application/json\r\n\r\n' | wc -c)
echo $((answer - head)) >"$size_file"
"${LOAD[@]}" --connections "$2" --path "/v1/volumes/$id" "$3"
