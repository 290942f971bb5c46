#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tls: attachments over TCP: who may open them, by the tools that hosts use, and that a client notices
# nothing but time when the runner and the gateway are killed under it.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../gateway.sh"

CLIENT_UID=64003
WORK_S=5
[ "$SLUICE_FULL" -eq 0 ] || WORK_S=30
for tool in certtool nbdinfo nbdcopy nbdsh qemu-img; do
    command -v "$tool" >/dev/null || { skip "everything" "no $tool"; finish; }
done

# ---- certificates ----------------------------------------------------------------------------------

# sign FOLDER NAME CA LINE...: NAME-key.pem and NAME-cert.pem in FOLDER, by CA or, "-", by itself. KEY says of what
# kind the key is.
KEY=(--key-type ecdsa)
sign() {
    local folder=$1 name=$2 ca=$3
    shift 3
    printf '%s\n' "cn = $name" "expiration_days = 2" "$@" >"$folder/$name.template"
    certtool --generate-privkey "${KEY[@]}" --outfile "$folder/$name-key.pem" 2>/dev/null
    if [ "$ca" = - ]; then
        certtool --generate-self-signed --load-privkey "$folder/$name-key.pem" --template "$folder/$name.template" \
            --outfile "$folder/$name-cert.pem" 2>/dev/null
    else
        certtool --generate-certificate --load-privkey "$folder/$name-key.pem" --load-ca-certificate "$ca-cert.pem" \
            --load-ca-privkey "$ca-key.pem" --template "$folder/$name.template" --outfile "$folder/$name-cert.pem" 2>/dev/null
    fi || die "a certificate for $name"
}

# client_folder NAME CA: as libnbd and qemu want it.
client_folder() {
    mkdir -p "$TLS/$1"
    sign "$TLS/$1" client "$2" tls_www_client signing_key
    cp "$TLS/ca-cert.pem" "$TLS/$1/"
}
digest() { certtool --fingerprint --hash sha256 --infile "$TLS/$1/client-cert.pem"; }

TLS=$TEMP/tls
mkdir -p "$TLS/server" "$TLS/none"
sign "$TLS" ca - ca cert_signing_key
sign "$TLS/server" server "$TLS/ca" "ip_address = 127.0.0.1" "dns_name = localhost" tls_www_server signing_key encryption_key
client_folder alice "$TLS/ca"
KEY=(--key-type ed25519)
client_folder mallory "$TLS/ca"
KEY=(--key-type rsa --bits 2048)
client_folder loner -
cp "$TLS/ca-cert.pem" "$TLS/none/"

# ---- the gateway -----------------------------------------------------------------------------------

gateway_new tls
free_port || die "a port"
NBD_PORT=$PORT
PORT=${GATEWAY_PORT[$GATEWAY]}
DOOR=(--nbd-listen "127.0.0.1:$NBD_PORT" --nbd-certificate "$TLS/server/server-cert.pem" --nbd-key "$TLS/server/server-key.pem")
gateway_start "${DOOR[@]}"
directory=$(pool_directory pool)
s pool create p --driver posix --set "path=$directory" --uid "$UID_LOW" || die "a pool" "$SAID"
for volume in disk other third; do
    s volume create "$volume" --pool p --size 64M || die "a volume" "$SAID"
done
ALICE=$(digest alice)
s host create alice --identity "certificate=$(digest loner),$ALICE"
s host create mallory --identity "certificate=$(digest mallory | tr a-f A-F | sed 's/../&:/g; s/:$//')"
s host create both --identity "certificate=$ALICE" --identity "uid=$(id -u)"
s host create wrong --identity "certificate=${ALICE%??}"
s host create nobody

s volume attach p:disk alice --protocol nbd || die "attached over TLS" "$SAID"
ATTACHMENT=$(get .id)
is "its uri is that of TLS" "nbds://127.0.0.1:$NBD_PORT/$ATTACHMENT" "$(get .connection.uri)"
is "and once more by its name" "$(get .connection.uri)" "$(get .connection.tls_uri)"
is "the certificates are told" "$(digest loner),$ALICE" "$(get .connection.certificate)"
is "there is no Unix socket" "null 0" "$(get .connection.path) $(find "$GATEWAY/run/nbd" -name '*.sock' | wc -l)"
has "the note says who may" "certificate" "$(get .note)"
URI=$(get .connection.uri)
s volume attach p:other mallory --protocol nbd || die "attached by a digest with colons" "$SAID"
OTHER=$(get .connection.uri)

s volume attach p:other wrong --protocol nbd && not_ok "a digest that is too short is refused" "$SAID"
has "a digest that is too short is refused" "64 hexadecimal digits" "$SAID"
s volume attach p:other nobody --protocol nbd && not_ok "a host without identities is refused" "$SAID"
has "and it is said what to give it" "certificate (over TLS" "$SAID"

# ---- the tools that hosts use ----------------------------------------------------------------------

# as_client NAME URI: the URI with NAME's certificates.
as_client() { echo "$2?tls-certificates=$TLS/$1"; }
opens() { timeout 20 nbdinfo --size "$(as_client "$1" "$2")" 2>&1; }
refused() { opens "$@" | grep -v '^[0-9]*$' | head -n 1; }
MINE=$(as_client alice "$URI")

is "nbdinfo" 67108864 "$(opens alice "$URI")"
is "a certificate that nobody signed but itself, as long as it is named" 67108864 "$(opens loner "$URI")"
has "base:allocation" "base:allocation" "$(timeout 20 nbdinfo "$MINE")"
is "many connections" true "$(timeout 20 nbdinfo --can multi-conn "$MINE" && echo true)"
head -c 64M /dev/urandom >"$GATEWAY/random"
check "nbdcopy there" timeout 30 nbdcopy "$GATEWAY/random" "$MINE"
check "nbdcopy back" timeout 30 nbdcopy "$MINE" "$GATEWAY/back"
check "and it is the same" cmp "$GATEWAY/random" "$GATEWAY/back"
# The module that nbdsh needs is that of the system's python.
check "nbdsh: 32 MiB at once, FUA, zeroes, trim, block status" timeout 30 env PATH=/usr/bin:/bin nbdsh -c "
h.add_meta_context('base:allocation')
h.set_uri_allow_local_file(True)
h.connect_uri('$MINE')
assert h.get_tls_negotiated()
big = bytes(range(256)) * (1 << 17)
h.pwrite(big, 4096)
assert h.pread(len(big), 4096) == big
h.pwrite(b'x' * 512, 0, nbd.CMD_FLAG_FUA)
h.zero(4096, 4096)
h.trim(4096, 65536)
h.flush()
assert h.pread(4096, 4096) == bytes(4096)
seen = []
h.block_status(1 << 20, 0, lambda name, offset, extents, error: seen.extend(extents))
assert seen
h.shutdown()
"
IMAGE="driver=nbd,host=127.0.0.1,port=$NBD_PORT,export=$ATTACHMENT,tls-creds=tls0"
CREDENTIALS="tls-creds-x509,id=tls0,dir=$TLS/alice,endpoint=client,verify-peer=yes"
is "qemu-img" 67108864 "$(timeout 20 qemu-img info --output json --object "$CREDENTIALS" --image-opts "$IMAGE" | jq '."virtual-size"')"
check "qemu-img convert" timeout 60 qemu-img convert -n -f raw --object "$CREDENTIALS" --target-image-opts "$GATEWAY/random" "$IMAGE"
check "and nothing is different" timeout 60 qemu-img compare --object "$CREDENTIALS" --image-opts "driver=file,filename=$GATEWAY/random" "$IMAGE"

# ---- who may not -----------------------------------------------------------------------------------

is "his own it opens, with a key of another kind" 67108864 "$(opens mallory "$OTHER")"
wrong=$(refused mallory "$URI")
unknown=$(refused alice "nbds://127.0.0.1:$NBD_PORT/00000000-0000-7000-8000-000000000000")
foreign=$(refused alice "$OTHER")
nameless() { sed "s/'[^']*'/it/" <<<"$1"; }
has "a certificate of the same signer opens nothing" "no export named" "$wrong"
is "what is there and not for one looks as what is not there" "$(nameless "$unknown")" "$(nameless "$wrong")"
is "also when TLS stands" "$(nameless "$unknown")" "$(nameless "$foreign")"
[ -n "$(refused alice "nbds://127.0.0.1:$NBD_PORT/")" ] && ok "there is nothing without a name" || not_ok "there is nothing without a name"
[ -n "$(refused none "$URI")" ] && ok "nothing opens without a certificate" || not_ok "nothing opens without a certificate"
has "nor without TLS" "TLS" "$(timeout 20 nbdinfo --size "nbd://127.0.0.1:$NBD_PORT/$ATTACHMENT" 2>&1)"
[ -n "$(timeout 20 nbdinfo --list "$(as_client alice "nbds://127.0.0.1:$NBD_PORT")" 2>/dev/null | grep "$ATTACHMENT")" ] &&
    not_ok "nothing is listed" || ok "nothing is listed"
check "the handshake by hand, bit by bit, a thousand of them" timeout 60 python3 "$(dirname "$0")/../replay/bad_tls.py" "$NBD_PORT" "$ATTACHMENT" "$TLS/alice"
is "nobody is kept out by that" 67108864 "$(opens alice "$URI")"

refusals_counted() {
    api GET /metrics
    [ "$(sed -n 's/^sluice_data_names_refused_total //p' <<<"$OUT")" -ge 3 ] &&
        [ "$(sed -n 's/^sluice_data_tls_failed_total //p' <<<"$OUT")" -ge 1 ]
}
wait_until 10 refusals_counted && ok "who was kept out is counted" || not_ok "who was kept out is counted"

# ---- who notices -----------------------------------------------------------------------------------

serves() { pool_is p serving; }
if command -v fio >/dev/null; then
    # Its engine takes no folder from the URI; libnbd has one of its own for who is not root.
    mkdir -p "$GATEWAY/home/.pki"
    cp -r "$TLS/alice" "$GATEWAY/home/.pki/libnbd"
    client=(env "HOME=$GATEWAY/home")
    if [ "$ROOT" -eq 1 ]; then
        chmod 711 "$GATEWAY"
        chown -R "$CLIENT_UID:$CLIENT_UID" "$GATEWAY/home"
        client+=(setpriv --reuid "$CLIENT_UID" --regid "$CLIENT_UID" --clear-groups)
    fi
    start "${client[@]}" fio --name=work --ioengine=nbd --uri="$URI" --rw=randwrite --bs=4k --size=32m --iodepth=32 \
        --verify=crc32c --verify_backlog=512 --time_based --runtime="$WORK_S" --eta=never --output="$GATEWAY/home/fio" \
        --output-format=json </dev/null >"$GATEWAY/fio.said" 2>&1
    worker=$LAST_PID
    died=0
    for turn in 1 2 3; do
        sleep "$(awk "BEGIN { print $WORK_S / 5 }")"
        pid=$(pool_pid p)
        [ "$pid" -eq 0 ] || { kill -s KILL "$pid" && died=$((died + 1)); }
        [ "$turn" -ne 2 ] || daemon_kill
    done
    within "the runner died while work was under way" 1 3 "$died"
    wait "$worker"
    status=$?
    is "the runner and the gateway are killed: no I/O error, and all of it is there" 0 "$status"
    [ "$status" -eq 0 ] || sed 's/^/# /' "$GATEWAY/fio.said" | tail -n 5
    echo "# longest stall $(jq '[.jobs[0].write, .jobs[0].read | .clat_ns.max] | max / 1000000 | floor' "$GATEWAY/home/fio" 2>/dev/null) ms"
    wait_until 20 gateway_ready
    wait_until 20 serves || not_ok "it serves again"
else
    skip "clients notice nothing" "no fio"
fi
is "who comes after that is served too" 67108864 "$(opens alice "$URI")"
data_pid() {
    local pid name
    for pid in $(children_of "$SUPER_PID"); do
        { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
        [ "$name" != sluice-data ] || echo "$pid"
    done
}
opens_again() { [ "$(opens alice "$URI")" = 67108864 ]; }
pid=$(data_pid)
kill -s KILL "$pid"
wait_until 10 gone "$pid"
wait_until 20 opens_again && ok "the successor of sluice-data has certificate, key and port" ||
    not_ok "the successor of sluice-data has certificate, key and port"

# ---- the end ---------------------------------------------------------------------------------------

start timeout 30 env PATH=/usr/bin:/bin nbdsh -c "
import time
h.set_uri_allow_local_file(True)
h.connect_uri('$MINE')
open('$GATEWAY/open', 'w').close()
until = time.monotonic() + 20
while time.monotonic() < until:
    try:
        h.pread(512, 0)
    except nbd.Error:
        raise SystemExit(0)
    time.sleep(0.05)
raise SystemExit(1)
" </dev/null >/dev/null 2>&1
holder=$LAST_PID
wait_until 10 test -e "$GATEWAY/open"
s attachment delete "$ATTACHMENT"
is "detached" 0 "$STATUS"
wait "$holder"
is "the connections end with it" 0 "$?"
has "and none is made any more" "no export named" "$(refused alice "$URI")"

s volume attach p:disk both --protocol nbd
BOTH=$(get .id)
is "a host with an account too has both ways" "nbd+unix:///?socket=$GATEWAY/run/nbd/$BOTH.sock nbds://127.0.0.1:$NBD_PORT/$BOTH" \
    "$(get '"\(.connection.uri) \(.connection.tls_uri)"')"
is "the one" 67108864 "$(timeout 20 nbdinfo --size "$(get .connection.uri)" 2>&1)"
is "and the other" 67108864 "$(opens alice "$(get .connection.tls_uri)")"
gateway_stop

# What is wrong with TLS costs TLS, and says what.
sed 's/^/x/' "$TLS/server/server-key.pem" >"$TLS/bad-key.pem"
gateway_start "${DOOR[@]}" --nbd-key "$TLS/bad-key.pem"
wait_until 20 serves || not_ok "it serves without TLS"
has "a key that is none is named" "nbd-key" "$(grep -m 1 nbd-key "$GATEWAY/log")"
s attachment show "$BOTH"
is "the Unix socket is there all the same" 67108864 "$(timeout 20 nbdinfo --size "$(get .connection.uri)" 2>&1)"
s volume attach p:third alice --protocol nbd && not_ok "over TLS nothing is attached" "$SAID"
has "over TLS nothing is attached" "nbd-" "$SAID"
gateway_stop
gateway_start
wait_until 20 serves || not_ok "it serves without nbd-listen"
s volume attach p:third alice --protocol nbd && not_ok "without nbd-listen a certificate is not enough" "$SAID"
has "without nbd-listen a certificate is not enough" "nbd-listen" "$SAID"
s host create odd --identity "uid=$(id -u)" --identity certificate=soon
s volume attach p:third odd --protocol nbd || not_ok "and nobody looks at it" "$SAID"
ODD=$(get .connection.uri)
gateway_stop
gateway_start "${DOOR[@]}"
wait_until 20 serves || not_ok "it serves again"
is "one that is none takes no Unix socket away" 67108864 "$(timeout 20 nbdinfo --size "$ODD" 2>&1)"
gateway_stop
! grep -q "PRIVATE KEY" "$GATEWAY/log" && ok "the key is in no log" || not_ok "the key is in no log"
finish
