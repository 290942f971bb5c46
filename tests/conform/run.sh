#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# conform: our own drivers pass the conformance kit, the kit finds planted faults (faults.py), and its
# command line does what its help says.
. "$(dirname "$0")/../lib.sh"

KIT=$BUILD/bin/sluice-conform
STEPS=100 # of the model's walk; five times the kills
[ "$SLUICE_FULL" = 1 ] && STEPS=2000

# passes NAME DRIVER PROPERTY...: every test of the kit is one of ours.
passes() {
    local name=$1 driver=$2 status
    shift 2
    timeout 300 "$KIT" --seed "$SLUICE_SEED" --steps "$STEPS" --junit "$TEMP/$name.xml" "$driver" "$@" \
        >"$TEMP/$name.tap" 2>"$TEMP/$name.err"
    status=$?
    # What a driver cannot do by its capabilities is no test that is missing.
    grep -v ' # SKIP ' "$TEMP/$name.tap" | sed -n "s/^\(not ok\|ok\) [0-9]* - /\1 - $name: /p"
    PASSED=$((PASSED + $(grep '^ok' "$TEMP/$name.tap" | grep -vc ' # SKIP ')))
    FAILED=$((FAILED + $(grep -c '^not ok' "$TEMP/$name.tap")))
    grep '^  \|^# .*passed' "$TEMP/$name.tap" | sed 's/^#* */# /'
    sed -n 's/^ok.*# SKIP /# left out: /p' "$TEMP/$name.tap" | sort | uniq -c | sed 's/^ *\([0-9]*\) # \(.*\)/# \2 (\1)/'
    if [ "$status" -eq 0 ]; then
        ok "$name passes the kit"
    else
        not_ok "$name passes the kit" "it ended with $status" "$(cat "$TEMP/$name.err")"
    fi
    check "$name: nothing is left in its place" test -z "$(find "$TEMP/$name" -type f)"
}

mkdir "$TEMP/ram" "$TEMP/posix" "$TEMP/second" "$TEMP/memory" "$TEMP/notebook"
passes notebook "$BUILD/tests/abi-drivers/notebook.so" # the guide's
passes memory "$BUILD/drivers/ram-0.1.0"
passes ram "$BUILD/drivers/ram-0.1.0" backing="$TEMP/ram"
passes posix "$BUILD/drivers/posix-0.1.0" path="$TEMP/posix" --second path="$TEMP/second"

check "JUnit names each test" test "$(grep -c '<testcase ' "$TEMP/ram.xml")" = "$("$KIT" --list | wc -l)"
check "JUnit is XML" python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$TEMP/ram.xml"

# ends NAME STATUS WORDS COMMAND...: with that status, saying these words.
ends() {
    local name=$1 wanted=$2 words=$3 said status
    shift 3
    said=$(timeout 60 "$@" 2>&1)
    status=$?
    if [ "$status" -eq "$wanted" ] && [[ $said == *"$words"* ]]; then
        ok "$name"
    else
        not_ok "$name" "it ended with $status, wanted is $wanted and \"$words\":" "$said"
    fi
}

check "docs/CONFORMANCE.md is what --manual prints (ninja docs makes it)" \
    diff "$TREE/docs/CONFORMANCE.md" <("$KIT" --manual)
POSIX=$BUILD/drivers/posix-0.1.0
ends "--help tells the options" 0 "--identity NAME=VALUE" "$KIT" --help
ends "no driver is wrong use" 2 "which driver?" "$KIT"
ends "an unknown test is wrong use" 2 "no test or group data.nosuch" "$KIT" --only data.nosuch "$POSIX" path=/
ends "driver.yaml judges the properties" 2 "driver.yaml refuses" "$KIT" "$POSIX" pth=/x
ends "a place that is not there is no place to test" 2 "cannot be tested here" "$KIT" "$POSIX" path="$TEMP/none"
ends "a library that is none" 1 "not ok 1 - kit.begins" "$KIT" "$0"
ends "a library alone is tested too" 0 "1 passed" "$KIT" --only volume.lists "$POSIX/driver/posix.so" path="$TEMP/posix"

python3 -B "$(dirname "$0")/faults.py" >"$TEMP/faults" 2>&1
cat "$TEMP/faults"
PASSED=$((PASSED + $(grep -c '^ok' "$TEMP/faults")))
FAILED=$((FAILED + $(grep -c '^not ok' "$TEMP/faults")))
check "the faults were planted" grep -q '^ok' "$TEMP/faults"
finish
