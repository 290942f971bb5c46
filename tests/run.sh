#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh: installs what is missing, builds, tests, counts.
#
#     tests/run.sh [--full] [--budget SECONDS] [--list] [GROUP...]
#
#   GROUP      only these (default: all that exist)
#   --full     the long version of each group, without time limits
#   --budget   the tests shall fit into so many seconds: each group gets its share
#   --list     show the groups and their budgets and end
#
# A group is a folder tests/GROUP with a run.sh that says "ok - NAME" or "not ok - NAME" for each thing
# it tested ("# SKIP WHY" behind it: not tested) and exits non-zero when something failed; or the tests
# that CTest knows under a label. A folder that has no row below gets UNLISTED_S seconds and preset dev.
# tests/lib.sh has what such scripts share and says what they find in the environment.
#
# The last line is "N passed, N failed"; the status is 0 only when nothing failed.
set -u

cd "$(dirname "$0")/.." || exit 1
TREE=$PWD

TOTAL_MAX_S=1620 # 27 minutes on two cores, builds included
UNLISTED_S=30    # a group without a row
OVERTIME=2       # a group that takes so many times its budget is ended and has failed

# Name, seconds, preset, parts. A part is build, ctest:LABEL or script:FOLDER; a part that does not
# exist (yet) is left out, and a group without parts is not listed. The budget of a group is for its
# tests alone: the first group of a preset builds it within the budget of its build row.
table() {
    cat <<'ROWS'
build-dev     40  dev    build
lint          20  -      script:lint
unit          140  dev    ctest:unit ctest:long
abi           10  dev    ctest:abi script:abi
flow          70  dev    script:flow
http          10  dev    script:http
hostile       40  dev    script:hostile
conform       40  dev    script:conform
nfs           120  dev    script:nfs
replay        80  dev    script:replay
guest         50  dev    script:guest
torture       100  dev    script:torture
mutants       90  dev    script:mutants
build-release 50  release build
release       110  release ctest:unit script:quickstart
build-clang   40  clang  build
clang         90  clang  ctest:unit ctest:abi
build-asan    45  asan   build
asan          180  asan   ctest:unit ctest:abi script:flow
build-tsan    40  tsan   build
tsan          160  tsan   ctest:unit
build-fuzz    45  fuzz   build
fuzz          40  fuzz   script:fuzz
ROWS
}

full=0
budget=0
list=0
wanted=()
while [ $# -gt 0 ]; do
    case $1 in
    --full) full=1 ;;
    --budget)
        [[ ${2-} =~ ^[1-9][0-9]*$ ]] || { echo "--budget wants seconds" >&2; exit 2; }
        budget=$2
        shift
        ;;
    --list) list=1 ;;
    -h | --help)
        sed -n '/^# run.sh:/,/^set /s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    -*)
        echo "unknown option $1; --help tells" >&2
        exit 2
        ;;
    *) wanted+=("$1") ;;
    esac
    shift
done

# The parts of a row that exist.
existing() {
    local part found=()
    for part in "$@"; do
        case $part in
        build | ctest:unit | ctest:long) found+=("$part") ;;
        ctest:*) [ -f "tests/${part#*:}/CMakeLists.txt" ] && found+=("$part") ;;
        script:*) [ -f "tests/${part#*:}/run.sh" ] && found+=("$part") ;;
        esac
    done
    echo "${found[*]-}"
}

names=()
declare -A seconds preset parts build_seconds
while read -r name limit which what; do
    if [ "$what" = build ]; then
        build_seconds[$which]=$limit
        continue
    fi
    # shellcheck disable=SC2086 # parts are words
    what=$(existing $what)
    [ -n "$what" ] || continue
    names+=("$name")
    seconds[$name]=$limit
    preset[$name]=$which
    parts[$name]=$what
done < <(table)
for script in tests/*/run.sh; do
    [ -f "$script" ] || continue # the pattern itself, when there is none
    name=$(basename "$(dirname "$script")")
    table | grep -q "script:$name\$\|script:$name " && continue
    names+=("$name")
    seconds[$name]=$UNLISTED_S
    preset[$name]=dev
    parts[$name]=script:$name
done

sum=0
test_sum=0
for name in "${names[@]}"; do
    test_sum=$((test_sum + seconds[$name]))
done
for which in "${!build_seconds[@]}"; do
    for name in "${names[@]}"; do
        [ "${preset[$name]}" = "$which" ] && sum=$((sum + build_seconds[$which])) && break
    done
done
sum=$((sum + test_sum))
if [ "$sum" -gt "$TOTAL_MAX_S" ]; then
    echo "the budgets come to $sum s; at most $TOTAL_MAX_S s are allowed" >&2
    exit 2
fi

if [ "$list" = 1 ]; then
    printf '%-10s %8s  %-7s %s\n' group seconds preset parts
    for name in "${names[@]}"; do
        printf '%-10s %8s  %-7s %s\n' "$name" "${seconds[$name]}" "${preset[$name]}" "${parts[$name]}"
    done
    echo "all with their builds: $sum s"
    exit 0
fi

if [ ${#wanted[@]} -eq 0 ]; then
    wanted=("${names[@]}")
fi
for name in "${wanted[@]}"; do
    if [ -z "${seconds[$name]-}" ]; then
        echo "no group $name; --list shows them" >&2
        exit 2
    fi
done

conf/install.sh || exit 1

SLUICE_SEED=${SLUICE_SEED:-$((RANDOM * 32768 + RANDOM))}
export SLUICE_SEED SLUICE_FULL=$full SLUICE_SOURCE=$TREE
# Where a sanitizer finds something the tests must turn red, also when a child is the one.
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1}
echo "seed $SLUICE_SEED (SLUICE_SEED=$SLUICE_SEED repeats this run)"

logs=$(mktemp -d "${TMPDIR:-/tmp}/sluice-run.XXXXXX") || exit 1
trap 'rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM

passed=0
failed=0
skipped=0
table_lines=()
declare -A built

# row NAME SECONDS BUDGET PASSED FAILED SKIPPED
row() {
    local over=
    [ "$3" = - ] || [ "$2" -le "$3" ] || over="over its budget"
    table_lines+=("$(printf '%-12s %7s %7s %7s %7s %7s  %s' "$1" "$2" "$3" "$4" "$5" "$6" "$over")")
}

# Builds a preset once. A build that fails is one failed test.
build() {
    local which=$1 begin=$SECONDS
    [ -z "${built[$which]-}" ] || return "${built[$which]}"
    echo "== build $which"
    if cmake --preset "$which" >"$logs/build" 2>&1 && cmake --build --preset "$which" >>"$logs/build" 2>&1; then
        built[$which]=0
        row "build $which" $((SECONDS - begin)) "${build_seconds[$which]-"-"}" - - -
    else
        built[$which]=1
        grep -v '^\[' "$logs/build" | tail -n 60
        echo "not ok - build $which"
        failed=$((failed + 1))
        row "build $which" $((SECONDS - begin)) "${build_seconds[$which]-"-"}" 0 1 0
    fi
    return "${built[$which]}"
}

# CTest's own count of one label.
run_label() {
    local label=$1 limit=$2 status line
    limited "$limit" ctest --test-dir "$BUILD" -L "^$label\$" --no-tests=error \
        --output-on-failure -j "$(nproc)" >"$logs/part" 2>&1
    status=$?
    line=$(grep -E '^[0-9]+% tests passed, [0-9]+ tests failed out of [0-9]+' "$logs/part")
    if [ -z "$line" ]; then
        cat "$logs/part"
        echo "not ok - ctest $label ended with $status and no count"
        part_failed=$((part_failed + 1))
        return
    fi
    local lost=${line#*passed, } all=${line##* }
    lost=${lost%% *}
    part_passed=$((part_passed + all - lost))
    part_failed=$((part_failed + lost))
    if [ "$lost" -gt 0 ]; then
        cat "$logs/part"
    elif [ "$status" -ne 0 ]; then
        part_failed=$((part_failed + 1))
        echo "not ok - ctest $label ended with $status"
    fi
}

# A script's ok and not ok lines.
run_script() {
    local folder=$1 limit=$2 begin=$SECONDS status good bad left
    # By way of a file: a process that a test left behind would keep a pipe open for ever.
    limited "$limit" bash "tests/$folder/run.sh" >"$logs/part" 2>&1
    status=$?
    cat "$logs/part"
    left=$(grep -c '^ok\b.*# SKIP' "$logs/part")
    good=$(($(grep -c '^ok\b' "$logs/part") - left))
    bad=$(grep -c '^not ok\b' "$logs/part")
    if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ $((good + left)) -eq 0 ]; }; then
        if [ "$limit" -gt 0 ] && [ $((SECONDS - begin)) -ge "$limit" ]; then
            echo "not ok - $folder was ended after $limit s"
        else
            echo "not ok - $folder ended with $status"
        fi
        bad=1
    fi
    part_passed=$((part_passed + good))
    part_failed=$((part_failed + bad))
    part_skipped=$((part_skipped + left))
}

# limited SECONDS COMMAND...: 0 is no limit. timeout ends the process group that it made itself.
limited() {
    local limit=$1
    shift
    if [ "$limit" -eq 0 ]; then
        "$@"
    else
        timeout --kill-after=15 "$limit" "$@"
    fi
}

run_group() {
    local name=$1 which=${preset[$1]} part share limit begin
    part_passed=0
    part_failed=0
    part_skipped=0
    if [ "$which" != - ]; then
        build "$which" || return
        export BUILD=$TREE/build/$which
    fi
    share=${seconds[$name]}
    [ "$budget" -eq 0 ] || share=$((budget * share / test_sum + 1))
    limit=$((share * OVERTIME))
    [ "$full" -eq 0 ] || limit=0
    echo "== $name"
    begin=$SECONDS
    for part in ${parts[$name]}; do
        case $part in
        ctest:*) run_label "${part#*:}" "$limit" ;;
        script:*) SLUICE_BUDGET_S=$share run_script "${part#*:}" "$limit" ;;
        esac
    done
    [ "$full" -eq 0 ] || share=-
    row "$name" $((SECONDS - begin)) "$share" "$part_passed" "$part_failed" "$part_skipped"
    passed=$((passed + part_passed))
    failed=$((failed + part_failed))
    skipped=$((skipped + part_skipped))
}

for name in "${wanted[@]}"; do
    run_group "$name"
done

echo
printf '%-12s %7s %7s %7s %7s %7s\n' group seconds budget passed failed skipped
printf '%s\n' "${table_lines[@]}"
echo "in all $SECONDS s, seed $SLUICE_SEED"
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
