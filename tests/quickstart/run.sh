#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh: the quick start does what the README says of it, to its end. Each of its stages is a test.
. "$(dirname "$0")/../lib.sh"

QUICKSTART_S=150 # with a build/release that is nearly made

export SLUICE_QUICKSTART_DIR=$TEMP/quickstart
status=0
# In the foreground: a signal to this group ends it too, and it takes its gateway along.
timeout --foreground -k 10 "$QUICKSTART_S" "$TREE/conf/quickstart.sh" --once >"$TEMP/said" 2>&1 || status=$?
mapfile -t stages < <(sed -n 's/^== [0-9]*\. //p' "$TEMP/said")
failed_stage=${stages[-1]-it begins}
[ "$status" -eq 0 ] || unset 'stages[-1]'
for stage in ${stages[@]+"${stages[@]}"}; do
    ok "quick start: $stage"
done
if [ "$status" -ne 0 ]; then
    not_ok "quick start: $failed_stage" "it ended with $status" "$(sed -n '/^FAILED/,$p' "$TEMP/said")"
    "$TREE/conf/quickstart.sh" --stop >/dev/null 2>&1
fi
check "quick start: it leaves nothing" test ! -e "$SLUICE_QUICKSTART_DIR"
finish
