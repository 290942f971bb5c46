#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# exports.sh DRIVER...: each exports sluice_driver alone and needs nothing but libc.
set -u

status=0
for driver in "$@"; do
    exported=$(nm -D --defined-only "$driver" | awk '{ print $NF }')
    if [ "$exported" != sluice_driver ]; then
        echo "$driver exports: ${exported:-nothing}"
        status=1
    fi
    # What the linker left open must be libc's (versioned GLIBC_) or weak.
    open=$(nm -D --undefined-only "$driver" | awk '$1 != "w" && $NF !~ /@GLIBC_/ { print $NF }')
    if [ -n "$open" ]; then
        echo "$driver needs: $open"
        status=1
    fi
    needed=$(readelf -d "$driver" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | grep -vE '^(libc|ld-linux[^.]*)\.so')
    if [ -n "$needed" ]; then
        echo "$driver is linked to: $needed"
        status=1
    fi
done
exit $status
