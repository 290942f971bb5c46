# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# archive.sh: makes driver archives for tests. Sourced after lib.sh.
#
#   tiny_archive DIRECTORY NAME VERSION CATEGORY [REQUIRES]
#       an archive DIRECTORY/NAME-VERSION of tiny.c; REQUIRES is YAML, as '{name: base, version: "*"}'.
#       With TINY_FAILS=1 it does not start; with TINY_ABI=NUMBER its library says another ABI, and
#       with TINY_ABI_TEXT its driver.yaml does.
#   ram_archive DIRECTORY VERSION [EXTRA]
#       the ram driver as another version; EXTRA is added to its properties, as YAML.

TINY_SOURCE=$TREE/tests/drivers/tiny/tiny.c
TINY_INCLUDE=$TREE/api/driver/include

compile_driver() { # OUTPUT SOURCE... -- FLAG...
    local output=$1 sources=()
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        sources+=("$1")
        shift
    done
    [ $# -eq 0 ] || shift
    "${CC:-cc}" -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared -fvisibility=hidden -I "$TINY_INCLUDE" "$@" \
        -o "$output" "${sources[@]}"
}

tiny_archive() {
    local root=$1/$2-$3 number=2
    [ "$4" = hypervisor ] && number=3
    [ "$4" = network ] && number=1
    mkdir -p "$root/META-INF" "$root/driver"
    {
        echo "schema: 1"
        echo "name: $2"
        echo "version: $3"
        echo "category: $4"
        echo "abi: \"${TINY_ABI_TEXT:-0.1}\""
        echo "vendor: Tests"
        echo "license: Apache-2.0"
        echo "library: $2.so"
        echo "label: driver.label"
        echo "description: driver.description"
        [ -z "${5-}" ] || printf 'requires:\n  - %s\n' "$5"
    } >"$root/META-INF/driver.yaml"
    compile_driver "$root/driver/$2.so" "$TINY_SOURCE" -- "-DTINY_NAME=\"$2\"" "-DTINY_VERSION=\"$3\"" \
        "-DTINY_CATEGORY=$number" "-DTINY_ABI=${TINY_ABI:-SLUICE_ABI}" "-DTINY_FAILS=${TINY_FAILS:-0}" ||
        die "a tiny driver can be compiled"
    chmod -R go-w "$root"
}

ram_archive() {
    local root=$1/ram-$2 from=$TREE/api/driver/example changed=$1/ram-source-$2
    mkdir -p "$root/META-INF" "$root/driver" "$changed"
    sed "s/\.version = \"[^\"]*\"/.version = \"$2\"/" "$from/ram.c" >"$changed/ram.c"
    grep -q "\.version = \"$2\"" "$changed/ram.c" || die "the ram driver says its version in ram.c"
    compile_driver "$root/driver/ram.so" "$changed/ram.c" "$from"/{backing,blocks,disks,io}.c -- -I "$from" ||
        die "the ram driver can be compiled"
    rm -r "$changed"
    sed "s/^version: .*/version: $2/" "$from/driver.yaml" >"$root/META-INF/driver.yaml"
    if [ -n "${3-}" ]; then
        awk -v extra="$3" '{ print } /^properties:/ { print extra }' "$root/META-INF/driver.yaml" >"$root/new"
        mv "$root/new" "$root/META-INF/driver.yaml"
    fi
    cp -R "$from/resources" "$root/resources"
    chmod -R go-w "$root"
}
