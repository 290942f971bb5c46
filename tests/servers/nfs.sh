#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# nfs.sh - an NFS server in user space (nfs-ganesha over the VFS; v3 and v4, TCP) on 127.0.0.1.
#
#   nfs.sh start STATE [PORT]      NFS on PORT (default 12049, or the one of the last start), MOUNT on
#                                  PORT+1; idempotent. After a kill or a stop, and without NFS_EXPORTS,
#                                  it exports the same again with the same handles
#   nfs.sh stop STATE
#   nfs.sh kill STATE              as a crash would: SIGKILL, and nothing is written back
#   nfs.sh status STATE
#   nfs.sh exec STATE COMMAND...   runs COMMAND where a server started with NFS_NETNS is
#
# Packages: nfs-ganesha nfs-ganesha-vfs rpcbind. Needs root.
# Reach it: nfs://127.0.0.1/export?nfsport=PORT&mountport=PORT+1 for libnfs; a kernel mounts it with
#   -o vers=3,port=PORT,mountport=PORT+1,tcp,nolock
# Environment of start:
#   NFS_EXPORTS    more exports beside /export (STATE/export): "NAME=PATH[,OPTION]... ...". Options:
#                  root_squash, all_squash (else nobody is squashed), ro, secure (ports below 1024 only)
#   NFS_NETNS      "yes": in a network namespace of its own, with rpcbind on port 111 there, for
#                  clients that cannot be told the ports (qemu's nfs: driver); run them by exec
# What is peculiar, and what is done about it:
#   - ganesha ends when it cannot register v3 with an rpcbind. It gets one of its own: both have a
#     private /run with rpcbind's socket in it, and rpcbind a network namespace of its own, so that
#     nothing listens on port 111 and several servers run side by side.
#   - rpcbind on the host itself would listen on 0.0.0.0:111 whatever it is told, hence NFS_NETNS.
#   - There is no lock manager: locks do not work over v3.
#   - A btrfs subvolume must be a mount of its own to be exported.
#   - Complaints about D-Bus and Kerberos in ganesha.log mean nothing here.
set -u
. "$(dirname "$(readlink -f "$0")")/common.sh"

# export_block ID NAME PATH[,OPTION]...
export_block() {
    local path=${3%%,*} squash=No_Root_Squash access=RW secure=false
    case ",$3," in *,root_squash,*) squash=Root_Squash ;; *,all_squash,*) squash=All_Squash ;; esac
    case ",$3," in *,ro,*) access=RO ;; esac
    case ",$3," in *,secure,*) secure=true ;; esac
    mkdir -p "$path"
    cat <<CONF
EXPORT {
    Export_Id = $1;
    Path = $path;
    Pseudo = /$2;
    Access_Type = $access;
    Squash = $squash;
    PrivilegedPort = $secure;
    Anonymous_Uid = 65534;
    Anonymous_Gid = 65534;
    SecType = sys;
    Protocols = 3, 4;
    Transports = TCP;
    FSAL { Name = VFS; }
}
CONF
}

write_conf() {
    cat <<CONF
NFS_CORE_PARAM {
    NFS_Port = $PORT;
    MNT_Port = $((PORT + 1));
    $BIND
    Protocols = 3, 4;
    Enable_UDP = false;
    Enable_NLM = false;
    Enable_RQUOTA = false;
    mount_path_pseudo = true;
    Clustered = false;
}
NFSv4 {
    RecoveryBackend = fs;
    RecoveryRoot = $STATE/recovery;
    Graceless = true;
    Lease_Lifetime = 15;
    Only_Numeric_Owners = true;
    Minor_Versions = 0, 1, 2;
}
NFS_KRB5 { Active_krb5 = false; }
LOG { Default_Log_Level = EVENT; }
CONF
    export_block 1 export "$STATE/export"
    local one id=2
    for one in ${NFS_EXPORTS:-}; do
        export_block $id "${one%%=*}" "${one#*=}"
        id=$((id + 1))
    done
}

# Runs in the new mount namespace: a private /run, rpcbind, then ganesha.
# shellcheck disable=SC2016 # it is expanded by the shell that runs it
RUN='
mount -t tmpfs -o mode=755 tmpfs /run || exit 1
if [ "$1" = yes ]; then ip link set lo up; rpcbind -f -w & else unshare --net rpcbind -f -w & fi
for i in $(seq 100); do [ -S /run/rpcbind.sock ] && break; sleep 0.05; done
exec ganesha.nfsd -F -f "$0/ganesha.conf" -L "$0/ganesha.log" -p /run/ganesha.pid'

# From here on NS runs a command in the server's network namespace.
enter_netns() {
    local pid
    read -r pid _ <"$STATE/ganesha.pid"
    until [ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
        alive ganesha || die "ganesha exited: see $STATE/ganesha.log"
        sleep 0.05
    done
    NS=(nsenter -t "$pid" --net)
}

start() {
    need ganesha.nfsd "nfs-ganesha nfs-ganesha-vfs"
    need rpcbind rpcbind
    [ "$(id -u)" = 0 ] || die "needs root"
    if alive ganesha; then
        show
        return
    fi
    [ "$NETNS" = yes ] || { claim_port "$PORT"; claim_port $((PORT + 1)); }
    mkdir -p "$STATE/recovery"
    echo "$PORT" >"$STATE/reach"
    if [ -n "${NFS_EXPORTS+set}" ] || [ ! -e "$STATE/ganesha.conf" ]; then
        write_conf >"$STATE/ganesha.conf"
    fi
    local net=
    [ "$NETNS" = no ] || net=--net
    # shellcheck disable=SC2086 # no word where there is no namespace
    start_bg ganesha unshare --mount $net --propagation private bash -c "$RUN" "$STATE" "$NETNS"
    [ "$NETNS" = no ] || enter_netns
    wait_port ganesha "$PORT" 30
    wait_port ganesha $((PORT + 1)) 10
    show
}

crash() {
    local pids
    alive ganesha || die "not running"
    pids=$(members ganesha) # rpcbind too
    # shellcheck disable=SC2086 # each is a word
    kill -KILL $pids 2>/dev/null
    stop_bg ganesha
}

show() {
    local port
    read -r port <"$STATE/reach"
    echo "nfs://127.0.0.1/export?nfsport=$port&mountport=$((port + 1))"
}

NETNS=${NFS_NETNS:-no}
# Where lo is alone, getaddrinfo(AI_ADDRCONFIG) knows no address and Bind_addr fails.
BIND="Bind_addr = 127.0.0.1;"
[ "$NETNS" = no ] || BIND=
case ${1:-} in
start)  state_dir "${2:-}"; PORT=${3:-$(cat "$STATE/reach" 2>/dev/null || echo 12049)}; start ;;
stop)   state_dir "${2:-}"; stop_bg ganesha ;;
kill)   state_dir "${2:-}"; crash ;;
status) state_dir "${2:-}"; alive ganesha && show || { echo "not running"; exit 1; } ;;
exec)   state_dir "${2:-}"; shift 2; alive ganesha || die "not running"; enter_netns; exec "${NS[@]}" "$@" ;;
*)      die "usage: $(basename "$0") start STATE [PORT] | stop STATE | kill STATE | status STATE | exec STATE COMMAND..." ;;
esac
