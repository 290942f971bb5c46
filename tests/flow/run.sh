#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh: all stories of this folder, each a gateway or several of its own, as many at a time as there
# are processors. FLOW="life pools" runs only these.
set -u
cd "$(dirname "$0")" || exit 1

out=$(mktemp -d "${TMPDIR:-/tmp}/sluice-flow.XXXXXX") || exit 1
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The longest ones first, so that none of them is left alone at the end.
stories=()
for story in ${FLOW:-restart pools life drivers api progress adopt}; do
    [ -f "$story.sh" ] || { echo "not ok - there is no story $story"; exit 1; }
    stories+=("$story")
done
[ -n "${FLOW-}" ] || for file in *.sh; do
    [ "$file" = run.sh ] || [[ " ${stories[*]} " == *" ${file%.sh} "* ]] || stories+=("${file%.sh}")
done

failed=0
declare -A running=()

# The output of a story comes in one piece, when it has ended.
tell() {
    local story=$1 status=$2
    sed "s/^\(not \)\{0,1\}ok - /&$story: /" "$out/$story"
    echo "# $story took $(cat "$out/$story.seconds") s"
    [ "$status" -eq 0 ] || failed=1
    [ "$status" -eq 0 ] || grep -q '^not ok' "$out/$story" || echo "not ok - $story: ended with $status"
}

run_one() {
    local status begin=$SECONDS
    bash "$1.sh" >"$out/$1" 2>&1
    status=$?
    echo $((SECONDS - begin)) >"$out/$1.seconds"
    return "$status"
}

end_one() {
    local pid status
    wait -n -p pid "${!running[@]}"
    status=$?
    tell "${running[$pid]}" "$status"
    unset "running[$pid]"
}

for story in "${stories[@]}"; do
    [ "${#running[@]}" -lt "$(nproc)" ] || end_one
    run_one "$story" &
    running[$!]=$story
done
while [ "${#running[@]}" -gt 0 ]; do
    end_one
done
exit "$failed"
