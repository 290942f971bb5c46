# SPDX-License-Identifier: Apache-2.0
"""faults.py [NAME...]: plants faults in copies of the ram driver; the kit has to name each.

Each fault is one piece of source of api/driver/example replaced by another; the piece must be there
exactly once. It is built as a vendor would build it, and sluice-conform has to say "not ok" to
the test that is named here. With --full the whole kit runs on each, else the group of that test.
"""
import os
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from gateway import BUILD, FULL, SEED, TREE, check, finish, temp  # noqa: E402

AT_ONCE = 2
KIT_S = 900 if FULL else 120  # a fault that hangs in every test costs its deadline each time
DEADLINE_S = "3"  # of one call: a fault that hangs costs so much
SOURCE = os.path.join(TREE, "api", "driver", "example")
INCLUDE = os.path.join(TREE, "api", "driver", "include")

Fault = namedtuple("Fault", "name test file old new")

FAULTS = [
    Fault("creating again is refused", "volume.creates_again", "disks.c",
          "        tell_volume(disk, ret);\n        return SLUICE_OK;\n    }\n    struct disk *source = NULL;\n"
          "    status = find_source",
          "        return ram_fail(pool, call, SLUICE_EXISTS, \"there already\");\n    }\n"
          "    struct disk *source = NULL;\n    status = find_source"),
    Fault("other parameters are not noticed", "volume.exists", "disks.c",
          "if (disk->created_bytes != args->size_bytes || strcmp(disk->name, args->name) != 0 ||",
          "if (false ||"),
    Fault("lists are in the order of making", "volume.lists", "disks.c",
          "    size_t at = place(disks, &disk->id);\n    memmove(&disks->at[at + 1], &disks->at[at], (disks",
          "    size_t at = disks->count;\n    memmove(&disks->at[at + 1], &disks->at[at], (disks"),
    Fault("a page begins one too late", "volume.lists", "disks.c", "? at + 1 : at;", "? at + 2 : at;"),
    Fault("another pool's marker is not noticed", "pool.foreign", "backing.c",
          "    if (memcmp(&marker.pool, &pool->id, sizeof pool->id) != 0 ||\n", "    if (false &&\n"),
    Fault("a claim replaces another's marker", "pool.foreign", "backing.c",
          "if (marked ? take_over : (args->flags & SLUICE_POOL_CLAIM) != 0)", "if (take_over || args->flags != 0)"),
    Fault("release leaves the marker", "pool.releases", "backing.c",
          "if (status == SLUICE_OK && unlinkat(pool->backing, MARKER, 0) != 0)", "if (false)"),
    Fault("deleting what is not there is NOT_FOUND", "volume.deletes", "disks.c",
          "    if (status != SLUICE_OK || disk == NULL) {\n        return status;\n    }\n    if (disk->handles > 0) {\n"
          "        return ram_fail(pool, call, SLUICE_BUSY, \"it is open for data calls: close it first\");\n    }\n"
          "    status = backing_delete",
          "    if (status != SLUICE_OK || disk == NULL) {\n"
          "        return ram_fail(pool, call, SLUICE_NOT_FOUND, \"no such volume\");\n    }\n"
          "    status = backing_delete"),
    Fault("what is open is deleted", "fence.open_is_busy", "disks.c",
          "    if (disk->handles > 0) {\n"
          "        return ram_fail(pool, call, SLUICE_BUSY, \"it is open for data calls: close it first\");\n    }\n"
          "    status = backing_delete", "    status = backing_delete"),
    Fault("a snapshot follows its volume", "snapshot.keeps", "disks.c",
          "    memcpy(disk->name, name, strlen(name) + 1); /* measured above */\n    disk->map = map_share(source->map);",
          "    memcpy(disk->name, name, strlen(name) + 1);\n    disk->map = source->map;"),
    Fault("a clone shares writes", "clone.apart", "blocks.c",
          "    if (old != NULL && old->references == 1) {\n        return old;", "    if (old != NULL) {\n        return old;"),
    Fault("a clone may be smaller than its source", "clone.smaller", "disks.c",
          "if (source != NULL && source->size_bytes > args->size_bytes)", "if (false)"),
    Fault("a revert forgets its operation", "revert.again", "disks.c",
          "if (compare(&disk->reverted, operation) == 0)", "if (compare(&disk->reverted, operation) == 2)"),
    Fault("growing loses the bytes", "resize.grows", "disks.c",
          "    disk->size_bytes = size_bytes;\n    status = backing_update",
          "    if (size_bytes > old) {\n        map_drop(&pool->store, disk->map);\n        disk->map = NULL;\n    }\n"
          "    disk->size_bytes = size_bytes;\n    status = backing_update"),
    Fault("what was cut off comes back", "resize.shrinks", "disks.c",
          "!map_zero(&pool->store, &disk->map, size_bytes, old - size_bytes, &full)", "full"),
    Fault("reading beyond the end is OK", "data.beyond", "io.c",
          "    if (io->offset > handle->disk->size_bytes ||\n        io->length > handle->disk->size_bytes - io->offset) {",
          "    if (writes && (io->offset > handle->disk->size_bytes ||\n"
          "                   io->length > handle->disk->size_bytes - io->offset)) {"),
    Fault("a reader may write", "data.read_only", "io.c",
          "return writes && handle->read_only ? SLUICE_READ_ONLY : SLUICE_OK;", "return SLUICE_OK;"),
    Fault("FUA is ignored", "token.fua", "io.c",
          "return io->flags & SLUICE_IO_FUA ? backing_flush(handle->pool, handle->disk) : SLUICE_OK;",
          "return SLUICE_OK;"),
    Fault("a flush does nothing", "token.flushed", "io.c",
          "        status = backing_flush(handle->pool, handle->disk);\n    }\n    complete", "    }\n    complete"),
    Fault("a trim zeroes its neighbours", "data.neighbours", "blocks.c",
          "bool done = skip == BLOCK_BYTES\n", "bool done = skip > 0\n"),
    Fault("NO_HOLE makes holes", "data.zeroes", "io.c", "io->flags & SLUICE_IO_NO_HOLE\n", "false\n"),
    Fault("extents leave gaps", "data.extents", "io.c", "            .length = length,\n            .flags",
          "            .length = length > 1 ? length / 2 : length,\n            .flags"),
    Fault("bytes are called a hole", "data.extents", "io.c", ".flags = hole ? SLUICE_EXTENT_HOLE",
          ".flags = hole || offset > 0 ? SLUICE_EXTENT_HOLE"),
    Fault("the token stays though bytes are lost", "token.acknowledged", "ram.c",
          "if (getrandom(&pool->token, sizeof pool->token, 0) != (ssize_t)sizeof pool->token) {",
          "pool->token = 7;\n    if (false) {"),
    Fault("an open with a lower epoch is let in", "fence.lower_is_stale", "io.c",
          "if (!snapshot && args->epoch < disk->epoch)", "if (false)"),
    Fault("a fenced handle still writes", "fence.higher_fences", "io.c",
          "    if (handle->epoch < handle->disk->epoch) {\n        return SLUICE_STALE;\n    }\n    if (io->offset",
          "    if (io->offset"),
    Fault("a process that hung still writes", "fence.processes", "backing.c",
          "if (done && header.epoch > disk->epoch)", "if (false)"),
    Fault("the highest epoch is forgotten", "fence.remembers", "backing.c",
          "        disk->epoch = header.epoch;\n", ""),
    Fault("calls are completed twice", "data.many", "io.c",
          "    handle->pool->services->complete(handle->pool->services, io, status, handle->pool->token);\n",
          "    handle->pool->services->complete(handle->pool->services, io, status, handle->pool->token);\n"
          "    handle->pool->services->complete(handle->pool->services, io, status, handle->pool->token);\n"),
    Fault("a flush is never completed", "token.steady", "io.c",
          "        status = backing_flush(handle->pool, handle->disk);\n    }\n    complete(handle, io, status);",
          "        return;\n    }\n    complete(handle, io, status);"),
    Fault("PENDING for ever", "resize.grows", "disks.c",
          "    uint64_t old = disk->size_bytes;\n    if (size_bytes < old) {",
          "    uint64_t old = disk->size_bytes;\n    if (size_bytes > old) {\n        return SLUICE_PENDING;\n    }\n"
          "    if (size_bytes < old) {"),
    Fault("an error without a text", "volume.not_found", "disks.c",
          "return ram_fail(pool, call, SLUICE_NOT_FOUND, \"no such volume in memory\");", "return SLUICE_NOT_FOUND;"),
    Fault("a long name is written beyond its place", "volume.long_names", "disks.c",
          "if (args->name == NULL || strlen(args->name) >= SLUICE_NAME_MAX)", "if (args->name == NULL)"),
    Fault("deleting a snapshot crashes", "snapshot.deletes", "disks.c",
          "(void)volume; /* the snapshot's id is enough to find it */", "if (pool->snapshots.count > 0) abort();\n    (void)volume;"),
    Fault("deleting a volume hangs", "volume.deletes", "disks.c",
          "    struct pool *pool = argument;\n    return delete_disk(pool, call, &pool->volumes, volume);",
          "    struct pool *pool = argument;\n    for (volatile int i = 0; pool->volumes.count > 1; i++)\n        ;\n"
          "    return delete_disk(pool, call, &pool->volumes, volume);"),
    Fault("a disk is seen before its bytes are there", "crash.kills", "backing.c",
          "    bool done = fd >= 0 && write_header(fd, disk) && write_blocks(fd, disk) &&\n"
          "                renameat(pool->backing, unfinished, pool->backing, name) == 0;",
          "    bool done = fd >= 0 && write_header(fd, disk) &&\n"
          "                renameat(pool->backing, unfinished, pool->backing, name) == 0 &&\n"
          "                usleep(2000) == 0 && write_blocks(fd, disk);"),
    Fault("what is deleted is still counted", "leaks.volumes", "disks.c",
          "    pool->provisioned -= disk->size_bytes;\n", ""),
    Fault("a capability without its member", "table.members", "ram.c", "SLUICE_CAP_MASK(EXTENTS),",
          "SLUICE_CAP_MASK(EXTENTS) | SLUICE_CAP_MASK(GRANT),"),
    Fault("more volumes than volumes_max", "volume.count", "ram.c", "        .volume_size_max = RAM_SIZE_MAX,\n",
          "        .volume_size_max = RAM_SIZE_MAX,\n        .volumes_max = 9,\n"),
    Fault("more snapshots than snapshots_max", "snapshot.count", "ram.c", "        .volume_size_max = RAM_SIZE_MAX,\n",
          "        .volume_size_max = RAM_SIZE_MAX,\n        .snapshots_max = 16,\n"),
    Fault("lanes that see nothing of each other", "threads.lanes", "ram.c", "        .lanes_max = 1,",
          "        .lanes_max = 2,"),
    Fault("a live snapshot is late", "snapshot.live", "disks.c",
          "    memcpy(disk->name, name, strlen(name) + 1); /* measured above */\n    disk->map = map_share(source->map);",
          "    memcpy(disk->name, name, strlen(name) + 1);\n    disk->map = source->map;"),
    Fault("health tells what is no health", "table.health", "ram.c",
          "static const struct sluice_driver driver_table = {\n    .size = sizeof driver_table,",
          "static int32_t health(void *driver, struct sluice_call *call, struct sluice_health_report *ret) {\n"
          "    (void)driver;\n    (void)call;\n    ret->health = 9;\n    return SLUICE_OK;\n}\n\n"
          "static const struct sluice_driver driver_table = {\n    .health = health,\n    .size = sizeof driver_table,"),
    Fault("a required member is missing", "kit.begins", "ram.c", "    .pool_probe = pool_probe,\n", ""),
    Fault("snapshots go with their volume", "snapshot.outlives", "disks.c",
          "    struct pool *pool = argument;\n    return delete_disk(pool, call, &pool->volumes, volume);",
          "    struct pool *pool = argument;\n    for (size_t i = pool->snapshots.count; i-- > 0;)\n"
          "        if (compare(&pool->snapshots.at[i]->volume, volume) == 0)\n"
          "            delete_disk(pool, call, &pool->snapshots, &pool->snapshots.at[i]->id);\n"
          "    return delete_disk(pool, call, &pool->volumes, volume);"),
]


def run(arguments, seconds):
    """The exit status and what it said; None: it took longer."""
    try:
        done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
                              check=False, errors="replace")
    except subprocess.TimeoutExpired:
        return None, f"longer than {seconds} s"
    return done.returncode, done.stdout


def compile_one(source, target):
    return run(["cc", "-std=c11", "-O1", "-D_GNU_SOURCE", "-fPIC", "-fvisibility=hidden", "-I", INCLUDE, "-I", SOURCE,
                "-c", source, "-o", target], KIT_S)


def compile_all(folder):
    """The objects of the driver as it is, by source; what the compiler said where it failed."""
    objects = {}
    for name in sorted(os.listdir(SOURCE)):
        if name.endswith(".c"):
            objects[name] = os.path.join(folder, name + ".o")
            status, said = compile_one(os.path.join(SOURCE, name), objects[name])
            if status != 0:
                return None, said
    return objects, ""


def plant(fault, objects, folder):
    """The driver with the fault, built; or why not."""
    with open(os.path.join(SOURCE, fault.file), encoding="utf-8") as file:
        whole = file.read()
    if whole.count(fault.old) != 1:
        return f"{fault.file} has what is to be replaced {whole.count(fault.old)} times"
    path = os.path.join(folder, fault.file)
    with open(path, "w", encoding="utf-8") as file:
        file.write(whole.replace(fault.old, fault.new))
    mine = dict(objects, **{fault.file: path + ".o"})
    status, said = compile_one(path, mine[fault.file])
    if status == 0:
        status, said = run(["cc", "-shared", *mine.values(), "-o", os.path.join(folder, "ram.so")], KIT_S)
    return None if status == 0 else said


def try_fault(objects, number):
    """(the fault, found, what was said)"""
    fault = FAULTS[number]
    folder = os.path.join(temp, f"fault-{number}")
    place = os.path.join(temp, f"place-{number}")
    os.mkdir(folder)
    os.mkdir(place)
    wrong = plant(fault, objects, folder)
    if wrong:
        return fault, False, wrong
    # kit.begins is what comes before all tests.
    only = [] if FULL or fault.test == "kit.begins" else ["--only", fault.test]
    status, said = run([os.path.join(BUILD, "bin", "sluice-conform"), "--seed", str(SEED), "--deadline", DEADLINE_S,
                        *only, os.path.join(folder, "ram.so"), f"backing={place}"], KIT_S)
    named = any(line.startswith("not ok ") and f" - {fault.test}:" in line for line in said.splitlines())
    return fault, status == 1 and named, said


def main(names):
    wanted = [i for i, fault in enumerate(FAULTS) if not names or any(name in fault.name for name in names)]
    objects, said = compile_all(temp)
    if not objects:
        check("the ram driver builds", False, said)
        finish()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for fault, found, said in pool.map(lambda number: try_fault(objects, number), wanted):
            seen = [line.strip() for line in said.splitlines() if line.strip().startswith("seen:")]
            check(f"{fault.name}: {fault.test} says so", found, said[-3000:])
            if names and seen:
                print(f"# {seen[0]}")
    finish()


main(sys.argv[1:])
