#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# driver_nfs.sh: bench/driver_nfs with a server of its own on the disk that is measured.
#
#     driver_nfs.sh ours FORMAT CASE rate     the driver
#     driver_nfs.sh raw CASE rate             libnfs alone, the better of one connection and two
set -euo pipefail
. "$(dirname "$0")/nfs_server.sh"

nfs_server_start
case $1 in
ours) driver_nfs ours "$2" "$3" "$NFS_PORT" "$4" ;;
*)
    for connections in 1 2; do
        driver_nfs raw "$connections" "$2" "$NFS_PORT" "$3"
    done | sort -g | tail -n 1
    ;;
esac
