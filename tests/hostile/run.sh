#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh: every mode of the hostile drivers at once, beside pools that work.
exec python3 -B "$(dirname "$0")/hostile.py" "$@"
