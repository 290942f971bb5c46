#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [NAME...]: plants faults in a copy of the tree; the suite has to see each.
exec python3 -B "$(dirname "$0")/mutants.py" "$@"
