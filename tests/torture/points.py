# SPDX-License-Identifier: Apache-2.0
"""points.py: kills sluiced, the runners, or all, at each named step of each operation.

The points are those that `sluiced --fault-points` prints, the steps of drivers/share/step.def, and
the two sides of a commit. A trial is one scenario (kinds.py) with a death in the middle; afterwards
the same must hold whoever died and wherever:

    the operation ends as it should, done or undone, within a deadline
    asking again with the same key is answered by the same operation, and made nothing twice
    no object is half there, catalogue and directory agree, nothing is left over
    what was acknowledged is there

How somebody dies at a point: sluiced kills itself (SLUICE_FAULTS, POINT=kill); or it stops there
(POINT=stop) while the runners, or sluice-super with everybody, are killed; or a runner kills itself
at one of its driver's steps (SLUICE_RUNNER_FAULTS). A test build of sluice-super forgets both after
the first death. Points of undoing are reached by a step that fails (STEP.before=fail: it does not run;
STEP.after=fail: it has run).
"""
import itertools
import os
import queue
import re
import signal
import subprocess
import threading
import time

from gateway import BUILD, END_S, SEED, TREE, Lost, alive, check, new_key, note, stopped, temp, until
from kinds import KINDS, same
from world import World, make_archives

WAIT_S = min(30, END_S)  # for which a client asks the gateway to wait
SHOWN_MAX = 4  # failures of one group that are told in full
COMMITS_MAX = 8  # a gateway's start and one operation take fewer
DEATH = "sluiced ended and is started again"  # says sluice-super
UNDO = ("turned", "undone", "undo_before", "undo_after")

# Points that no scenario can pass, with the reason. One that is passed all the same fails the group.
REASONS = {
    "share.epoch_recorded": "opening a volume for I/O; no operation of the API does (unit/driver_posix kills it there)",
    **{f"share.push_{name}": "merging into an image that is larger than what lies on it, which no operation of "
       "the API writes (unit/driver_posix kills it there)"
       for name in ("manifest_written", "resized", "slice_done", "published", "parent_set")},
}
# Kinds whose steps are about the driver alone and have no calls to the posix driver.
NO_POSIX = ("driver.", "host.", "token.", "pool.upgrade", "pool.disable", "volume.update", "snapshot.update")


numbers = itertools.count()  # of worlds


class Trial:
    def __init__(self, victim, point, made, faults=None, runner_faults=None, expect="done", kill=None):
        self.victim, self.point, self.made = victim, point, made
        self.faults, self.runner_faults = faults, runner_faults
        self.expect, self.kill = expect, kill

    def __str__(self):
        return f"{self.victim} at {self.point} ({self.made.__name__})"


# ---- which --------------------------------------------------------------------------------------------

def core_points():
    listed = subprocess.run([os.path.join(BUILD, "bin", "sluiced"), "--fault-points"], check=True,
                            capture_output=True, text=True).stdout.split()
    return sorted(set(listed), key=listed.index)


def posix_points():
    with open(os.path.join(TREE, "drivers", "share", "step.def"), encoding="utf-8") as table:
        return ["share." + name for name in re.findall(r"^SHARE_STEP\((\w+)\)", table.read(), re.M)]


def kind_of(point):
    kinds = [kind for kind in KINDS if point.startswith(f"core.{kind}.")]
    return kinds[0] if kinds else None


def fault_to(points, kind, point):
    """What makes an operation of this kind pass the point: nothing, or a step that fails."""
    if point.split(".")[-1] not in UNDO:
        return []
    undone = [each for each in points if each.startswith(f"core.{kind}.") and each.endswith(".undo_before")]
    if undone:
        return [undone[-1].replace(".undo_before", ".after=fail")]
    first = next(each for each in points if each.startswith(f"core.{kind}.") and each.endswith(".before"))
    return [first + "=fail"]


def core_trials(points, victims):
    for point in points:
        kind = kind_of(point)
        if kind is None:
            continue
        planted = fault_to(points, kind, point)
        expect = "failed" if planted else "done"
        for made in KINDS[kind]:
            for victim, action in victims:
                faults = ",".join(planted + [f"{point}={action}"])
                yield Trial(victim, point, made, faults=faults, expect=expect, kill=victim)


class StepTrial(Trial):
    """The driver dies at the first of these steps that it passes, and the next trial is of the others: so
    every step that the operation passes is died at once, whichever they are."""

    def __init__(self, steps, made, faults=None, expect="done"):
        super().__init__("the driver", "no step", made, faults, ",".join(f"{step}=kill" for step in steps), expect)
        self.steps = steps

    def next(self):
        if self.point not in self.steps:
            return None
        return StepTrial([step for step in self.steps if step != self.point], self.made, self.faults, self.expect)


def step_trials(steps, core):
    for kind, variants in KINDS.items():
        if kind.startswith(NO_POSIX):
            continue
        for made in variants:
            yield StepTrial(steps, made)
            if any(each.startswith(f"core.{kind}.") and each.endswith("undo_before") for each in core):
                yield StepTrial(steps, made, ",".join(fault_to(core, kind, f"core.{kind}.turned")), "failed")


# ---- one trial ----------------------------------------------------------------------------------------

class Asking(threading.Thread):
    """The client, while somebody dies."""

    def __init__(self, world, request, key):
        super().__init__(daemon=True)
        self.client = world.gateway.client()
        self.request, self.key = request, key
        self.answer = self.trouble = None
        self.start()

    def run(self):
        method, path, body = self.request
        try:
            self.answer = self.client.until_answered(method, path, body, self.key, WAIT_S)
        except Exception as trouble:  # told by the one who joins
            self.trouble = trouble
        self.client.close()

    def get(self):
        self.join(120)
        if self.trouble is not None or self.answer is None:
            raise AssertionError(f"no answer: {self.trouble}")
        return self.answer


def operations(world, kind):
    return {each["id"]: each for each in world.client.all(f"/v1/operations?kind={kind}")}


def kill_at_stop(world, trial, asking, daemon):
    """False: the point was not passed, or nobody of that kind was there."""
    until(lambda: stopped(daemon) or not asking.is_alive(), 60, f"{trial}: passed or answered")
    if not stopped(daemon):
        return False
    if trial.kill == "everybody":
        world.gateway.kill(everybody=True)
        world.gateway.start()
        return True
    pids = world.gateway.runner_pids()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids), 10, "runners die")
    os.kill(daemon, signal.SIGCONT)
    return bool(pids)


def died(world, trial, asking, daemon, since):
    if trial.kill in ("the runners", "everybody"):
        return kill_at_stop(world, trial, asking, daemon)
    asking.join(120)
    said = world.gateway.log_since(since)
    step = re.search(r"killed at ([\w.]+)", said)
    if step and isinstance(trial, StepTrial):
        trial.point = step.group(1)
    return step is not None if isinstance(trial, StepTrial) else DEATH in said


def judge(world, trial, tried, request, key, asking, before):
    answer = asking.get()
    world.rest()
    made = {number: each for number, each in operations(world, trial.made.kind).items() if number not in before}
    if [each["state"] for each in made.values()] != [trial.expect]:
        raise AssertionError(f"operations {list(made.values())}, answer {answer}")
    is_good = answer.status in (200, 201, 204)
    if is_good != (trial.expect == "done"):
        raise AssertionError(f"answered {answer}")
    (tried.done if trial.expect == "done" else tried.undone)(world)
    method, path, body = request
    again = world.client.until_answered(method, path, body, key, WAIT_S)
    operation = next(iter(made))
    for each in (answer, again):
        same(each.headers["Sluice-Operation"], operation, "the operation of the answer")
    same(again.status, answer.status, "the status of the second answer")
    if trial.expect == "done" and hasattr(tried, "later"):
        tried.later(world)
    same(len(operations(world, trial.made.kind)), len(before) + 1, "operations after asking again")
    world.whole()


def run(world, trial):
    """True when somebody died. The gateway runs before and after."""
    tried = trial.made()
    request = tried.ready(world)
    before = operations(world, trial.made.kind)
    world.gateway.stop()
    since = world.gateway.log_size()
    world.gateway.start(trial.faults, trial.runner_faults)
    world.rest()
    daemon = world.gateway.daemon_pid()
    key = new_key()
    asking = Asking(world, request, key)
    fired = died(world, trial, asking, daemon, since)
    judge(world, trial, tried, request, key, asking, before)
    if not fired:  # what was planted shall not act later
        world.gateway.stop()
        world.gateway.start()
    tried.clean(world)
    return fired


# ---- all ----------------------------------------------------------------------------------------------

class Report:
    def __init__(self, stop_early):
        self.stop_early = stop_early
        self.fired = {}  # by point and victim
        self.tried = {}
        self.failures = {}
        self.lock = threading.Lock()

    def add(self, trial, fired, failure):
        key = (trial.victim, trial.made.kind)
        with self.lock:
            points = self.tried.setdefault(key, set())
            if fired or failure is not None:
                points.add(trial.point)
            if fired:
                self.fired.setdefault((trial.victim, trial.point), []).append(trial.made.__name__)
            if failure is not None:
                self.failures.setdefault(key, []).append(failure)


def work(trials, drivers, report):
    world = None
    while not (report.stop_early and report.failures):
        try:
            trial = trials.get_nowait()
        except queue.Empty:
            break
        fired, failure = False, None
        try:
            if world is None:  # a failure may have left anything behind: begin anew
                world = World(os.path.join(temp, f"torture{next(numbers)}"), drivers)
                world.gateway.start()
                world.found()
            fired = run(world, trial)
        except Exception as trouble:  # a trial's trouble is its result
            log = world.gateway.last_of_log() if world is not None else ""
            failure = f"{trial}: {type(trouble).__name__} {trouble}\n{log}"
            if world is not None and world.gateway.process is not None:
                world.gateway.process.kill()
                world.gateway.process.wait()
            world = None
        report.add(trial, fired, failure)
        if isinstance(trial, StepTrial) and trial.next() is not None:
            trials.put(trial.next())
    if world is not None:
        world.gateway.stop()


def run_all(trials, workers, stop_early=False):
    waiting = queue.Queue()
    for trial in trials:
        waiting.put(trial)
    archives = os.path.join(temp, "archives")
    drivers = make_archives(archives) if not os.path.exists(archives) else \
        [os.path.join(BUILD, "drivers"), archives]
    report = Report(stop_early)
    threads = [threading.Thread(target=work, args=(waiting, drivers, report)) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return report


def tell(report, what):
    """One line for each kind and victim. Returns the number of points at which somebody died."""
    for (victim, kind), points in sorted(report.tried.items()):
        failures = report.failures.get((victim, kind), [])
        fired = {point for point in points if (victim, point) in report.fired}
        check(f"{kind}: {victim} killed at {len(fired)} {what}, nothing lost, nothing half there",
              not failures, f"{len(failures)} failures", *failures[:SHOWN_MAX])
    return len(report.fired)


def commit_trials(full):
    """Either side of the Nth commit of a life, whatever it is for."""
    kinds = [made for variants in KINDS.values() for made in variants]
    for at, made in enumerate(kinds):
        for number in range(1, COMMITS_MAX + 1):
            if not full and (at + number + SEED) % COMMITS_MAX != 0:
                continue
            for side in ("before", "after"):
                yield Trial("sluiced", f"catalog.commit.{side}@{number}", made,
                            faults=f"catalog.commit.{side}=kill@{number}")


def check_reached(points, report, victim, what):
    fired = {point for (who, point) in report.fired if who == victim}
    missed = [point for point in points if point not in fired and point not in REASONS]
    check(f"every one of the {len(points)} {what} was passed, or has a reason", not missed, *missed)
    stale = [f"{point} {report.fired[(victim, point)]}" for point in points if point in fired and point in REASONS]
    check(f"no reason of the {what} is out of date", not stale, *stale)
    for point in points:
        if point in REASONS:
            note(f"not killed at {point}: {REASONS[point]}")


def torture_kinds(kinds, workers):
    """sluiced alone, at the points of these kinds, until the first failure: for tests/mutants."""
    points = [point for point in core_points() if kind_of(point) in kinds]
    report = run_all(core_trials(points, [("sluiced", "kill")]), workers, stop_early=True)
    tell(report, "points")
    check("somebody died", report.fired)


def torture(full, workers):
    points = core_points()
    check("every fault point is of a kind that has a scenario", all(kind_of(point) for point in points),
          *[point for point in points if kind_of(point) is None])
    begin = time.monotonic()
    victims = [("sluiced", "kill"), ("the runners", "stop")] + ([("everybody", "stop")] if full else [])
    core = run_all(core_trials(points, victims), workers)
    count = tell(core, "points")
    check_reached(points, core, "sluiced", "fault points of sluiced")
    note(f"fault points of sluiced: {time.monotonic() - begin:.0f} s")
    begin = time.monotonic()
    steps = posix_points()
    posix = run_all(step_trials(steps, points), workers)
    count += tell(posix, "steps")
    check_reached(steps, posix, "the driver", "steps of the posix driver")
    note(f"steps of the posix driver: {time.monotonic() - begin:.0f} s")
    begin = time.monotonic()
    commits = run_all(commit_trials(full), workers)
    count += tell(commits, "commits")
    note(f"commits: {time.monotonic() - begin:.0f} s")
    print(f"kill points: {count}")
    return count
