# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# nfs_server.sh: an NFS server for a benchmark, on the disk that is measured; sourced. It ends with the
# script, and so does what it exports.
#
#   nfs_server_start   sets NFS_PORT (mount: the next one) and NFS_STATE, whose export/ is /export
NFS_SH=$(dirname "${BASH_SOURCE[0]}")/../tests/servers/nfs.sh

nfs_server_end() {
    "$NFS_SH" stop "$NFS_STATE" >/dev/null 2>&1
    rm -rf "$NFS_STATE"
}

nfs_server_start() {
    local said
    NFS_STATE=$(mktemp -d "$BENCH_DIR/nfs.XXXXXX")
    chmod 711 "$NFS_STATE"
    NFS_PORT=$((20000 + RANDOM % 4500 * 2))
    trap nfs_server_end EXIT
    if ! said=$("$NFS_SH" start "$NFS_STATE" "$NFS_PORT" 2>&1); then
        echo "no NFS server: $said" >&2
        exit 1
    fi
}
