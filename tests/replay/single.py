#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""single.py: one request after another by libnbd, what each does and how each is refused.

    single.py URI [read-only]

URI is an export of 64 MiB of a file system that punches holes. Says "ok - " or "not ok - " for each row
of a table. The client's own checks are off, so that the server is who refuses.
"""
import errno
import sys

import nbd

MIB = 1 << 20
SIZE = 64 * MIB
BLOCK = 4096
FUA, DF, ONE = nbd.CMD_FLAG_FUA, nbd.CMD_FLAG_DF, nbd.CMD_FLAG_REQ_ONE
FAST, NO_HOLE = nbd.CMD_FLAG_FAST_ZERO, nbd.CMD_FLAG_NO_HOLE

failures = 0


def judge(name, good, found):
    global failures
    failures += not good
    print(f"{'ok' if good else 'not ok'} - single: {name}" + ("" if good else f"\n# found {found!r}"))


def connect(uri, structured=True):
    client = nbd.NBD()
    client.set_strict_mode(0)
    client.set_request_structured_replies(structured)
    if structured:
        client.add_meta_context("base:allocation")
    client.connect_uri(uri)
    return client


def error_of(call):
    try:
        call()
    except nbd.Error as error:
        return errno.errorcode.get(error.errnum, error.errnum)
    return None


def status_of(client, length, offset, flags=0):
    """[(length, flags)...] of base:allocation, neighbours of one kind put together."""
    found = []

    def add(_, __, entries, ___):
        for at in range(0, len(entries), 2):
            if found and found[-1][1] == entries[at + 1]:
                found[-1] = (found[-1][0] + entries[at], entries[at + 1])
            else:
                found.append((entries[at], entries[at + 1]))

    client.block_status(length, offset, add, flags)
    return found


def chunks_of(client, length, offset, flags=0):
    """The bytes, and how many pieces they came in."""
    pieces = []
    buffer = client.pread_structured(length, offset, lambda part, at, kind, _: pieces.append((at, len(part), kind)), flags)
    return buffer, pieces


def what_is_offered(client):
    for name, wanted in (("flush", True), ("fua", True), ("trim", True), ("zero", True), ("fast_zero", True),
                         ("df", True), ("multi_conn", True), ("cache", False)):
        found = getattr(client, "can_" + name)()
        judge(f"{name} is {'' if wanted else 'not '}offered", found == wanted, found)
    judge("it is not read-only", not client.is_read_only(), client.is_read_only())
    judge("base:allocation was agreed on", client.can_meta_context("base:allocation"), False)
    judge("the size", client.get_size() == SIZE, client.get_size())
    sizes = [client.get_block_size(kind) for kind in (nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM)]
    judge("sizes of blocks are said, in order", 1 <= sizes[0] <= sizes[1] <= sizes[2] <= 32 * MIB, sizes)


def changes(client):
    """Each row: what is written over 1 MiB of 0x77 at 8 MiB, what the block reads as then, its status."""
    at = 8 * MIB
    full, hole = b"\x77" * MIB, nbd.STATE_HOLE | nbd.STATE_ZERO
    for name, call, byte, state in (
            ("write", lambda: client.pwrite(b"a" * MIB, at), b"a", 0),
            ("write, fua", lambda: client.pwrite(b"b" * MIB, at, FUA), b"b", 0),
            ("trim", lambda: client.trim(MIB, at), b"\0", hole),
            ("trim, fua", lambda: client.trim(MIB, at, FUA), b"\0", hole),
            ("zero", lambda: client.zero(MIB, at), b"\0", None),
            ("zero, fua", lambda: client.zero(MIB, at, FUA), b"\0", None),
            ("zero, no hole", lambda: client.zero(MIB, at, NO_HOLE), b"\0", None),
            ("zero, fast", lambda: client.zero(MIB, at, FAST), b"\0", None),
            ("flush", client.flush, b"\x77", 0)):
        client.pwrite(full, at)
        error = error_of(call)
        judge(f"{name} is answered", error is None, error)
        found = client.pread(MIB, at)
        judge(f"{name}: what is read then", found == bytearray(byte * MIB), bytes(found[:16]))
        if state is not None:
            found = status_of(client, MIB, at)
            judge(f"{name}: its status then", found == [(MIB, state)], found)


def holes(client):
    """data, a hole, data: in one read, with and without DF, and in one status."""
    at, hole = 16 * MIB, nbd.STATE_HOLE | nbd.STATE_ZERO
    client.trim(3 * MIB, at)
    client.pwrite(b"x" * MIB, at)
    client.pwrite(b"y" * MIB, at + 2 * MIB)
    wanted = bytearray(b"x" * MIB + b"\0" * MIB + b"y" * MIB)
    for name, flags in (("a read", 0), ("a read, unfragmented", DF)):
        # Unfragmented is promised up to what one call to the driver carries.
        length = 3 * MIB if flags == 0 else 64 * 1024
        where = at if flags == 0 else at + MIB - 32 * 1024
        found, pieces = chunks_of(client, length, where, flags)
        start = where - at
        judge(f"{name} over a hole", found == wanted[start:start + length], len(found))
        judge(f"{name}: its pieces are all of it", sum(piece[1] for piece in pieces) == length, pieces)
        judge(f"{name}: of it in pieces", flags == 0 or len(pieces) == 1, pieces)
    found = status_of(client, 3 * MIB, at)
    judge("status over a hole", found == [(MIB, 0), (MIB, hole), (MIB, 0)], found)
    found = status_of(client, 3 * MIB, at, ONE)
    judge("status, one extent only", len(found) == 1 and 0 < found[0][0] <= MIB and found[0][1] == 0, found)
    found = status_of(client, SIZE, 0)
    judge("status of everything is of something", 0 < sum(length for length, _ in found) <= SIZE, found)


def refusals(client):
    block = b"z" * BLOCK
    for name, call, wanted in (
            ("read beyond the end", lambda: client.pread(BLOCK, SIZE), "EINVAL"),
            ("read over the end", lambda: client.pread(2 * BLOCK, SIZE - BLOCK), "EINVAL"),
            ("read far beyond", lambda: client.pread(BLOCK, 1 << 62), "EINVAL"),
            ("write beyond the end", lambda: client.pwrite(block, SIZE), "ENOSPC"),
            ("write over the end", lambda: client.pwrite(block * 2, SIZE - BLOCK), "ENOSPC"),
            ("trim over the end", lambda: client.trim(2 * BLOCK, SIZE - BLOCK), "ENOSPC"),
            ("zero over the end", lambda: client.zero(2 * BLOCK, SIZE - BLOCK), "ENOSPC"),
            ("status over the end", lambda: status_of(client, 2 * BLOCK, SIZE - BLOCK), "EINVAL"),
            ("read of nothing", lambda: client.pread(0, 0), "EINVAL"),
            ("write with a flag of zero", lambda: client.pwrite(block, 0, FAST), "EINVAL"),
            ("read with a flag of zero", lambda: client.pread(BLOCK, 0, NO_HOLE), "EINVAL"),
            ("trim with a flag of status", lambda: client.trim(BLOCK, 0, ONE), "EINVAL"),
            ("flush with a flag of zero", lambda: client.flush(FAST), "EINVAL"),
            ("cache", lambda: client.cache(BLOCK, 0), "EINVAL")):
        found = error_of(call)
        judge(f"{name} is refused: {wanted}", found == wanted, found)
    least = client.get_block_size(nbd.SIZE_MINIMUM)
    if least > 1:
        for name, call in (("read", lambda: client.pread(least, 1)), ("write", lambda: client.pwrite(b"z" * least, 1)),
                           ("short write", lambda: client.pwrite(b"z", 0))):
            found = error_of(call)
            judge(f"unaligned {name} is refused: EINVAL", found == "EINVAL", found)
    else:
        client.pwrite(b"unaligned", 24 * MIB + 3)
        found = client.pread(9, 24 * MIB + 3)
        judge("where one byte is the least, unaligned is fine", found == b"unaligned", found)
    found = client.pread(BLOCK, 0)
    judge("after all of that the connection serves", len(found) == BLOCK, found)


def without_structure(uri):
    client = connect(uri, structured=False)
    judge("simple replies: none structured was agreed on", not client.get_structured_replies_negotiated(), True)
    client.pwrite(b"s" * BLOCK, 30 * MIB)
    found = client.pread(BLOCK, 30 * MIB)
    judge("simple replies: what was written is read", found == b"s" * BLOCK, bytes(found[:16]))
    for name, call in (("status", lambda: client.block_status(BLOCK, 0, lambda *_: 0)),
                       ("unfragmented read", lambda: client.pread(BLOCK, 0, DF)),
                       ("read beyond the end", lambda: client.pread(BLOCK, SIZE))):
        found = error_of(call)
        judge(f"simple replies: {name} is refused", found in ("EINVAL", "ENOTSUP"), found)
    client.shutdown()


def read_only(uri):
    client = connect(uri)
    judge("a reader is told so", client.is_read_only(), False)
    for name, call in (("write", lambda: client.pwrite(b"z" * BLOCK, 0)), ("trim", lambda: client.trim(BLOCK, 0)),
                       ("zero", lambda: client.zero(BLOCK, 0))):
        found = error_of(call)
        judge(f"a reader's {name} is refused: EPERM", found == "EPERM", found)
    judge("a reader reads", len(client.pread(BLOCK, 0)) == BLOCK, None)
    client.shutdown()


def main():
    uri = sys.argv[1]
    if sys.argv[2:] == ["read-only"]:
        read_only(uri)
    else:
        client = connect(uri)
        what_is_offered(client)
        changes(client)
        holes(client)
        refusals(client)
        client.shutdown()
        without_structure(uri)
    sys.exit(failures != 0)


main()
