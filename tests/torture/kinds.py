# SPDX-License-Identifier: Apache-2.0
"""kinds.py: each kind of operation (gateway/core/operation.def) as something that can be tried.

A scenario is one operation on one object:

    ready(world)     makes what it needs and returns the request: method, path, body
    done(world)      AssertionError unless the operation's effect is there
    undone(world)    AssertionError unless everything is as it was before
    clean(world)     takes away what was made

One class a variant; KINDS lists them by their kind. A kind without a scenario fails the group.
"""
import os

from gateway import END_S, until
from world import MARKER, SIZE, SPARE_DRIVER, SPARE

KINDS = {}


def scenario(kind):
    def note(made):
        made.kind = kind
        KINDS.setdefault(kind, []).append(made)
        return made
    return note


def same(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r} instead of {wanted!r}")


class Scenario:
    def clean(self, world):
        pass


# ---- drivers --------------------------------------------------------------------------------------

def driver_state(world):
    return world.find("/v1/drivers/" + SPARE_DRIVER)["state"]


def driver_be(world, wanted):
    """From whatever it is."""
    if driver_state(world) == "suspended":
        world.must("POST", f"/v1/drivers/{SPARE_DRIVER}/resume")
    if wanted == "stopped" and driver_state(world) == "running":
        world.must("POST", f"/v1/drivers/{SPARE_DRIVER}/stop")
    if wanted != "stopped" and driver_state(world) != "running":
        world.must("POST", f"/v1/drivers/{SPARE_DRIVER}/start")
    if wanted == "suspended":
        world.must("POST", f"/v1/drivers/{SPARE_DRIVER}/suspend")


class DriverScenario(Scenario):
    before = after = verb = ""

    def ready(self, world):
        driver_be(world, self.before)
        return "POST", f"/v1/drivers/{SPARE_DRIVER}/{self.verb}", None

    def done(self, world):
        same(driver_state(world), self.after, "the driver")

    def undone(self, world):
        same(driver_state(world), self.before, "the driver")


@scenario("driver.scan")
class DriverScan(DriverScenario):
    def ready(self, world):
        driver_be(world, "running")
        return "POST", "/v1/drivers/scan", None

    before = after = "running"


@scenario("driver.start")
class DriverStart(DriverScenario):
    before, after, verb = "stopped", "running", "start"


@scenario("driver.stop")
class DriverStop(DriverScenario):
    before, after, verb = "running", "stopped", "stop"


@scenario("driver.suspend")
class DriverSuspend(DriverScenario):
    before, after, verb = "running", "suspended", "suspend"


@scenario("driver.resume")
class DriverResume(DriverScenario):
    before, after, verb = "suspended", "running", "resume"


# ---- pools ----------------------------------------------------------------------------------------

class PoolScenario(Scenario):
    def ready(self, world):
        self.name = world.name("q")
        self.pool = world.posix_pool(self.name)
        self.volume = world.volume(self.name)
        return self.asked(world)

    def there(self, world, state):
        pool = world.find(f"/v1/pools/{self.name}")
        same(pool["state"], state, "the pool")
        health = "drained" if state == "drained" else "serving"
        until(lambda: world.find(f"/v1/pools/{self.name}")["health"] == health, END_S, f"{self.name} is {health}")
        return pool

    def undone(self, world):
        self.there(world, "enabled")
        same(world.find(f"/v1/volumes/{self.volume['id']}")["state"], "available", "its volume")

    def clean(self, world):
        world.drop_pool(self.name)


@scenario("pool.create")
class PoolCreate(PoolScenario):
    def ready(self, world):
        self.name = world.name("q")
        return "POST", "/v1/pools", world.posix_body(self.name)

    def done(self, world):
        self.there(world, "enabled")

    def undone(self, world):
        same(world.find(f"/v1/pools/{self.name}"), None, "the pool")
        same(os.listdir(world.directories[self.name]), [], "its directory")


@scenario("pool.update")
class PoolUpdate(PoolScenario):
    def asked(self, world):
        return "PATCH", f"/v1/pools/{self.name}", {"properties": {"overcommit_percent": "700"},
                                                   "labels": {"a": "b"}}

    def done(self, world):
        pool = self.there(world, "enabled")
        same(pool["properties"]["overcommit_percent"], "700", "the property")
        same(pool["labels"], {"a": "b"}, "the labels")

    def undone(self, world):
        super().undone(world)
        pool = self.there(world, "enabled")
        same(pool["properties"]["overcommit_percent"], "0", "the property")
        same(pool["labels"], {}, "the labels")


@scenario("pool.disable")
class PoolDisable(PoolScenario):
    def asked(self, world):
        return "POST", f"/v1/pools/{self.name}/disable", None

    def done(self, world):
        self.there(world, "disabled")


@scenario("pool.enable")
class PoolEnable(PoolScenario):
    from_verb, before = "disable", "disabled"

    def asked(self, world):
        world.must("POST", f"/v1/pools/{self.name}/{self.from_verb}")
        return "POST", f"/v1/pools/{self.name}/enable", None

    def done(self, world):
        self.there(world, "enabled")

    def undone(self, world):
        self.there(world, self.before)


@scenario("pool.enable")
class PoolEnableDrained(PoolEnable):
    from_verb, before = "drain", "drained"


@scenario("pool.drain")
class PoolDrain(PoolScenario):
    def asked(self, world):
        return "POST", f"/v1/pools/{self.name}/drain", None

    def done(self, world):
        self.there(world, "drained")


@scenario("pool.restart")
class PoolRestart(PoolScenario):
    def asked(self, world):
        return "POST", f"/v1/pools/{self.name}/restart", None

    def done(self, world):
        self.there(world, "enabled")


@scenario("pool.upgrade")
class PoolUpgrade(PoolScenario):
    def ready(self, world):
        self.name = world.name("r")
        driver_be(world, "running")
        world.must("POST", "/v1/pools", {"name": self.name, "driver": "ram", "driver_version": "0.2.0"})
        return "POST", f"/v1/pools/{self.name}/upgrade", {"driver_version": SPARE}

    def done(self, world):
        same(self.there(world, "enabled")["driver_version"], SPARE, "the version")

    def undone(self, world):
        same(self.there(world, "enabled")["driver_version"], "0.2.0", "the version")


@scenario("pool.delete")
class PoolDelete(PoolScenario):
    def asked(self, world):
        world.must("DELETE", f"/v1/volumes/{self.volume['id']}")
        return "DELETE", f"/v1/pools/{self.name}", None

    def done(self, world):
        same(world.find(f"/v1/pools/{self.name}"), None, "the pool")
        same(os.path.exists(os.path.join(world.directories[self.name], MARKER)), False, "the marker")

    def undone(self, world):
        self.there(world, "enabled")


@scenario("pool.delete")
class PoolForget(PoolScenario):
    def asked(self, world):
        return "DELETE", f"/v1/pools/{self.name}?forget=true", None

    def done(self, world):
        same(world.find(f"/v1/pools/{self.name}"), None, "the pool")
        same(world.find(f"/v1/volumes/{self.volume['id']}"), None, "its volume")
        kept = os.path.join(world.directories[self.name], "volumes", self.volume["id"], "volume.meta")
        same(os.path.exists(kept), True, "what the backend has of it")
        world.forget_directory(self.name)


@scenario("pool.rebuild")
class PoolRebuild(PoolScenario):
    """To the pool that took the backend over, all that is there is unknown."""

    def asked(self, world):
        self.snapshot = world.snapshot(self.volume)
        body = {"name": self.name, "driver": "posix", "uid": self.pool["uid"],
                "properties": self.pool["properties"], "take_over": True}
        world.must("DELETE", f"/v1/pools/{self.name}?forget=true")
        world.must("POST", "/v1/pools", body)
        return "POST", f"/v1/pools/{self.name}/rebuild", {}

    def done(self, world):
        self.there(world, "enabled")
        volume = world.find(f"/v1/volumes/{self.volume['id']}")
        same([volume["name"], volume["state"], volume["snapshots"]], [self.volume["name"], "available", 1],
             "its volume")
        same(world.find(f"/v1/snapshots/{self.snapshot['id']}")["name"], self.snapshot["name"], "its snapshot")

    def undone(self, world):
        """What was taken in stays, whole; the rest is unknown still, and goes with the pool."""
        self.there(world, "enabled")
        volume = world.find(f"/v1/volumes/{self.volume['id']}")
        if volume is not None:
            same([volume["name"], volume["state"]], [self.volume["name"], "available"], "its volume")
        world.drop_pool(self.name)


# ---- volumes ----------------------------------------------------------------------------------------

class VolumeScenario(Scenario):
    """Made are things that go in the opposite order."""

    def __init__(self):
        self.made = []

    def keep(self, noun, thing):
        self.made.append((noun, thing))
        return thing

    def clean(self, world):
        for noun, thing in reversed(self.made):
            if world.find(f"/v1/{noun}/{thing['id']}") is not None:
                world.must("DELETE", f"/v1/{noun}/{thing['id']}")

    def reread(self, world):
        return world.find(f"/v1/volumes/{self.volume['id']}")

    def undone(self, world):
        volume = self.reread(world)
        for member in ("name", "state", "size_bytes", "labels", "snapshots", "attachments"):
            same(volume[member], self.volume[member], member)


@scenario("volume.create")
class VolumeCreate(VolumeScenario):
    text = ""

    def ready(self, world):
        self.name = world.name("new")
        return "POST", "/v1/volumes", {"name": self.name, **self.source(world)}

    def source(self, world):
        return {"pool": "p", "size_bytes": SIZE}

    def done(self, world):
        volume = self.keep("volumes", world.find(f"/v1/volumes/p:{self.name}"))
        same(volume["size_bytes"], SIZE, "the size")
        same(world.read(volume), self.text, "the bytes")

    def undone(self, world):
        same(world.find(f"/v1/volumes/p:{self.name}"), None, "the volume")


@scenario("volume.create")
class VolumeClone(VolumeCreate):
    text = "cloned"

    def source(self, world):
        volume = self.keep("volumes", world.filled(self.text))
        snapshot = self.keep("snapshots", world.snapshot(volume))
        world.write(volume, "later")
        return {"source_snapshot": snapshot["id"]}


@scenario("volume.create")
class VolumeCopy(VolumeCreate):
    text = "copied"

    def source(self, world):
        return {"source_volume": self.keep("volumes", world.filled(self.text))["id"]}


@scenario("volume.update")
class VolumeUpdate(VolumeScenario):
    def ready(self, world):
        self.volume = self.keep("volumes", world.volume())
        self.name = world.name("renamed")
        return "PATCH", f"/v1/volumes/{self.volume['id']}", {"name": self.name}

    def done(self, world):
        same(self.reread(world)["name"], self.name, "the name")


@scenario("volume.resize")
class VolumeGrow(VolumeScenario):
    size, rest = 2 * SIZE, {}

    def ready(self, world):
        self.volume = self.keep("volumes", world.filled("kept"))
        return "POST", f"/v1/volumes/{self.volume['id']}/resize", {"size_bytes": self.size, **self.rest}

    def done(self, world):
        same(self.reread(world)["size_bytes"], self.size, "the size")
        same(os.path.getsize(world.disk(self.volume)[0]), self.size, "the file's size")

    def undone(self, world):
        super().undone(world)
        same(os.path.getsize(world.disk(self.volume)[0]), SIZE, "the file's size")
        same(world.read(self.volume), "kept", "the bytes")


@scenario("volume.resize")
class VolumeShrink(VolumeGrow):
    size, rest = SIZE // 2, {"shrink": True}


@scenario("volume.revert")
class VolumeRevert(VolumeScenario):
    def ready(self, world):
        self.volume = self.keep("volumes", world.filled("before"))
        snapshot = self.keep("snapshots", world.snapshot(self.volume))
        world.write(self.volume, "after")
        self.volume = self.reread(world)
        return "POST", f"/v1/volumes/{self.volume['id']}/revert", {"snapshot": snapshot["id"]}

    def done(self, world):
        same(world.read(self.volume), "before", "the bytes")
        # What is written after a revert stays, also when the revert is asked for again.
        world.write(self.volume, "written later")

    def later(self, world):
        same(world.read(self.volume), "written later", "what was written after the revert")

    def undone(self, world):
        super().undone(world)
        same(world.read(self.volume), "after", "the bytes")


@scenario("volume.delete")
class VolumeDelete(VolumeScenario):
    def ready(self, world):
        self.volume = self.keep("volumes", world.volume())
        return "DELETE", f"/v1/volumes/{self.volume['id']}", None

    def done(self, world):
        same(self.reread(world), None, "the volume")


@scenario("volume.delete")
class VolumeDeleteSnapshots(VolumeDelete):
    def ready(self, world):
        self.volume = self.keep("volumes", world.volume())
        self.snapshot = self.keep("snapshots", world.snapshot(self.volume))
        self.volume = self.reread(world)
        return "DELETE", f"/v1/volumes/{self.volume['id']}", None

    def done(self, world):
        super().done(world)
        same(world.find(f"/v1/snapshots/{self.snapshot['id']}")["state"], "available", "its snapshot")


@scenario("volume.adopt")
class VolumeAdopt(VolumeScenario):
    def ready(self, world):
        self.name = world.name("adopted")
        self.path = os.path.join(world.directories["p"], "adopt-" + self.name)
        with open(self.path, "wb") as file:
            file.write(b"old".ljust(SIZE, b"."))
        owner = os.stat(world.directories["p"]).st_uid
        os.chown(self.path, owner, owner)
        return "POST", "/v1/volumes/adopt", {"pool": "p", "name": self.name,
                                             "reference": os.path.basename(self.path)}

    def done(self, world):
        volume = self.keep("volumes", world.find(f"/v1/volumes/p:{self.name}"))
        same(volume["size_bytes"], SIZE, "the size")
        with open(world.disk(volume)[0], "rb") as disk:
            same(disk.read(5), b"old..", "the bytes")
        same(os.path.exists(self.path), False, "where it was before")

    def undone(self, world):
        """Its bytes are where they were, or where the driver puts what it lets go."""
        same(world.find(f"/v1/volumes/p:{self.name}"), None, "the volume")
        unmanaged = os.path.join(world.directories["p"], "unmanaged")
        places = [self.path] + [os.path.join(unmanaged, name) for name in
                                (os.listdir(unmanaged) if os.path.isdir(unmanaged) else [])]
        places = [path for path in places if os.path.exists(path)]
        same(len(places), 1, f"copies of what was to be adopted: {places}")
        os.unlink(places[0])


@scenario("volume.unmanage")
class VolumeUnmanage(VolumeScenario):
    def ready(self, world):
        self.volume = self.keep("volumes", world.filled("left"))
        return "POST", f"/v1/volumes/{self.volume['id']}/unmanage", None

    def done(self, world):
        same(self.reread(world), None, "the volume")
        path = os.path.join(world.directories["p"], "unmanaged", self.volume["id"] + ".raw")
        with open(path, "rb") as disk:
            same(disk.read(6), b"left..", "the bytes")
        os.unlink(path)


# ---- snapshots ------------------------------------------------------------------------------------

@scenario("snapshot.create")
class SnapshotCreate(VolumeScenario):
    def ready(self, world):
        self.volume = self.keep("volumes", world.filled("taken"))
        return "POST", "/v1/snapshots", {"volume": self.volume["id"], "name": "s"}

    def path(self):
        return f"/v1/snapshots/p:{self.volume['name']}@s"

    def done(self, world):
        snapshot = self.keep("snapshots", world.find(self.path()))
        same(snapshot["size_bytes"], SIZE, "the size")
        same(world.read_snapshot(self.volume, snapshot), "taken", "the bytes")

    def undone(self, world):
        super().undone(world)
        same(world.find(self.path()), None, "the snapshot")


class OfSnapshot(VolumeScenario):
    def ready(self, world):
        self.volume = self.keep("volumes", world.volume())
        self.snapshot = self.keep("snapshots", world.snapshot(self.volume))
        self.volume = self.reread(world)
        return self.asked(f"/v1/snapshots/{self.snapshot['id']}")

    def again(self, world):
        return world.find(f"/v1/snapshots/{self.snapshot['id']}")


@scenario("snapshot.update")
class SnapshotUpdate(OfSnapshot):
    def asked(self, path):
        return "PATCH", path, {"labels": {"a": "b"}}

    def done(self, world):
        same(self.again(world)["labels"], {"a": "b"}, "the labels")


@scenario("snapshot.delete")
class SnapshotDelete(OfSnapshot):
    def asked(self, path):
        return "DELETE", path, None

    def done(self, world):
        same(self.again(world), None, "the snapshot")

    def undone(self, world):
        super().undone(world)
        same(self.again(world)["state"], "available", "the snapshot")


@scenario("snapshot.delete")
class SnapshotDeleteLast(SnapshotDelete):
    """Of a volume that is gone: with it goes the directory."""

    def ready(self, world):
        request = super().ready(world)
        world.must("DELETE", f"/v1/volumes/{self.volume['id']}")
        return request

    def done(self, world):
        super().done(world)
        folder = os.path.join(world.directories["p"], "volumes", self.volume["id"])
        same(os.path.exists(folder), False, "the volume's directory")

    def undone(self, world):
        same(self.again(world)["state"], "available", "the snapshot")


# ---- hosts and attachments ------------------------------------------------------------------------

@scenario("host.create")
class HostCreate(VolumeScenario):
    def ready(self, world):
        self.name = world.name("host")
        return "POST", "/v1/hosts", {"name": self.name, "identities": {"uid": "65001"}}

    def done(self, world):
        same(self.keep("hosts", world.find(f"/v1/hosts/{self.name}"))["identities"], {"uid": "65001"},
             "the identities")


@scenario("host.update")
class HostUpdate(VolumeScenario):
    def ready(self, world):
        self.host = self.keep("hosts", world.must("POST", "/v1/hosts", {"name": world.name("host")}))
        return "PATCH", f"/v1/hosts/{self.host['id']}", {"identities": {"uid": "65002"}}

    def done(self, world):
        same(world.find(f"/v1/hosts/{self.host['id']}")["identities"], {"uid": "65002"}, "the identities")


@scenario("host.delete")
class HostDelete(HostUpdate):
    def ready(self, world):
        return "DELETE", super().ready(world)[1], None

    def done(self, world):
        same(world.find(f"/v1/hosts/{self.host['id']}"), None, "the host")


@scenario("attachment.create")
class AttachmentCreate(VolumeScenario):
    def ready(self, world):
        self.volume = self.keep("volumes", world.volume())
        return "POST", "/v1/attachments", self.what(world)

    def what(self, world):
        return {"volume": self.volume["id"], "host": "h"}

    def attachments(self, world):
        return world.client.all(f"/v1/attachments?volume={self.volume['id']}")

    def done(self, world):
        attachments = self.attachments(world)
        same(len(attachments), 1, "attachments")
        self.keep("attachments", attachments[0])
        same(os.path.exists(attachments[0]["connection"]["path"]), True, "the path")

    def undone(self, world):
        super().undone(world)
        same(self.attachments(world), [], "attachments")


@scenario("attachment.create")
class AttachmentOfSnapshot(AttachmentCreate):
    def what(self, world):
        snapshot = self.keep("snapshots", world.snapshot(self.volume))
        self.volume = self.reread(world)
        return {"snapshot": snapshot["id"], "host": "h"}


@scenario("attachment.delete")
class AttachmentDelete(VolumeScenario):
    def ready(self, world):
        self.volume = self.keep("volumes", world.volume())
        self.attachment = self.keep("attachments", world.attachment(self.volume))
        self.volume = self.reread(world)
        return "DELETE", f"/v1/attachments/{self.attachment['id']}", None

    def done(self, world):
        same(world.find(f"/v1/attachments/{self.attachment['id']}"), None, "the attachment")
        same(self.reread(world)["attachments"], 0, "attachments")

    def undone(self, world):
        super().undone(world)
        same(world.find(f"/v1/attachments/{self.attachment['id']}")["state"], "attached", "the attachment")


@scenario("attachment.delete")
class AttachmentMigrated(AttachmentDelete):
    """The second host has the volume once the first is detached, and not before."""

    def ready(self, world):
        answer = super().ready(world)
        host = self.keep("hosts", world.must("POST", "/v1/hosts", {"name": world.name("target"),
                                                                   "identities": {"uid": "65001"}}))
        self.second = self.keep("attachments", world.must(
            "POST", "/v1/attachments", {"volume": self.volume["id"], "host": host["id"], "mode": "rw-migrate"}))
        self.volume = self.reread(world)
        return answer

    def mode(self, world):
        return world.find(f"/v1/attachments/{self.second['id']}")["mode"]

    def done(self, world):
        same(world.find(f"/v1/attachments/{self.attachment['id']}"), None, "the attachment")
        same(self.reread(world)["attachments"], 1, "attachments")
        same(self.mode(world), "read-write", "the mode of the one that stays")

    def undone(self, world):
        super().undone(world)
        same(self.mode(world), "rw-migrate", "the mode of the second")


# ---- tokens -----------------------------------------------------------------------------------------

@scenario("token.create")
class TokenCreate(VolumeScenario):
    def ready(self, world):
        self.name = world.name("token")
        return "POST", "/v1/tokens", {"name": self.name, "role": "viewer"}

    def done(self, world):
        tokens = world.client.all(f"/v1/tokens?name={self.name}")
        same(len(tokens), 1, "tokens")


@scenario("token.delete")
class TokenDelete(TokenCreate):
    def ready(self, world):
        method, path, body = super().ready(world)
        world.must(method, path, body)
        return "DELETE", f"/v1/tokens/{self.name}", None

    def done(self, world):
        same(world.client.all(f"/v1/tokens?name={self.name}"), [], "tokens")
