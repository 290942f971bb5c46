# SPDX-License-Identifier: Apache-2.0
"""mutants.py [NAME...]: plants a fault, builds, and wants the tests that are named to turn red.

The tree is copied and built once; there the tests have to pass. Then each mutant in turn is one piece
of source replaced by another. The piece must be there exactly once: a mutant that the source has
grown away from fails the group, as one that survives does.

A test is the name of a program of BUILD/tests, or `torture KIND...` (tests/torture of these kinds).
"""
import os
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from gateway import TREE, check, finish, note, temp  # noqa: E402

AT_ONCE = 4  # tests of the pristine copy: most of them wait more than they work
TEST_S = 60  # one that takes longer has turned red
WAIT_S = "5"  # how long torture waits for what a mutant may never do

Mutant = namedtuple("Mutant", "name file old new tests")

MUTANTS = [
    Mutant("a record's name is not synced", "drivers/posix/beneath.c",
           "    if (result != 0 || fsync(to_directory) != 0) {\n        return -1;\n    }\n"
           "    return from_directory == to_directory ? 0 : fsync(from_directory);",
           "    return result;",
           ["unit_driver_posix_durable"]),
    Mutant("an image is not synced before its record is published", "drivers/posix/fs.c",
           "    return fdatasync(fd_of(file)) == 0 ? SLUICE_OK : status_of_errno(errno);",
           "    return fd_of(file) >= 0 ? SLUICE_OK : status_of_errno(errno);",
           ["unit_driver_posix_durable"]),
    Mutant("an image that others lie on is removed", "drivers/share/index.c",
           "    return image->active || image->named || image->children > 0;",
           "    return image->active || image->named;",
           ["unit_driver_posix_control"]),
    Mutant("the marker is not looked at", "drivers/share/pool.c",
           "    status = check_marker(pool, call, &marker);\n    if (status == SLUICE_OK) {\n"
           "        pthread_mutex_lock",
           "    if (status == SLUICE_OK) {\n        pthread_mutex_lock",
           ["unit_driver_posix_control"]),
    Mutant("a revert that was made is made again", "drivers/share/revert.c",
           "if (uuid_compare(&volume.meta.reverted, operation) != 0) {",
           "if (uuid_compare(&volume.meta.reverted, operation) != 2) {",
           ["unit_driver_posix_chain"]),
    Mutant("commits are not synced", "gateway/catalog/catalog.c",
           "MDB_NOTLS | read_ahead_flag(directory)",
           "MDB_NOTLS | MDB_NOSYNC | read_ahead_flag(directory)",
           ["unit_catalog_catalog_sync_test"]),
    Mutant("recovery: what had not ended is not begun again", "gateway/core/recover.c",
           "            engine_begin(op);",
           "            (void)op;",
           ["torture host.create volume.create"]),
    Mutant("an Idempotency-Key is not looked up", "gateway/core/accept.c",
           "if (submission->has_key && key_known(submission, &err)) {",
           "if (submission->has_key && false && key_known(submission, &err)) {",
           ["torture host.create volume.create"]),
    Mutant("undo does nothing", "gateway/core/engine.c",
           "        step->undo(op);",
           "        op_step_done(op, NULL);",
           ["torture volume.create"]),
    Mutant("what hosts hold open is not asked before an operation", "gateway/core/attached.c",
           "return volume->attachments == 0 || look_at_all(&look, err);",
           "return volume->attachments == 0 || look_at_all(&look, err) || look.act < ATTACHED_NBD_READ;",
           ["unit_core_attached_test"]),
    Mutant("any length is taken from a packet's header", "gateway/wire/packet.c",
           "if (reader_u32(&reader) != length - WIRE_HEADER_SIZE)",
           "if (reader_u32(&reader) == UINT32_MAX)",
           ["unit_wire_message_test"]),
    Mutant("a text may be longer than its field", "gateway/base/shape.c",
           "    if (length > max)\n        return beyond_max;\n    const uint8_t *at = reader_take(reader, length);\n"
           "    if (at == NULL)\n        return cut_short;\n    if (!text_is_utf8",
           "    (void)max;\n    const uint8_t *at = reader_take(reader, length);\n"
           "    if (at == NULL)\n        return cut_short;\n    if (!text_is_utf8",
           ["unit_base_shape_test"]),
    Mutant("a bag's values are not judged", "gateway/lifecycle/bag.c",
           "    if (wrong != NULL)\n        violate(judging, value->name, wrong);\n"
           "    else if (judging->given[i] == NULL)\n        judging->full = true;\n}",
           "    (void)wrong;\n}",
           ["unit_lifecycle_bag_test"]),
    Mutant("any role is enough", "gateway/http/authenticate.c",
           "if (request->principal.role < needed)",
           "if (request->principal.role < needed && needed == ROLE_NONE)",
           ["unit_http_server_test"]),
    Mutant("no call is ever poison", "gateway/runners/calls.c",
           "if (died && ++call->deaths >= poison_deaths) {",
           "if (died && ++call->deaths >= poison_deaths + 1000) {",
           ["unit_runners_calls_test"]),
    Mutant("two writes of the same bytes are sent at once", "gateway/data/volume.c",
           "bool both = changes && call_changes(sent);",
           "bool both = false;",
           ["unit_data_replay_test"]),
    Mutant("two kept writes of the same bytes are replayed at once", "gateway/data/replay.c",
           "        if (touches_what_is_sent(volume, kept_entry(&volume->kept, volume->replay_next)))\n"
           "            return REPLAY_WAITS;\n",
           "        (void)touches_what_is_sent;\n",
           ["unit_data_replay_test"]),
]


def run(arguments, seconds, **how):
    """The exit status and what it said; None: it took longer."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True, **how) as process:
        try:
            said = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return None, ""
        return process.returncode, said


class Copy:
    """A copy of the tree as it is now, and a build of it."""

    def __init__(self, directory):
        self.tree, self.build = os.path.join(directory, "tree"), os.path.join(directory, "build")
        self.environment = dict(os.environ, SLUICE_SOURCE=self.tree, SLUICE_BUILD=self.build, BUILD=self.build,
                                SLUICE_END_S=WAIT_S, SLUICE_FULL="0", SLUICE_KEEP="0")
        listed = subprocess.run(["git", "-C", TREE, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                check=True, capture_output=True).stdout.decode().split("\0")
        for name in listed:
            source, target = os.path.join(TREE, name), os.path.join(self.tree, name)
            if name and os.path.isfile(source):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy2(source, target)

    def configure(self):
        # -O0 and no debugging symbols: what matters here is how soon the tests can run.
        status, said = run(["cmake", "-S", self.tree, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=None",
                            "-DCMAKE_C_FLAGS=-O0", "-DSLUICE_FAULTS=ON"], 120)
        return status == 0, said

    def make(self, targets):
        status, said = run(["ninja", "-C", self.build, *targets], 600)
        return status == 0, said

    def test(self, test):
        """(passed, what it said)"""
        words = test.split()
        if words[0] == "torture":
            program = [sys.executable, "-B", os.path.join(self.tree, "tests", "torture", "torture.py"), *words[1:]]
        else:
            program = [os.path.join(self.build, "tests", words[0])]
        status, said = run(program, TEST_S, env=self.environment, cwd=self.build)
        return status == 0, said if status is not None else f"longer than {TEST_S} s"


GATEWAY = ["sluiced", "sluice-super", "sluice-runner", "driver_posix", "archive_posix", "driver_ram", "archive_ram"]


def targets(mutants):
    found = set()
    for mutant in mutants:
        for test in mutant.tests:
            found |= set(GATEWAY if test.startswith("torture") else [test])
    return sorted(found)


def why(said):
    """What went wrong: a test of cmocka, or the first failure of torture."""
    found = re.search(r"^\[  FAILED  \] (\w+)$|^# (.* at .*)$", said, re.M)
    return (found.group(1) or found.group(2)) if found else (said.splitlines() or ["it crashed"])[-1]


def try_mutant(copy, mutant):
    path = os.path.join(copy.tree, mutant.file)
    with open(path, encoding="utf-8") as file:
        whole = file.read()
    if whole.count(mutant.old) != 1:
        check(f"{mutant.name}", False, f"{mutant.file} has what is to be replaced {whole.count(mutant.old)} times")
        return
    with open(path, "w", encoding="utf-8") as file:
        file.write(whole.replace(mutant.old, mutant.new))
    is_built, said = copy.make(targets([mutant]))
    killers = []
    if is_built:
        for test in mutant.tests:
            passed, said = copy.test(test)
            if not passed:
                killers.append(f"{test}: {why(said)}")
                break
    with open(path, "w", encoding="utf-8") as file:
        file.write(whole)
    if not is_built:
        check(mutant.name, False, "it does not build", said[-2000:])
        return
    check(f"{mutant.name}: killed" + (f" by {killers[0]}" if killers else ""), killers,
          f"it survived {', '.join(mutant.tests)}")


def main(names):
    mutants = [mutant for mutant in MUTANTS if not names or any(name in mutant.name for name in names)]
    begin = time.monotonic()
    copy = Copy(os.path.join(temp, "copy"))
    is_built, said = copy.configure()
    if is_built:
        is_built, said = copy.make(targets(mutants))
    if not check("the copy builds", is_built, said[-4000:]):
        finish()
    note(f"built in {time.monotonic() - begin:.0f} s")
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(copy.test, tests))
    for test, (passed, said) in zip(tests, outcomes):
        check(f"without a fault {test} passes", passed, said[-4000:])
    if not all(passed for passed, _ in outcomes):
        finish()
    note(f"tested in {time.monotonic() - begin:.0f} s")
    for mutant in mutants:
        begin = time.monotonic()
        try_mutant(copy, mutant)
        note(f"{time.monotonic() - begin:.1f} s")
    finish()


main(sys.argv[1:])
