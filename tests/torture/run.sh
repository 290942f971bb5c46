#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [points|storm]: kills the gateway and its runners at every named step, and at random.
exec python3 -B "$(dirname "$0")/torture.py" "$@"
