#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# fuzz: every target of tests/fuzz for FUZZ_SECONDS each (default: an equal share of the group's
# budget, 20 at most; 300 with --full), from the seeds in tests/fuzz/seeds/TARGET if there are any.
# A finding is kept in the build folder and named.
. "$(dirname "$0")/../lib.sh"

TARGET_SECONDS_MAX=20
TARGET_SECONDS_FULL=300
INPUT_BYTES_MAX=70000 # a little more than the largest packet

sources=("$TREE"/tests/fuzz/*_fuzz.c)
if [ -z "${FUZZ_SECONDS:-}" ]; then
    if [ "$SLUICE_FULL" = 1 ]; then
        FUZZ_SECONDS=$TARGET_SECONDS_FULL
    else
        FUZZ_SECONDS=$((SLUICE_BUDGET_S / ${#sources[@]}))
        [ "$FUZZ_SECONDS" -le "$TARGET_SECONDS_MAX" ] || FUZZ_SECONDS=$TARGET_SECONDS_MAX
        [ "$FUZZ_SECONDS" -ge 1 ] || FUZZ_SECONDS=1
    fi
fi

for source in "${sources[@]}"; do
    name=$(basename "$source" .c)
    program=$BUILD/fuzz/$name
    if [ ! -x "$program" ]; then
        not_ok "$name" "$program is not built; the preset is fuzz"
        continue
    fi
    mkdir -p "$TEMP/$name" "$BUILD/fuzz/found"
    folders=("$TEMP/$name")
    [ ! -d "$TREE/tests/fuzz/seeds/$name" ] || folders+=("$TREE/tests/fuzz/seeds/$name")
    log=$TEMP/$name.log
    if "$program" -max_total_time="$FUZZ_SECONDS" -seed="$SLUICE_SEED" -max_len="$INPUT_BYTES_MAX" \
        -timeout=10 -rss_limit_mb=1024 -artifact_prefix="$BUILD/fuzz/found/$name-" \
        "${folders[@]}" >"$log" 2>&1; then
        ok "$name ($(grep -oE 'Done [0-9]+ runs' "$log" | tail -n 1))"
    else
        not_ok "$name" "$(tail -n 40 "$log")"
    fi
done

finish
