#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh: measures Sluice against a peer, in turn, on the same machine at the same time.
#
#     bench/run.sh [--quick] [--list] [--json FILE] [NAME...]
#
#   NAME      only benchmarks whose names begin so (default: all)
#   --quick   three short turns instead of five longer ones
#   --list    show the benchmarks and end
#   --json    write the rows to FILE as well, as an array of
#             {name, unit, ours, peer, peer_name, limit, goal, ratio, cpu, runs}
#
# Each turn measures ours, the peer and the machine's limit once; the figures are medians over the
# turns. A ratio is ours over the peer's, turned over for times: more is always better. The spread is
# the largest less the smallest, in percent of the median: a ratio that differs by less says nothing.
# cpu: seconds of processors for a million, of ours and of the peer, where a benchmark tells.
# docs/BENCHMARKS.md says what each row means.
#
# It installs what is missing and builds the release preset. With BUILD in the environment that build
# folder is used as it is. BENCH_DIR says on which disk to measure (default: the build folder).
set -euo pipefail

cd "$(dirname "$0")/.."

# name | unit | better | goal of the ratio (or -) | ours | name of the peer | peer | limit (or -)
#
# A command is a program of BUILD/bench or a script of bench/, and its arguments. It prints one number,
# perhaps a second one (seconds of processors for a million), and gets BENCH_SECONDS and BENCH_DIR.
table() {
    cat <<'ROWS'
machine_fdatasync         | 1/s   | more | - | machine_fdatasync overwrite rate | appends | machine_fdatasync append rate | -
machine_seqpacket         | 1/s   | more | - | machine_seqpacket one 128 1 rate | on two processors | machine_seqpacket two 128 1 rate | -
machine_http              | 1/s   | more | - | machine_http 600 load_http --connections 64 rate | one connection | machine_http 600 load_http rate | -
catalog_commit_1          | 1/s   | more | 0.75 | catalog_commit 1 rate | LMDB commits | machine_lmdb rate | machine_fdatasync overwrite rate
catalog_commit_1_p50      | us    | less | 0.75 | catalog_commit 1 p50  | LMDB commit | machine_lmdb p50 | machine_fdatasync overwrite p50
catalog_commit_1_disk     | 1/s   | more | - | catalog_commit 1 rate | fdatasync | machine_fdatasync overwrite rate | -
catalog_commit_64_disk    | 1/s   | more | 5 | catalog_commit 64 rate | fdatasync | machine_fdatasync overwrite rate | -
catalog_commit_64_lmdb    | 1/s   | more | 10 | catalog_commit 64 rate | LMDB commits | machine_lmdb rate | machine_fdatasync overwrite rate
catalog_store_get         | 1/s   | more | -    | catalog_scale 100000 get rate | 1,000 records | catalog_scale 1000 get rate | -
catalog_store_page        | 1/s   | more | -    | catalog_scale 100000 page rate | 1,000 records | catalog_scale 1000 page rate | -
catalog_store_open_p50    | us    | less | -    | catalog_scale 100000 open p50 | 1,000 records | catalog_scale 1000 open p50 | -
driver_call_one           | 1/s   | more | 0.5  | driver_call.sh one 1 get rate | SEQPACKET | machine_seqpacket one 128 1 rate | -
driver_call_two           | 1/s   | more | 0.5  | driver_call.sh two 1 get rate | SEQPACKET | machine_seqpacket two 128 1 rate | -
driver_call_pipelined     | 1/s   | more | 1    | driver_call.sh two 64 get rate | 100,000 a second | echo 100000 | machine_seqpacket two 128 64 rate
ring_call_asleep_p50      | us    | less | -    | ring_call asleep 1 p50 | socket call | ring_call nothing 1 p50 | ring_call memcpy 1 p50
ring_call_one_p50         | us    | less | 1    | ring_call ring 1 p50 | socket call | ring_call nothing 1 p50 | ring_call memcpy 1 p50
ring_call_one             | 1/s   | more | 1    | ring_call ring 1 rate | socket calls | ring_call nothing 1 rate | ring_call memcpy 1 rate
ring_call_32              | 1/s   | more | 1    | ring_call ring 32 rate | socket calls | ring_call nothing 32 rate | ring_call memcpy 1 rate
nbd_posix_4k_qd1_read      | 1/s   | more | 1.5  | nbd.sh ours 4k_qd1 read rate | the better server | nbd.sh peer 4k_qd1 read rate | -
nbd_posix_4k_qd1_write     | 1/s   | more | 1.5  | nbd.sh ours 4k_qd1 write rate | the better server | nbd.sh peer 4k_qd1 write rate | -
nbd_posix_4k_qd32_read     | 1/s   | more | 1.2  | nbd.sh ours 4k_qd32 read rate | the better server | nbd.sh peer 4k_qd32 read rate | -
nbd_posix_4k_qd32_write    | 1/s   | more | 1.2  | nbd.sh ours 4k_qd32 write rate | the better server | nbd.sh peer 4k_qd32 write rate | -
nbd_posix_1m_read          | 1/s   | more | 1    | nbd.sh ours 1m read rate | the better server | nbd.sh peer 1m read rate | -
nbd_posix_1m_write         | 1/s   | more | 1    | nbd.sh ours 1m write rate | the better server | nbd.sh peer 1m write rate | -
nbd_posix_cold_qd32_read   | 1/s   | more | 1    | nbd.sh ours cold_qd32 read rate | the better server | nbd.sh peer cold_qd32 read rate | -
nbd_posix_cold_qd32_write  | 1/s   | more | 1    | nbd.sh ours cold_qd32 write rate | the better server | nbd.sh peer cold_qd32 write rate | -
nbd_busy_4k_qd1_read       | 1/s   | more | 0.9  | nbd.sh ours busy_4k_qd1 read rate | the better server | nbd.sh peer busy_4k_qd1 read rate | -
nbd_busy_4k_qd1_write      | 1/s   | more | 0.9  | nbd.sh ours busy_4k_qd1 write rate | the better server | nbd.sh peer busy_4k_qd1 write rate | -
nbd_busy_4k_qd32_read      | 1/s   | more | 0.9  | nbd.sh ours busy_4k_qd32 read rate | the better server | nbd.sh peer busy_4k_qd32 read rate | -
nbd_busy_4k_qd32_write     | 1/s   | more | 0.9  | nbd.sh ours busy_4k_qd32 write rate | the better server | nbd.sh peer busy_4k_qd32 write rate | -
nbd_nospin_4k_qd1_read     | 1/s   | more | -    | nbd.sh ours nospin_4k_qd1 read rate | the better server | nbd.sh peer nospin_4k_qd1 read rate | -
nbd_nospin_4k_qd1_write    | 1/s   | more | -    | nbd.sh ours nospin_4k_qd1 write rate | the better server | nbd.sh peer nospin_4k_qd1 write rate | -
nbd_nospin_4k_qd32_read    | 1/s   | more | -    | nbd.sh ours nospin_4k_qd32 read rate | the better server | nbd.sh peer nospin_4k_qd32 read rate | -
nbd_nospin_4k_qd32_write   | 1/s   | more | -    | nbd.sh ours nospin_4k_qd32 write rate | the better server | nbd.sh peer nospin_4k_qd32 write rate | -
nbd_posix_1000_cpu        | s/M   | less | 0.83 | nbd.sh ours 4k_1000 read cpu | nbdkit | nbd.sh peer 4k_1000 read cpu | -
nbd_posix_idle_cpu        | s/h   | less | -    | nbd.sh ours 4k_qd1 read idle | 1 s an hour | echo 1 | -
snapshot_scale_posix      | us    | less | 0.67 | snapshot_scale posix 8192 snapshot p50 | 1 GiB | snapshot_scale posix 1 snapshot p50 | -
snapshot_scale_posix_clone | us   | less | 0.67 | snapshot_scale posix 8192 clone p50 | 1 GiB | snapshot_scale posix 1 clone p50 | -
snapshot_scale_posix_write | us   | less | 0.67 | snapshot_scale posix 8192 write p50 | 1 GiB | snapshot_scale posix 1 write p50 | -
driver_nfs_seq_read           | 1/s   | more | 0.85 | driver_nfs.sh ours qcow2 seq_read rate | libnfs alone | driver_nfs.sh raw seq_read rate | -
driver_nfs_seq_write          | 1/s   | more | 0.85 | driver_nfs.sh ours qcow2 seq_write rate | libnfs alone | driver_nfs.sh raw seq_write rate | -
driver_nfs_4k_read            | 1/s   | more | 0.7  | driver_nfs.sh ours qcow2 4k_read rate | libnfs alone | driver_nfs.sh raw 4k_read rate | -
driver_nfs_4k_write           | 1/s   | more | 0.7  | driver_nfs.sh ours qcow2 4k_write rate | libnfs alone | driver_nfs.sh raw 4k_write rate | -
qcow2_nfs_seq_read            | 1/s   | more | 0.8  | driver_nfs.sh ours qcow2 seq_read rate | raw volume | driver_nfs.sh ours raw seq_read rate | -
qcow2_nfs_seq_write           | 1/s   | more | 0.8  | driver_nfs.sh ours qcow2 seq_write rate | raw volume | driver_nfs.sh ours raw seq_write rate | -
qcow2_nfs_4k_read             | 1/s   | more | 0.8  | driver_nfs.sh ours qcow2 4k_read rate | raw volume | driver_nfs.sh ours raw 4k_read rate | -
qcow2_nfs_4k_write            | 1/s   | more | 0.8  | driver_nfs.sh ours qcow2 4k_write rate | raw volume | driver_nfs.sh ours raw 4k_write rate | -
nbd_nfs_qd1_read              | 1/s   | more | 0.9  | nbd_nfs.sh ours qd1 read rate | qemu-nbd | nbd_nfs.sh peer qd1 read rate | -
nbd_nfs_qd1_write             | 1/s   | more | 0.9  | nbd_nfs.sh ours qd1 write rate | qemu-nbd | nbd_nfs.sh peer qd1 write rate | -
nbd_nfs_qd32_read             | 1/s   | more | 1.3  | nbd_nfs.sh ours qd32 read rate | qemu-nbd | nbd_nfs.sh peer qd32 read rate | -
nbd_nfs_qd32_write            | 1/s   | more | 1.3  | nbd_nfs.sh ours qd32 write rate | qemu-nbd | nbd_nfs.sh peer qd32 write rate | -
nbd_nfs_1m_read               | 1/s   | more | 1.3  | nbd_nfs.sh ours 1m read rate | qemu-nbd | nbd_nfs.sh peer 1m read rate | -
nbd_nfs_1m_write              | 1/s   | more | 1.3  | nbd_nfs.sh ours 1m write rate | qemu-nbd | nbd_nfs.sh peer 1m write rate | -
api_get                   | 1/s   | more | 0.6  | api_get.sh ours 64 rate | libmicrohttpd | api_get.sh bare 64 rate | -
api_create_64             | 1/s   | more | 0.5  | api_create.sh 64 rate | fdatasync | machine_fdatasync overwrite rate | -
api_create_1_p50          | us    | less | 0.4  | api_create.sh 1 p50 | LMDB commit | machine_lmdb p50 | machine_fdatasync overwrite p50
catalog_scale_get         | 1/s   | more | 0.67 | api_scale.sh 100000 get rate | 1,000 volumes | api_scale.sh 1000 get rate | -
catalog_scale_page        | 1/s   | more | 0.67 | api_scale.sh 100000 page rate | 1,000 volumes | api_scale.sh 1000 page rate | -
catalog_scale_restart     | ms    | less | -    | api_scale.sh 100000 restart | 1,000 volumes | api_scale.sh 1000 restart | -
catalog_scale_memory      | KiB   | less | -    | api_scale.sh 100000 memory | 1,000 volumes | api_scale.sh 1000 memory | -
idle_sluiced              | KiB   | less | 1    | idle_memory.sh sluiced | 16 MiB | echo 16384 | -
idle_runner               | KiB   | less | 1    | idle_memory.sh runner | 8 MiB | echo 8192 | -
ROWS
}

turns=5
seconds=5
json=
list=0
wanted=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick)
        turns=3
        seconds=1.5
        ;;
    --list) list=1 ;;
    --json)
        json=${2:?--json wants a file}
        shift
        ;;
    -h | --help)
        sed -n '/^# run.sh:/,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'
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

# Spaces around the columns are for people.
trim() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    printf '%s' "${text%"${text##*[![:space:]]}"}"
}

is_wanted() {
    [ ${#wanted[@]} -gt 0 ] || return 0
    local prefix
    for prefix in "${wanted[@]}"; do
        [[ $1 == "$prefix"* ]] && return 0
    done
    return 1
}

rows=()
while IFS= read -r row; do
    if is_wanted "$(trim "${row%%|*}")"; then
        rows+=("$row")
    fi
done < <(table)
if [ ${#rows[@]} -eq 0 ]; then
    echo "no benchmark begins with ${wanted[*]}; --list shows them" >&2
    exit 2
fi
if [ "$list" = 1 ]; then
    printf '%s\n' "${rows[@]}"
    exit 0
fi

conf/install.sh
if [ -z "${BUILD-}" ]; then
    BUILD=$PWD/build/release
    build() { cmake --preset release && cmake --build --preset release --target bench; }
    if ! said=$(build 2>&1); then
        printf '%s\n' "$said" | grep -v '^\[' | tail -n 40 >&2
        echo "the release preset does not build" >&2
        exit 1
    fi
fi
export BUILD

temp=$(mktemp -d "${BENCH_DIR:-$BUILD}/bench-run.XXXXXX")
chmod 711 "$temp" # runners have accounts of their own
trap 'rm -rf "$temp"' EXIT
trap 'exit 130' INT TERM
export BENCH_DIR=$temp BENCH_SECONDS=$seconds
export PATH="$BUILD/bench:$PWD/bench:$PATH"

# measure WORD...: what the command says: its number, and perhaps that of processors.
measure() {
    local said number='[0-9]+(\.[0-9]+)?(e-?[0-9]+)?'
    if ! said=$("$@") || ! [[ $said =~ ^$number( $number)?$ ]]; then
        echo "$* did not give a number: $said" >&2
        return 1
    fi
    echo "$said"
}

# The median of the arguments, then the spread in percent of it.
summary() {
    printf '%s\n' "$@" | sort -n | awk '
        { value[NR] = $1 }
        END {
            median = NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2
            printf "%.2f %.0f\n", median, (median > 0 ? (value[NR] - value[1]) * 100 / median : 0)
        }'
}

numbers() { (
    IFS=,
    echo "[$*]"
); }

quoted() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

failed=0
objects=()
run_row() {
    local name unit better goal ours peer_name peer limit ours_runs=() peer_runs=() limit_runs=() turn said
    local ours_cpu=() peer_cpu=() cpu_ours cpu_peer cpu=null cpu_text=
    IFS='|' read -r name unit better goal ours peer_name peer limit <<<"$1"
    name=$(trim "$name") unit=$(trim "$unit") better=$(trim "$better") goal=$(trim "$goal")
    peer_name=$(trim "$peer_name") limit=$(trim "$limit")
    for ((turn = 0; turn < turns; turn++)); do
        # shellcheck disable=SC2086 # commands are words
        said=$(measure $ours) || return 1
        ours_runs+=("${said% *}") && [ "$said" = "${said% *}" ] || ours_cpu+=("${said#* }")
        # shellcheck disable=SC2086
        said=$(measure $peer) || return 1
        peer_runs+=("${said% *}") && [ "$said" = "${said% *}" ] || peer_cpu+=("${said#* }")
        if [ "$limit" != - ]; then
            # shellcheck disable=SC2086
            limit_runs+=("$(measure $limit)") || return 1
        fi
    done
    local ours_median ours_spread peer_median peer_spread limit_median=null ratio verdict=
    read -r ours_median ours_spread < <(summary "${ours_runs[@]}")
    read -r peer_median peer_spread < <(summary "${peer_runs[@]}")
    [ "$limit" = - ] || read -r limit_median _ < <(summary "${limit_runs[@]}")
    # Nothing at all is no number of times less than something.
    ratio=$(awk -v a="$ours_median" -v b="$peer_median" -v better="$better" \
        'BEGIN { less = better == "more" ? b : a; if (less > 0) printf "%.3f", (better == "more" ? a / b : b / a); else print "null" }')
    if [ "$goal" = - ]; then
        goal=null
    elif [ "$ratio" != null ] && awk -v ratio="$ratio" -v goal="$goal" 'BEGIN { exit !(ratio < goal) }'; then
        verdict="below $goal"
    fi
    if [ ${#ours_cpu[@]} -gt 0 ] && [ ${#peer_cpu[@]} -gt 0 ]; then
        read -r cpu_ours _ < <(summary "${ours_cpu[@]}")
        read -r cpu_peer _ < <(summary "${peer_cpu[@]}")
        cpu="{\"ours\":$cpu_ours,\"peer\":$cpu_peer}"
        cpu_text=", $cpu_ours and $cpu_peer s of processors a million"
    fi
    printf '%-29s %5s %12s %4s%% %12s %4s%% %12s %8s  %s\n' "$name" "$unit" "$ours_median" "$ours_spread" \
        "$peer_median" "$peer_spread" "${limit_median/null/-}" "${ratio/null/-}" "$peer_name${verdict:+ ($verdict)}$cpu_text"
    objects+=("{\"name\":$(quoted "$name"),\"unit\":$(quoted "$unit"),\"ours\":$ours_median,\"peer\":$peer_median,\
\"peer_name\":$(quoted "$peer_name"),\"limit\":$limit_median,\"goal\":$goal,\"ratio\":$ratio,\"cpu\":$cpu,\
\"runs\":{\"ours\":$(numbers "${ours_runs[@]}"),\"peer\":$(numbers "${peer_runs[@]}"),\
\"limit\":$(numbers ${limit_runs[@]+"${limit_runs[@]}"})}}")
}

processor=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
echo "$(nproc) x $processor, Linux $(uname -r), $(stat -f -c %T "$temp"), $turns turns of $seconds s"
printf '%-29s %5s %12s %5s %12s %5s %12s %8s  %s\n' name unit ours '' peer '' limit ratio 'peer is'
for row in "${rows[@]}"; do
    if ! run_row "$row"; then
        echo "$(trim "${row%%|*}") has failed"
        failed=$((failed + 1))
    fi
done

if [ -n "$json" ]; then
    {
        echo '['
        for ((i = 0; i < ${#objects[@]}; i++)); do
            [ "$i" -eq $((${#objects[@]} - 1)) ] && comma= || comma=,
            echo "${objects[i]}$comma"
        done
        echo ']'
    } >"$json"
fi
[ "$failed" -eq 0 ]
