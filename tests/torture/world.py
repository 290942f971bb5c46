# SPDX-License-Identifier: Apache-2.0
"""world.py: a gateway with the pools, volumes and drivers that operations are tried on, and what must
hold when nothing is under way.

A World belongs to one thread. Its gateway comes and goes; its directory stays, so that what one
scenario left behind is found by the next.
"""
import os
import shutil
import subprocess

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
SLICE_NS = "1"  # every copy takes as many slices as it can
POOL_UIDS = 80  # the last ones of a gateway's range are for drivers


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
                               {"SLUICE_POSIX_SLICE_NS": SLICE_NS})
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
        folder = os.path.join(self.directories["p"], "volumes", volume["id"])
        disks = [name for name in os.listdir(folder) if name.startswith("disk-")]
        if len(disks) != 1:
            raise AssertionError(f"{volume['name']} has the disks {disks}")
        return os.path.join(folder, disks[0])

    def write(self, volume, text):
        """At the beginning, in the middle and at the end, so that a cut copy is seen."""
        with open(self.disk(volume), "r+b") as disk:
            for at in (0, SIZE // 2, SIZE - BLOCK):
                disk.seek(at)
                disk.write(text.encode().ljust(BLOCK, b"."))

    def read(self, volume):
        texts = []
        with open(self.disk(volume), "rb") as disk:
            for at in (0, SIZE // 2, SIZE - BLOCK):
                disk.seek(at)
                texts.append(disk.read(BLOCK).rstrip(b".\0").decode(errors="replace"))
        return texts[0] if texts[0] == texts[1] == texts[2] else repr(texts)

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
        """The pool's directory holds what the catalogue says, and nothing else."""
        root = self.directories[name]
        expected = {MARKER}
        for volume in volumes:
            expected |= {f"volumes/{volume['id']}/volume.meta", f"volumes/{volume['id']}/disk"}
        for snapshot in snapshots:
            folder = f"volumes/{snapshot['volume']}/snapshots/{snapshot['id']}"
            expected |= {f"{folder}/snapshot.meta", f"{folder}/disk.raw"}
        granted = {f"volumes/{each['volume']}/access.meta" for each in attachments}
        there = set()
        for folder, _, files in os.walk(root):
            for file in files:
                path = os.path.relpath(os.path.join(folder, file), root)
                if file.startswith("disk-") and file.endswith(".raw"):
                    path = os.path.join(os.path.dirname(path), "disk")
                if path in there:
                    raise AssertionError(f"pool {name} has two of {path}")
                there.add(path)
        # What was let go or waits to be adopted is nobody's; revoked grants are remembered.
        left = {path for path in there - expected if not path.startswith(("unmanaged/", "adopt-")) and
                not path.endswith("/access.meta")}
        missing = (expected | {path for path in granted if path in expected}) - there
        if left or missing:
            raise AssertionError(f"pool {name}: left over {sorted(left)}, missing {sorted(missing)}")
