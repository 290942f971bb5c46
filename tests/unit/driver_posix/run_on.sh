#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run_on.sh FILE-SYSTEM MEGABYTES FOLDER PROGRAM: runs the test program with SLUICE_TEST_DIR leading
# to a fresh file system of that kind and size, made below FOLDER; 77: cannot be made here.
set -u

fs=$1
megabytes=$2
folder=$3
program=$4
loopfs=$(cd "$(dirname "$0")/../../servers" && pwd)/loopfs.sh

if [ "$(id -u)" != 0 ]; then
    echo "skipped: mounting $fs takes root"
    exit 77
fi
if ! command -v "mkfs.$fs" >/dev/null; then
    echo "skipped: there is no mkfs.$fs"
    exit 77
fi
state=$(mktemp -d "$folder/sluice-$fs.XXXXXX") || exit 1
cleanup() {
    "$loopfs" stop "$state" || return
    rm -rf "$state"
}
trap cleanup EXIT
mounted=$("$loopfs" start "$state" "$fs" "$megabytes") || {
    echo "skipped: $fs cannot be mounted here"
    exit 77
}
SLUICE_TEST_DIR=$mounted "$program"
