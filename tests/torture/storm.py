# SPDX-License-Identifier: Apache-2.0
"""storm.py: clients that work all the time while sluiced, the runners and, once, everything is killed.

Each client has volumes of its own and knows what was acknowledged: which volumes, snapshots and
bytes there have to be. It asks again with the same key until it is answered. In the end the
gateway is left alone, and what it has must be what the clients know, and whole.
"""
import os
import random
import signal
import threading
import time

from gateway import END_S, SEED, Lost, check, new_key, note, temp
from world import SIZE, World, make_archives

CLIENTS = 6
HELD_MAX = 5  # volumes of a client; then it deletes one
POISONED = "poisoned"  # three deaths during one call: rare, allowed, and then nothing has happened
SLUICED_EACH_S = (1.0, 4.0)  # sluice-super gives up on 20 short lives
RUNNER_EACH_S = (0.05, 0.5)


class Wrong(Exception):
    pass


class Worker(threading.Thread):
    def __init__(self, world, number, over):
        super().__init__(daemon=True)
        self.world, self.over = world, over
        self.client = world.gateway.client()
        self.random = random.Random(SEED * 1000 + number)
        self.number, self.names = number, 0
        self.volumes = {}  # id: the text in it
        self.snapshots = {}  # id: (volume, text)
        self.acknowledged = self.poisoned = 0
        self.trouble = None

    def name(self):
        self.names += 1
        return f"c{self.number}n{self.names}"

    def change(self, method, path, body=None):
        """The object; True for one that is gone; None: it failed, and nothing has happened."""
        answer = self.client.until_answered(method, path, body, new_key(), 30, seconds=3 * END_S)
        while answer.status == 202:  # it goes on: wait for its end
            operation = answer.body["id"]
            while answer.body["state"] in ("running", "undoing"):
                answer = self.client.until_answered("GET", f"/v1/operations/{operation}", wait=30)
            if answer.body["state"] != "done":
                raise Wrong(f"{method} {path}: {answer}")
            noun = answer.body["noun"]
            found = self.client.until_answered("GET", f"/v1/{noun}s/{answer.body['object']}")
            self.acknowledged += 1
            return found.body if found.status == 200 else True
        if answer.status in (200, 201, 204):
            self.acknowledged += 1
            return answer.body if answer.body is not None else True
        if (answer.body or {}).get("code") == POISONED:
            self.poisoned += 1
            return None
        raise Wrong(f"{method} {path} {body}: {answer}")

    def write(self, volume, text):
        self.world.write({"id": volume, "name": volume}, text)
        self.volumes[volume] = text

    def new_volume(self):
        made = self.change("POST", "/v1/volumes", {"pool": "p", "name": self.name(), "size_bytes": SIZE})
        if made is not None:
            self.write(made["id"], self.name())

    def snapshot(self, volume):
        made = self.change("POST", "/v1/snapshots", {"volume": volume, "name": self.name()})
        if made is not None:
            self.snapshots[made["id"]] = (volume, self.volumes[volume])
            self.write(volume, self.name())

    def own(self, volume):
        return [each for each, (of, _) in self.snapshots.items() if of == volume]

    def clone(self, volume):
        for snapshot in self.own(volume)[:1]:
            made = self.change("POST", "/v1/volumes", {"source_snapshot": snapshot, "name": self.name()})
            if made is not None:
                self.volumes[made["id"]] = self.snapshots[snapshot][1]

    def revert(self, volume):
        for snapshot in self.own(volume)[:1]:
            if self.change("POST", f"/v1/volumes/{volume}/revert", {"snapshot": snapshot}) is not None:
                self.volumes[volume] = self.snapshots[snapshot][1]

    def delete(self, volume):
        for snapshot in self.own(volume):
            if self.change("DELETE", f"/v1/snapshots/{snapshot}") is not None:
                del self.snapshots[snapshot]
        if not self.own(volume) and self.change("DELETE", f"/v1/volumes/{volume}") is not None:
            del self.volumes[volume]

    def step(self):
        if len(self.volumes) < 2:
            self.new_volume()
            return
        volume = self.random.choice(sorted(self.volumes))
        if len(self.volumes) > HELD_MAX:
            self.delete(volume)
            return
        act = self.random.choice((self.snapshot, self.clone, self.revert, self.delete, lambda _: self.new_volume()))
        act(volume)

    def run(self):
        try:
            while not self.over.is_set():
                self.step()
        except Exception as trouble:  # told by the one who joins
            self.trouble = trouble
        self.client.close()

    def agrees(self, volumes, snapshots):
        for volume, text in self.volumes.items():
            if volume not in volumes:
                raise Wrong(f"volume {volume} was acknowledged and is not there")
            found = self.world.read({"id": volume, "name": volume})
            if found != text:
                raise Wrong(f"volume {volume} holds {found!r}, not {text!r}")
        for snapshot in self.snapshots:
            if snapshot not in snapshots:
                raise Wrong(f"snapshot {snapshot} was acknowledged and is not there")


class Killer:
    def __init__(self, world, seconds):
        self.world, self.random = world, random.Random(SEED)
        self.seconds = seconds
        self.kills = {"sluiced": 0, "runners": 0, "everybody": 0}

    @staticmethod
    def kill(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        return 1

    def sluiced(self):
        pid = self.world.gateway.daemon_pid()
        if pid and self.world.gateway.answers(self.world.client):
            self.kills["sluiced"] += self.kill(pid)

    def runner(self):
        pids = self.world.gateway.runner_pids()
        if pids:
            self.kills["runners"] += self.kill(self.random.choice(pids))

    def everybody(self):
        self.world.gateway.kill()
        self.kills["everybody"] += 1
        self.world.gateway.start()

    def run(self):
        begin = now = time.monotonic()
        next_sluiced, next_runner = now + 1, now + 0.5
        while now < begin + self.seconds:
            if now >= next_sluiced:
                self.sluiced()
                next_sluiced = now + self.random.uniform(*SLUICED_EACH_S)
            if now >= next_runner:
                self.runner()
                next_runner = now + self.random.uniform(*RUNNER_EACH_S)
            if not self.kills["everybody"] and now > begin + self.seconds / 2:
                self.everybody()
            time.sleep(0.01)
            now = time.monotonic()


def judge(world, workers):
    world.rest()
    world.whole()
    volumes = {each["id"] for each in world.client.all("/v1/volumes")}
    snapshots = {each["id"] for each in world.client.all("/v1/snapshots")}
    for worker in workers:
        if worker.trouble is not None:
            raise Wrong(f"client {worker.number}: {type(worker.trouble).__name__} {worker.trouble}")
        worker.agrees(volumes, snapshots)
    known = {each for worker in workers for each in worker.volumes}
    if volumes != known:
        raise Wrong(f"volumes that nobody was told of: {volumes - known}")
    kept = {each for worker in workers for each in worker.snapshots}
    if snapshots != kept:
        raise Wrong(f"snapshots that nobody was told of: {snapshots - kept}")


def storm(seconds):
    archives = os.path.join(temp, "storm-archives")
    world = World(os.path.join(temp, "storm"), make_archives(archives))
    world.gateway.start()
    world.found()
    over = threading.Event()
    workers = [Worker(world, number, over) for number in range(CLIENTS)]
    killer = Killer(world, seconds)
    for worker in workers:
        worker.start()
    trouble = None
    try:
        killer.run()
    except (AssertionError, Lost) as failed:
        trouble = failed
    over.set()
    for worker in workers:
        worker.join(4 * END_S)
    try:
        if trouble is None:
            judge(world, workers)
    except (AssertionError, Lost, Wrong) as failed:
        trouble = failed
    kills = ", ".join(f"{who} {count} times" for who, count in killer.kills.items())
    note(f"storm of {seconds} s, seed {SEED}: killed {kills}; "
         f"{sum(each.acknowledged for each in workers)} changes acknowledged, "
         f"{sum(each.poisoned for each in workers)} poisoned")
    check("storm: every process was killed at some time", all(killer.kills.values()), killer.kills)
    check("storm: nothing is stuck, half there, lost or left over", trouble is None, trouble,
          world.gateway.last_of_log())
    if world.gateway.process.poll() is None:
        world.gateway.stop()
