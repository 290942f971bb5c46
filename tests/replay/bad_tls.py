#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bad_tls.py: clients of the TCP port that do not keep to the protocol, or to good manners.

    bad_tls.py PORT EXPORT CERTIFICATES

Asks for everything before TLS, puts bytes behind STARTTLS, begins TLS and stops, sends garbage as TLS, opens
1,000 connections that say nothing or stop after STARTTLS. While these are open a good client, which has the
certificates of the folder CERTIFICATES, has to be served each time. Exits with 1, and says why, when anything
is answered that should not be.
"""
import resource
import socket
import ssl
import struct
import sys
import time
import warnings

IDLE = 1000
PATIENCE_S = 10
OPTION = 0x49484156454F5054
NO_TLS_YET = 0x80000005
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED = 1, 2, 3, 5, 6, 7, 8


def fail(text):
    raise SystemExit(text)


def take(client, length):
    got = b""
    while len(got) < length:
        part = client.recv(length - len(got))
        if not part:
            raise OSError("the server closed")
        got += part
    return got


def connect(port):
    client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    client.settimeout(PATIENCE_S)
    take(client, 18)
    client.sendall(struct.pack(">I", 3))
    return client


def option(number, body=b""):
    return struct.pack(">QII", OPTION, number, len(body)) + body


def answer(client):
    magic, _, kind, length = struct.unpack(">QIII", take(client, 20))
    if magic != 0x3E889045565A9:
        fail("a reply without its magic")
    take(client, length)
    return kind


def ends(client):
    """The server ends it without another word (but TLS alerts)."""
    try:
        while client.recv(4096):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        fail("a connection that should end does not")


def in_the_clear(port, export):
    name = struct.pack(">I", len(export)) + export + b"\0\0"
    client = connect(port)
    for number, body in ((LIST, b""), (INFO, name), (GO, name), (STRUCTURED, b""), (10, name + b"\0\0"), (99, b"x")):
        client.sendall(option(number, body))
        if answer(client) != NO_TLS_YET:
            fail(f"option {number} is answered without TLS")
    client.sendall(option(ABORT))
    if answer(client) != 1:
        fail("ABORT is not answered")
    ends(client)
    client = connect(port)
    client.sendall(option(EXPORT_NAME, export))
    ends(client)


def behind_starttls(port, export):
    """What came in the clear must not count as said inside of TLS."""
    client = connect(port)
    client.sendall(option(STARTTLS) + option(ABORT))
    ends(client)


def garbage(port, export):
    client = connect(port)
    client.sendall(option(STARTTLS))
    if answer(client) != 1:
        fail("STARTTLS is refused")
    client.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
    ends(client)


def with_data(port, export):
    client = connect(port)
    client.sendall(option(STARTTLS, b"now"))
    if answer(client) != 0x80000003:
        fail("STARTTLS with data is taken")


def half_hello(port, export):
    client = connect(port)
    client.sendall(option(STARTTLS))
    answer(client)
    client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    return client


def good(port, export, folder, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    context.load_verify_locations(f"{folder}/ca-cert.pem")
    context.load_cert_chain(f"{folder}/client-cert.pem", f"{folder}/client-key.pem")
    client = connect(port)
    client.sendall(option(STARTTLS))
    if answer(client) != 1:
        fail("STARTTLS is refused")
    client = context.wrap_socket(client, server_hostname="127.0.0.1")
    client.sendall(option(STARTTLS))
    if answer(client) != 0x80000003:
        fail("TLS inside of TLS")
    client.sendall(option(LIST))
    if answer(client) != 0x80000002:
        fail("exports are listed")
    client.sendall(option(GO, struct.pack(">I", len(export)) + export + b"\0\0"))
    while True:
        kind = answer(client)
        if kind == 1:
            break
        if kind != 3:
            fail(f"a good client is answered {kind:#x}")
    # A request a byte at a time: each byte is a record.
    for byte in struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, 0, 512):
        client.sendall(bytes([byte]))
    if struct.unpack(">IIQ", take(client, 16)) != (0x67446698, 0, 7) or len(take(client, 512)) != 512:
        fail("a read over TLS fails")
    client.close()


def old_tls(port, export, folder):
    try:
        good(port, export, folder, ssl.TLSVersion.TLSv1_1)
    except (ssl.SSLError, OSError, ValueError):
        return
    fail("TLS 1.1 is taken")


def main():
    port, export, folder = int(sys.argv[1]), sys.argv[2].encode(), sys.argv[3]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    warnings.simplefilter("ignore", DeprecationWarning)  # of the old versions that are tried
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        good(port, export, folder, version)
    old_tls(port, export, folder)
    for kind in (in_the_clear, behind_starttls, garbage, with_data, half_hello):
        kind(port, export)
    idle = []
    slowest = 0
    for i in range(IDLE):
        client = half_hello(port, export) if i % 4 == 0 else connect(port)
        idle.append(client)
        if i % 100 == 99:
            begun = time.monotonic()
            good(port, export, folder, ssl.TLSVersion.TLSv1_3)
            slowest = max(slowest, time.monotonic() - begun)
    print(f"idle {len(idle)}, a good client took at most {slowest * 1000:.0f} ms")
    if slowest > 5:
        fail("a good client waits for bad ones")


main()
