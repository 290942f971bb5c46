#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# symbols.sh list FOLDER CC       every public name of FOLDER/include, in the order of the headers
# symbols.sh compare FOLDER CC    the same, compared with the ledger FOLDER/SYMBOLS, and the structs
#                                 and members with the rows of layout.def
#
# A line is "macro NAME", "enum NAME", "enumerator NAME VALUE", "struct NAME", "member STRUCT.NAME" or
# "function NAME"; the ledger has the version behind it in which the name came. The order counts: a
# member is only ever appended, a number is never given twice.
set -eu

what=$1
folder=$2
cc=$3
include=$folder/include

list() {
    cat "$include"/sluice/{types,services,driver}.h |
        sed -n 's/^#define \(SLUICE_[A-Z0-9_]*\).*/macro \1/p' |
        grep -vE 'macro SLUICE_(TYPES_H|SERVICES_H|DRIVER_H|STATUS|CAP)$'
    # -P: no line marks, so the text is one stream; no struct of ours holds another's braces.
    echo '#include <sluice/driver.h>' | "$cc" -E -P -x c -I "$include" - | tr '\n\t' '  ' |
        sed 's/  */ /g; s/\(struct\|enum\) sluice_[a-z_]* {[^}]*}/\n&\n/g' |
        awk '
            /^(struct|enum) sluice_[a-z_]* {/ {
                kind = $1
                name = $2
                print kind, name
                sub(/^[^{]*{ */, "")
                sub(/ *}.*$/, "")
                rows = split($0, row, kind == "enum" ? " *, *" : " *; *")
                for (i = 1; i <= rows; i++) {
                    if (row[i] == "")
                        continue
                    if (kind == "enum") {
                        split(row[i], part, / *= */)
                        print "enumerator", part[1], part[2]
                    } else {
                        member = row[i]
                        if (match(member, /\(\*[a-z_]+\)/))
                            member = substr(member, RSTART + 2, RLENGTH - 3)
                        else {
                            sub(/\[.*$/, "", member)
                            sub(/^.*[ *]/, "", member)
                        }
                        print "member", name "." member
                    }
                }
                next
            }
            {
                while (match($0, /sluice_[a-z_]+\(void\)/)) {
                    found = substr($0, RSTART, RLENGTH - 6)
                    if (!(found in seen))
                        print "function", found
                    seen[found] = 1
                    $0 = substr($0, RSTART + RLENGTH)
                }
            }'
}

case $what in
list) list ;;
compare)
    # The last word of a ledger's line is a version; without it the line is what the headers say.
    if bad=$(grep -vE '^#|^$' "$folder/SYMBOLS" | grep -vE ' [0-9]+\.[0-9]+$'); then
        echo "lines of SYMBOLS without a version:"
        echo "$bad"
        exit 1
    fi
    diff <(grep -vE '^#|^$' "$folder/SYMBOLS" | sed 's/ [0-9]*\.[0-9]*$//') <(list) || {
        echo "api/driver/SYMBOLS (<) and the headers (>) differ: a name that is new goes into the"
        echo "ledger with its version; one that is gone or moved breaks drivers that were built"
        exit 1
    }
    rows='s/^LAYOUT_STRUCT(\([a-z_]*\), .*/struct \1/p; s/^LAYOUT_MEMBER(\([a-z_]*\), \([a-z_]*\), .*/member \1.\2/p'
    diff <(sed -n "$rows" "$(dirname "$0")/layout.def") <(list | grep -E '^(struct|member) ') || {
        echo "tests/abi/layout.def (<) and the headers (>) differ"
        exit 1
    }
    echo "$(list | wc -l) public names"
    ;;
*)
    sed -n '4,8p' "$0" >&2
    exit 2
    ;;
esac
