# SPDX-License-Identifier: Apache-2.0
"""world.py: a gateway with the pools, volumes and drivers that operations are tried on, and what must
hold when nothing is under way.

A World belongs to one thread. Its gateway comes and goes; its directory stays, so that what one
scenario left behind is found by the next.
"""
import os
import shutil
import subprocess
import tempfile
import time

from gateway import BUILD, END_S, TREE, Gateway, Lost, new_key, until

SIZE = 1 << 20
BLOCK = 4096
RUNNING = ("running", "undoing")
RESTING = {
    "pools": ("enabled", "disabled", "drained"),
    "volumes": ("available",),
    "snapshots": ("available",),
    "attachments": ("attached",),
}
SPARE = "0.3.0"  # the version of the ram driver that has no pools
SPARE_DRIVER = "ram@" + SPARE
MARKER = "sluice.pool"
SLICE_NS = "1"  # what takes slices takes as many as it can
POOL_UIDS = 80  # the last ones of a gateway's range are for drivers


PLACES = (0, SIZE // 2, SIZE - BLOCK)


def read_record(path):
    """The lines of one of the driver's records; those of snapshots as a list."""
    record = {"snapshot": []}
    with open(path, encoding="utf-8") as text:
        for line in text.read().splitlines()[1:]:
            key, value = line.split("=", 1)
            if key == "snapshot" and " " in value:
                record["snapshot"].append(value)
            elif key != "snapshot":
                record[key] = value
    return record


def read_places(path, image_format):
    with tempfile.NamedTemporaryFile() as whole:
        if image_format != "raw":
            subprocess.run(["qemu-img", "convert", "-U", "-f", image_format, "-O", "raw", path, whole.name],
                           check=True, capture_output=True)
            path = whole.name
        texts = []
        with open(path, "rb") as disk:
            for at in PLACES:
                disk.seek(at)
                texts.append(disk.read(BLOCK).rstrip(b".\0").decode(errors="replace"))
    return texts[0] if texts[0] == texts[1] == texts[2] else repr(texts)


def make_archives(directory):
    """The drivers of the build, and two more versions of the ram driver."""
    script = f'. "{TREE}/tests/lib.sh"; . "{TREE}/tests/drivers/tiny/archive.sh"; ' \
             f'ram_archive "{directory}" 0.2.0; ram_archive "{directory}" {SPARE}; ok archives; finish'
    made = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise AssertionError("archives: " + made.stdout + made.stderr)
    return [os.path.join(BUILD, "drivers"), directory]


class World:
    def __init__(self, directory, drivers):
        self.gateway = Gateway(directory, drivers, ["--retry-limit-ms", "10000"],
                               {"SLUICE_SHARE_SLICE_NS": SLICE_NS})
        self.client = self.gateway.client()
        self.names = 0
        self.pools = 0
        self.directories = {}  # of posix pools, by name

    # -- asking ----------------------------------------------------------------------------------

    def must(self, method, path, body=None):
        """A change that shall be done at once, or a read that shall be answered."""
        key = new_key() if method != "GET" else None
        wait = 30 if method != "GET" else None
        answer = self.client.until_answered(method, path, body, key, wait)
        if answer.status not in (200, 201, 204):
            raise AssertionError(f"{method} {path} {body}: {answer}")
        return answer.body

    def find(self, path):
        """None: it is not there."""
        answer = self.client.until_answered("GET", path)
        if answer.status not in (200, 404):
            raise AssertionError(f"GET {path}: {answer}")
        return answer.body if answer.status == 200 else None

    def name(self, stem):
        self.names += 1
        return f"{stem}{self.names}"

    # -- making ------------------------------------------------------------------------------------

    def found(self):
        """What every scenario may use; in a running gateway."""
        self.posix_pool("p")
        for name in ("h", "other"):
            self.must("POST", "/v1/hosts", {"name": name, "identities": {"uid": "65000"}})

    def posix_body(self, name):
        """The request for a pool in a new directory. The first one stays, the others take turns."""
        uid = self.gateway.uid_low + (self.pools if self.pools == 0 else self.pools % POOL_UIDS + 1)
        self.pools += 1
        self.directories[name] = self.gateway.pool_directory(name, uid)
        return {"name": name, "driver": "posix", "uid": uid,
                "properties": {"path": self.directories[name], "overcommit_percent": "0"}}

    def posix_pool(self, name):
        return self.must("POST", "/v1/pools", self.posix_body(name))

    def drop_pool(self, name):
        if self.find(f"/v1/pools/{name}") is not None:
            self.must("DELETE", f"/v1/pools/{name}?forget=true")
        self.forget_directory(name)

    def forget_directory(self, name):
        shutil.rmtree(self.directories.pop(name, ""), ignore_errors=True)

    def volume(self, pool="p", size=SIZE):
        return self.must("POST", "/v1/volumes", {"pool": pool, "name": self.name("v"), "size_bytes": size})

    def filled(self, text):
        volume = self.volume()
        self.write(volume, text)
        return volume

    def snapshot(self, volume):
        return self.must("POST", "/v1/snapshots", {"volume": volume["id"], "name": self.name("s")})

    def attachment(self, volume, host="h"):
        return self.must("POST", "/v1/attachments", {"volume": volume["id"], "host": host})

    # -- bytes -----------------------------------------------------------------------------------

    def disk(self, volume):
        """Its active image, and the format."""
        folder = os.path.join(self.directories["p"], "volumes", volume["id"])
        record = read_record(os.path.join(folder, "volume.meta"))
        return os.path.join(folder, f"g{int(record['active']):06}.{record['format']}"), record["format"]

    def write(self, volume, text):
        """At the beginning, in the middle and at the end, so that a cut copy is seen."""
        path, image_format = self.disk(volume)
        block = text.encode().ljust(BLOCK, b".")
        if image_format == "raw":
            with open(path, "r+b") as disk:
                for at in PLACES:
                    disk.seek(at)
                    disk.write(block)
            return
        with tempfile.NamedTemporaryFile() as source:
            source.write(block)
            source.flush()
            commands = [word for at in PLACES for word in ("-c", f"write -q -s {source.name} {at} {BLOCK}")]
            subprocess.run(["qemu-io", "-f", image_format, *commands, path], check=True, capture_output=True)

    def read(self, volume):
        return read_places(*self.disk(volume))

    def read_snapshot(self, volume, snapshot):
        folder = os.path.join(self.directories["p"], "volumes", volume["id"])
        for line in read_record(os.path.join(folder, "volume.meta"))["snapshot"]:
            identity, generation, image_format = line.split(" ")[:3]
            if identity == snapshot["id"]:
                return read_places(os.path.join(folder, f"g{int(generation):06}.{image_format}"), image_format)
        return None

    # -- what must hold ----------------------------------------------------------------------------

    def unended(self):
        return [each for state in RUNNING for each in self.client.all(f"/v1/operations?state={state}")]

    def all_ended(self):
        try:
            return not self.unended()
        except Lost:
            return False

    def rest(self, seconds=END_S):
        """Every operation ends, every pool that shall serve does."""
        until(self.all_ended, seconds, "every operation ends: " + repr(self.unended_text()))
        for pool in self.client.all("/v1/pools"):
            if pool["state"] != "drained":
                until(lambda name=pool["name"]: self.serves(name), seconds, f"{pool['name']} serves")

    def unended_text(self):
        try:
            return [f"{each['kind']} {each['state']} {each.get('waiting_for')}" for each in self.unended()]
        except Lost as lost:
            return str(lost)

    def serves(self, name):
        pool = self.find(f"/v1/pools/{name}")
        return pool is None or pool["health"] == "serving"

    def whole(self):
        """No object is half there; catalogue and directories agree."""
        for noun, states in RESTING.items():
            for each in self.client.all(f"/v1/{noun}"):
                if each["state"] not in states:
                    raise AssertionError(f"{noun} {each} is {each['state']}")
        volumes = self.client.all("/v1/volumes")
        snapshots = self.client.all("/v1/snapshots")
        attachments = self.client.all("/v1/attachments")
        self.counted(volumes, snapshots, attachments)
        pools = {pool["name"]: pool for pool in self.client.all("/v1/pools")}
        for name, pool in pools.items():
            if pool["state"] == "drained" or pool["driver"] != "posix":
                continue
            difference = self.must("GET", f"/v1/pools/{name}/compare")
            if difference["unknown_count"] or difference["missing_count"]:
                raise AssertionError(f"pool {name} differs: {difference}")
            self.agrees(name, [each for each in volumes if each["pool"] == pool["id"]],
                        [each for each in snapshots if each["pool"] == pool["id"]], attachments)
        for name in self.directories:
            if name not in pools and os.path.exists(os.path.join(self.directories[name], MARKER)):
                raise AssertionError(f"the directory of {name}, which is gone, carries a marker")

    @staticmethod
    def counted(volumes, snapshots, attachments):
        for volume in volumes:
            own = [each for each in snapshots if each["volume"] == volume["id"]]
            held = [each for each in attachments if each["volume"] == volume["id"] and not each["snapshot"]]
            if volume["snapshots"] != len(own) or volume["attachments"] != len(held):
                raise AssertionError(f"{volume} has {len(own)} snapshots, {len(held)} attachments")

    def agrees(self, name, volumes, snapshots, attachments):
        """The pool's directory holds what the catalogue says, and nothing else: its records name these
        volumes and snapshots, and every image is one of them or lies below one. Maintenance may have
        something left to remove."""
        wrong = None
        for _ in range(200):
            wrong = self.disagrees(name, volumes, snapshots, attachments)
            if wrong is None:
                return
            time.sleep(0.02)
        raise AssertionError(f"pool {name}: {wrong}")

    def disagrees(self, name, volumes, snapshots, attachments):
        root = self.directories[name]
        expected, images, there = {MARKER}, {}, set()
        active, named = set(), set()
        for folder, _, files in os.walk(root):
            there |= {os.path.relpath(os.path.join(folder, file), root) for file in files}
        try:
            for path in there:
                folder, file = os.path.split(path)
                if file == "volume.meta":
                    record = read_record(os.path.join(root, path))
                    expected.add(path)
                    if record["active"] != "0":
                        active.add(record["id"])
                        images[(record["id"], int(record["active"]))] = record["format"]
                    for line in record["snapshot"]:
                        identity, generation, image_format = line.split(" ")[:3]
                        named.add((record["id"], identity))
                        images[(record["id"], int(generation))] = image_format
            for image, image_format in list(images.items()):
                while image is not None:
                    volume, generation = image
                    images[image] = image_format
                    manifest = read_record(os.path.join(root, "volumes", volume, f"g{generation:06}.meta"))
                    parent = int(manifest["parent_generation"])
                    image = (manifest["parent_volume"], parent) if parent else None
                    image_format = manifest["parent_format"]
        except (OSError, KeyError) as error:  # maintenance is at it
            return f"a record cannot be read: {error!r}"
        for (volume, generation), image_format in images.items():
            expected |= {f"volumes/{volume}/g{generation:06}.{image_format}", f"volumes/{volume}/g{generation:06}.meta"}
        if active != {volume["id"] for volume in volumes}:
            return f"its volumes are {sorted(active)}"
        if named != {(snapshot["volume"], snapshot["id"]) for snapshot in snapshots}:
            return f"its snapshots are {sorted(named)}"
        granted = {f"volumes/{each['volume']}/access.meta" for each in attachments}
        # What was let go or waits to be adopted is nobody's; revoked grants are remembered.
        left = {path for path in there - expected if not path.startswith(("unmanaged/", "adopt-")) and
                not path.endswith("/access.meta")}
        missing = (expected | granted) - there
        return f"left over {sorted(left)}, missing {sorted(missing)}" if left or missing else None
