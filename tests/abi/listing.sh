#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# listing.sh GUIDE OUTPUT: the first C listing of the guide as a source file.
set -eu
awk '/^```c$/ { inside = 1; next } /^```$/ && inside { exit } inside' "$1" >"$2"
grep -q sluice_driver "$2"
