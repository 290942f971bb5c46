#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# lint: the house rules that a program can judge. Each of them is one test; what breaks it is listed
# behind its "not ok" as FILE:LINE.
. "$(dirname "$0")/../lib.sh"

FILE_LINES_MAX=1000     # a file longer than that is refused
FUNCTION_LINES_MAX=120  # a function longer than that is refused
FUNCTION_LINES_ASKED=70 # a function longer than that is listed, so that somebody asks

cd "$TREE" || exit 1

# Everything that is or would be in the repository; the work tree alone when there is no git.
files() {
    git -c safe.directory='*' ls-files -z --cached --others --exclude-standard 2>/dev/null ||
        find . -path ./.git -prune -o -path ./build -prune -o -type f -printf '%P\0'
}

ALL=()
while IFS= read -r -d '' file; do
    [ -f "$file" ] && [ ! -L "$file" ] && ALL+=("$file")
done < <(files)

# The files among ALL that match one of the patterns.
matching() {
    local file pattern
    for file in "${ALL[@]}"; do
        for pattern in "$@"; do
            # shellcheck disable=SC2053 # it is a pattern
            if [[ $file == $pattern ]]; then
                printf '%s\n' "$file"
                break
            fi
        done
    done
}

scripts() {
    local file line
    for file in "${ALL[@]}"; do
        case $file in
        *.sh) echo "$file" ;;
        *.*/* | *.c | *.h | *.def | *.md | *.yaml | *.json | *.txt) [[ $file == .ci/* ]] && echo "$file" ;;
        *)
            IFS= read -r line <"$file" || true
            [[ $line =~ ^\#!.*sh$ ]] && echo "$file"
            ;;
        esac
    done 2>/dev/null
}

mapfile -t C_FILES < <(matching '*.c' '*.h')
mapfile -t SOURCES < <(matching '*.c' '*.h' '*.def' '*.sh' '*.py' '*.js')
mapfile -t SCRIPTS < <(scripts)
mapfile -t CORE < <(matching 'gateway/core/*' 'gateway/lifecycle/*' 'gateway/runners/*' 'gateway/wire/*' 'gateway/super/*')

# verdict NAME FOUND: nothing found is good.
verdict() {
    if [ -z "$2" ]; then
        ok "$1"
    else
        not_ok "$1" "$2"
    fi
}

formatted() {
    command -v clang-format >/dev/null || { echo "clang-format is not installed"; return; }
    # The first place of each file is enough: clang-format -i mends them all.
    printf '%s\0' "${C_FILES[@]}" | xargs -0 -P "$(nproc)" -n 64 clang-format --dry-run -Werror 2>&1 |
        grep -E '(error|warning):' | sort -t: -u -k1,1
}

scripts_checked() {
    command -v shellcheck >/dev/null || { echo "shellcheck is not installed"; return; }
    printf '%s\0' "${SCRIPTS[@]}" | xargs -0 -P "$(nproc)" -n 8 shellcheck -x -S warning -f gcc 2>&1
}

long_files() {
    local file lines
    for file in "${SOURCES[@]}"; do
        lines=$(wc -l <"$file")
        [ "$lines" -le "$FILE_LINES_MAX" ] || echo "$file: $lines lines"
    done
}

# FILE:LINE: NAME N lines, for each function of more than $1 lines. clang-format makes that simple: a
# function's head begins in the first column, its last line is a brace there.
long_functions() {
    awk -v max="$1" '
        FNR == 1 { head = ""; start = 0 }
        /^[A-Za-z_]/ { head = $0; head_line = FNR }
        start == 0 && /\) \{$/ && head != "" && head !~ /^(struct|enum|union|typedef)[^(]*\{/ && head !~ /;$/ {
            start = head_line
            name = head
            sub(/\(.*/, "", name)
            sub(/.*[ *]/, "", name)
        }
        start > 0 && /^}/ {
            lines = FNR - start + 1
            if (lines > max)
                printf "%s:%d: %s %d lines\n", FILENAME, start, name, lines
            start = 0
            head = ""
        }' "${C_FILES[@]}"
}

unlicensed() {
    local file
    for file in "${SOURCES[@]}" "${SCRIPTS[@]}"; do
        head -n 4 "$file" | grep -q 'SPDX-License-Identifier: Apache-2\.0\( \*/\)\?$' || echo "$file"
    done | sort -u
}

# Each of these has a bounded relative, or leaves our process to a shell.
banned_calls() {
    grep -nE '(^|[^A-Za-z0-9_])(strcpy|stpcpy|sprintf|vsprintf|strcat|atoi|atol|strtok|system|popen|alloca|gets)[[:space:]]*\(' \
        "${C_FILES[@]}" | grep -vE ':[0-9]+:[[:space:]]*(/?\*|//)'
}

# The words are put together here, so that this file does not have them.
unfinished() {
    local words="TO""DO|FIX""ME|XX""X|HA""CK"
    grep -InwE "$words" "${ALL[@]}"
}

own_machine() {
    local places="(^|[[:space:]\"'=:(])/wo""rk/|/tmp/b""-"
    grep -InE "$places" "${ALL[@]}"
}

# The core serves whatever driver there is; who names one there has put a special case in.
vendor_names() {
    [ ${#CORE[@]} -gt 0 ] || return 0
    local names='nfs|nfsv[0-9]|smb|smb[0-9]|cifs|samba|s3|iscsi|nvme|nvmeof|fibre|ceph|rbd|gluster|lustre|zfs|xfs|btrfs|lvm|drbd|linstor'
    names="$names|vmware|vsphere|hyper-?v|kvm|qemu|libvirt|xen|cloudstack|openstack|proxmox|netapp|ontap|emc|dell|powerflex|scaleio"
    names="$names|solidfire|purestorage|flasharray|storpool|hpe|3par|primera|hitachi|huawei|ibm|synology|minio|amazon|aws|azure|gcs|microsoft"
    grep -InEi "(^|[^A-Za-z])($names)([^A-Za-z0-9]|\$)" "${CORE[@]}"
}

# docs/ARCHITECTURE.md holds the table of who may use whom, between two marks:
#     <!-- may-use -->
#     | folder | may use |
#     |---|---|
#     | gateway/core | catalog, lifecycle, runners |
#     <!-- /may-use -->
# A folder is a path; what it may use are paths or their last parts; base is for everybody. A row of
# `drivers/<name>` is for each folder of drivers/ that has no row of its own. Judged are the includes
# of the form "folder/header.h" in gateway/, drivers/ and api/conform/.
forbidden_arrows() {
    local document=docs/ARCHITECTURE.md
    [ -f "$document" ] || { echo "$document is missing"; return; }
    grep -q '<!-- may-use -->' "$document" || { echo "$document has no may-use table"; return; }
    local judged
    mapfile -t judged < <(matching 'gateway/*/*.c' 'gateway/*/*.h' 'drivers/*/*.c' 'drivers/*/*.h' 'api/conform/*.[ch]')
    [ ${#judged[@]} -gt 0 ] || { echo "no sources to judge"; return; }
    awk '
        function last_part(path) { sub(/.*\//, "", path); return path }
        FNR == 1 && NR == 1 { document = FILENAME }
        FILENAME == document {
            if (/<!-- may-use -->/) inside = 1
            if (/<!-- \/may-use -->/) inside = 0
            if (!inside || !/^\|/ || /^\| *-/ || /^\|[-| :]*$/) next
            gsub(/`/, "")
            split($0, cell, "|")
            folder = cell[2]
            gsub(/^ +| +$/, "", folder)
            if (folder == "folder") next
            has_row[folder] = 1
            count = split(cell[3], uses, ",")
            for (i = 1; i <= count; i++) {
                use = uses[i]
                gsub(/^ +| +$/, "", use)
                sub(/ .*/, "", use)
                may[folder, last_part(use)] = 1
            }
            next
        }
        FNR == 1 {
            split(FILENAME, part, "/")
            folder = part[1] "/" part[2]
            row = folder
            if (!(row in has_row)) row = part[1] "/<name>"
            if (!(row in has_row)) {
                if (!(folder in told)) print FILENAME ": " folder " has no row in " document
                told[folder] = 1
            }
        }
        /^[ \t]*#[ \t]*include[ \t]*"[^"]*\/[^"]*"/ {
            target = $0
            sub(/^[^"]*"/, "", target)
            sub(/\/.*/, "", target)
            if (target == "base" || target == part[2] || (row, target) in may) next
            print FILENAME ":" FNR ": " folder " may not use " target
        }' "$document" "${judged[@]}"
}

verdict "C is formatted by .clang-format" "$(formatted)"
verdict "includes follow the may-use table" "$(forbidden_arrows)"
verdict "no file has more than $FILE_LINES_MAX lines" "$(long_files)"
verdict "no function has more than $FUNCTION_LINES_MAX lines" "$(long_functions "$FUNCTION_LINES_MAX")"
verdict "the core names no vendor and no protocol" "$(vendor_names)"
verdict "every source says its licence" "$(unlicensed)"
verdict "no banned function is called" "$(banned_calls)"
verdict "nothing is marked as unfinished" "$(unfinished)"
verdict "no path of a developer's machine" "$(own_machine)"
verdict "scripts pass shellcheck" "$(scripts_checked)"
verdict "the plots are those of docs/figures.json" "$(bench/plot.py --check docs/figures.json docs/plots 2>&1)"

asked=$(long_functions "$FUNCTION_LINES_ASKED")
[ -z "$asked" ] || printf '%s\n' "$asked" | sed "s/^/# longer than $FUNCTION_LINES_ASKED lines: /"

finish
