#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# proxy.py: a TCP proxy of 127.0.0.1 that spoils the way back from a server.
#
#     proxy.py PORT SERVER_PORT FOLDER
#
# FOLDER/do is read four times a second: "pass"; "hang", and what the server says is swallowed; "cut",
# and each connection ends in the middle of what the server says next, once a second.
# FOLDER/cuts counts how often.
import asyncio
import os
import sys
import time

PORT, SERVER_PORT, FOLDER = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
CHUNK = 65536
state = {"do": "pass", "cuts": 0, "last": 0.0}


async def look():
    while True:
        try:
            with open(os.path.join(FOLDER, "do"), encoding="utf-8") as file:
                state["do"] = file.read().strip()
        except FileNotFoundError:
            pass
        with open(os.path.join(FOLDER, "cuts"), "w", encoding="utf-8") as file:
            file.write(str(state["cuts"]))
        await asyncio.sleep(0.25)


def spoiled(data):
    """What goes on of it, and whether the connection goes on."""
    if state["do"] == "hang":
        return b"", True
    if state["do"] == "cut" and time.monotonic() - state["last"] > 1:
        state["last"] = time.monotonic()
        state["cuts"] += 1
        return data[: len(data) // 2], False
    return data, True


async def pass_on(reader, writer, back):
    try:
        while data := await reader.read(CHUNK):
            data, more = spoiled(data) if back else (data, True)
            writer.write(data)
            await writer.drain()
            if not more:
                break
    except OSError:
        pass
    writer.close()


async def serve(reader, writer):
    try:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", SERVER_PORT)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pass_on(reader, to_server, False), pass_on(from_server, writer, True))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", PORT)
    await asyncio.gather(server.serve_forever(), look())


asyncio.run(main())
