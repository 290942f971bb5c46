#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bad.py: clients that do not keep to the protocol, or to good manners, for some seconds.

    bad.py SOCKET SECONDS

One after the other, over and over: half a handshake, half a request, a wrong magic, a length of 4 GiB, a
write whose payload never comes. Besides, all the time: one that asks for 32 MiB at a time and never reads,
one that reads a byte now and then, and as many as 1,000 that connect and say nothing. Prints how many
connections of each kind there were.
"""
import resource
import socket
import struct
import sys
import time

IDLE = 1000
PATIENCE_S = 5
OPTION = b"IHAVEOPT"
REQUEST = 0x25609513


def connect(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(PATIENCE_S)
    client.connect(path)
    return client


def take(client, length):
    got = b""
    while len(got) < length:
        part = client.recv(length - len(got))
        if not part:
            raise OSError("the server closed")
        got += part
    return got


def ready(path):
    client = connect(path)
    take(client, 18)
    client.sendall(struct.pack(">I8sIIIH", 1, OPTION, 7, 6, 0, 0))
    while True:
        _, _, kind, length = struct.unpack(">QIII", take(client, 20))
        take(client, length)
        if kind == 1:
            return client


def request(kind, offset, length, magic=REQUEST):
    return struct.pack(">IHHQQI", magic, 0, kind, 1, offset, length)


def half_handshake(path):
    connect(path).sendall(b"\0\0")


def half_request(path):
    ready(path).sendall(request(0, 0, 4096)[:11])


def wrong_magic(path):
    client = ready(path)
    client.sendall(request(0, 0, 4096, 0xDEADBEEF))
    if client.recv(1):
        raise SystemExit("a wrong magic was answered")


def huge_length(path):
    client = ready(path)
    client.sendall(request(0, 0, 0xFFFFFFFF))
    client.recv(16)  # an error, or the end


def huge_write(path):
    client = ready(path)
    client.sendall(request(1, 0, 0xFFFFFFF0) + b"x" * 65536)


def unfinished_write(path):
    ready(path).sendall(request(1, 0, 1 << 20) + b"x" * 1000)


KINDS = [half_handshake, half_request, wrong_magic, huge_length, huge_write, unfinished_write]


def main():
    path, seconds = sys.argv[1], float(sys.argv[2])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    until = time.monotonic() + seconds
    counts = dict.fromkeys([kind.__name__ for kind in KINDS], 0)
    never = ready(path)
    never.setblocking(False)
    slow = ready(path)
    slow.sendall(request(0, 0, 1 << 20) * 64)
    idle = []
    refused = 0
    asked = 0
    while time.monotonic() < until:
        for kind in KINDS:
            try:
                kind(path)
                counts[kind.__name__] += 1
            except OSError:
                refused += 1
        for _ in range(100):
            if len(idle) < IDLE:
                try:
                    client = connect(path)
                    client.setblocking(False)
                    idle.append(client)
                except OSError:
                    refused += 1
                    break
        try:
            asked += never.send(request(0, 0, 32 << 20) * 8) // 28
        except OSError:
            pass
        try:
            slow.recv(1)
        except OSError:
            pass
        time.sleep(0.02)
    print(f"idle {len(idle)} asked_and_unread {asked} refused {refused} "
          + " ".join(f"{name} {count}" for name, count in counts.items()))


main()
