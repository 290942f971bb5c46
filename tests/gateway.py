# SPDX-License-Identifier: Apache-2.0
"""gateway.py: a whole gateway for the groups that need many clients, or to kill what they test.

What tests/gateway.sh is for bash. A Gateway has a directory: its state, its socket, its log, and
whatever a test puts there; a range of accounts that nobody else uses; and what the environment
holds for sluice-super and what it starts. Everything that is started here ends with it: a
sluice-super that dies takes sluiced and the runners along.

A Client is one connection. Its answers are Answer(status, headers, body): body is the JSON, or None.
Lost is raised when the gateway went away in the middle; ask again with the same key then.

Checks say "ok - NAME" or "not ok - NAME" as tests/run.sh counts them; finish() ends the group.
"""
import atexit
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", os.path.join(TREE, "build", "dev"))
FULL = os.environ.get("SLUICE_FULL", "0") == "1"
SEED = int(os.environ.get("SLUICE_SEED", "1"))
BUDGET_S = int(os.environ.get("SLUICE_BUDGET_S", "60"))

READY_S = 20  # from exec to ready; a sanitizer's build takes some seconds
# Longest that an operation may take to end after a kill: the retry limit and some.
END_S = int(os.environ.get("SLUICE_END_S", "40"))
UIDS_EACH = 100  # accounts of each gateway
UIDS_FIRST = 400000
PAGE_MAX = 500  # of the API
ANSWER_S = 70  # longer than any wait that a client may ask for

ROOT = os.geteuid() == 0


class Lost(Exception):
    """The gateway did not answer: it may or may not have done what was asked for."""


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"{self.status} {json.dumps(self.body)}"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=ANSWER_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self.path)


class Client:
    def __init__(self, path):
        self.path = path
        self.connection = None

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def ask(self, method, path, body=None, key=None, wait=None):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        sent = json.dumps(body) if body is not None else None
        try:
            if self.connection is None:
                self.connection = UnixConnection(self.path)
            self.connection.request(method, path, sent, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as lost:
            self.close()
            raise Lost(str(lost)) from lost
        is_json = "json" in answer.headers.get("Content-Type", "")
        return Answer(answer.status, answer.headers, json.loads(text) if text and is_json else None)

    def get(self, path):
        return self.ask("GET", path)

    def all(self, path):
        """Every item of a list."""
        items, after = [], ""
        while True:
            joint = "&" if "?" in path else "?"
            page = self.until_answered("GET", f"{path}{joint}limit={PAGE_MAX}" + (f"&after={after}" if after else ""))
            if page.status != 200:
                raise AssertionError(f"{path}: {page}")
            items += page.body["items"]
            after = page.body.get("next")
            if not after:
                return items

    def until_answered(self, method, path, body=None, key=None, wait=None, seconds=END_S):
        """Asks the same again until there is an answer; the key makes it the same change."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self.ask(method, path, body, key, wait)
                if answer.status not in (503, 429) or "operation" in (answer.body or {}):
                    return answer
                lost = repr(answer)
            except Lost as gone:
                lost = str(gone)
            if time.monotonic() > deadline:
                raise Lost(f"{method} {path}: {lost}")
            time.sleep(0.02)


class Gateway:
    count = 0
    lock = threading.Lock()

    def __init__(self, directory, drivers=None, options=(), super_environment=None):
        with Gateway.lock:
            number = Gateway.count
            Gateway.count += 1
        self.directory = directory
        os.makedirs(os.path.join(directory, "run"), exist_ok=True)
        os.chmod(directory, 0o711)
        self.drivers = drivers or [os.path.join(BUILD, "drivers")]
        self.options = list(options)
        self.environment = dict(super_environment or {})
        # Other groups may run at the same time: the process makes the ranges different.
        self.uid_low = UIDS_FIRST + (os.getpid() * 8 + number) % 16384 * UIDS_EACH
        self.socket = os.path.join(directory, "run", "sock")
        self.log = os.path.join(directory, "log")
        self.process = None

    # -- life ----------------------------------------------------------------------------------

    def start(self, faults=None, runner_faults=None, ready=True):
        environment = dict(os.environ, **self.environment)
        environment.pop("SLUICE_FAULTS", None)
        if faults:
            environment["SLUICE_FAULTS"] = faults
        if runner_faults:
            environment["SLUICE_RUNNER_FAULTS"] = runner_faults
        uids = f"{self.uid_low}-{self.uid_low + UIDS_EACH - 1}"
        arguments = [os.path.join(BUILD, "bin", "sluice-super"), "--uid-range", uids, "--",
                     "--state-dir", os.path.join(self.directory, "state"), "--socket", self.socket,
                     "--listen", "", "--uid-range", uids, "--catalog-map", "64M"]
        for each in self.drivers:
            arguments += ["--driver-dir", each]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(arguments + self.options, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment,
                                            start_new_session=True)
        running.add(self)
        if ready:
            self.until_ready()

    def until_ready(self, seconds=READY_S):
        client = self.client()
        until(lambda: self.answers(client), seconds, f"ready; {self.last_of_log()}")
        client.close()

    @staticmethod
    def answers(client):
        try:
            return client.get("/readyz").status == 200
        except Lost:
            return False

    def stop(self):
        """In order. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self, everybody=False):
        """A power cut, as far as processes go: sluice-super, and the others end for it; or all at once, so
        that a sluiced which was stopped does not go on."""
        children = children_of(self.process.pid)
        self.process.kill()
        status = self.wait_end()
        for pid in children if everybody else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in children), 10, "nothing outlives sluice-super")
        return status

    def wait_end(self):
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the gateway does not stop: " + self.last_of_log()) from None
        running.discard(self)
        return status

    def client(self):
        return Client(self.socket)

    def log_since(self, offset):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                log.seek(offset)
                return log.read()
        except OSError:
            return ""

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def last_of_log(self):
        return "\n".join(self.log_since(0).splitlines()[-8:])

    # -- processes -------------------------------------------------------------------------------

    def daemon_pid(self):
        for pid in children_of(self.process.pid):
            if name_of(pid) == "sluiced":
                return pid
        return 0

    def runner_pids(self):
        return [pid for pid in children_of(self.process.pid) if name_of(pid) == "sluice-runner"]

    def pool_directory(self, name, uid=None):
        """As the posix driver wants it; its path."""
        path = os.path.join(self.directory, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o711)
        if ROOT:
            os.chown(path, uid or self.uid_low, uid or self.uid_low)
        return path


# ---- processes ------------------------------------------------------------------------------------

def stat_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            line = stat.read()
    except OSError:
        return None
    state, parent = line.rpartition(")")[2].split()[:2]
    return state, int(parent)


def alive(pid):
    stat = stat_of(pid)
    return stat is not None and stat[0] not in "ZX"


def stopped(pid):
    stat = stat_of(pid)
    return stat is not None and stat[0] == "T"


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
            return comm.read().strip()
    except OSError:
        return ""


def children_of(parent):
    try:
        with open(f"/proc/{parent}/task/{parent}/children", encoding="utf-8") as children:
            return [int(word) for word in children.read().split()]
    except OSError:
        return []


def anonymous_kib(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


# ---- waiting and judging --------------------------------------------------------------------------

def until(condition, seconds, what):
    """The first true value of condition(); at the deadline an AssertionError."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


class Tally:
    def __init__(self):
        self.passed = self.failed = 0
        self.lock = threading.Lock()

    def say(self, is_good, name, details=()):
        with self.lock:
            self.passed += bool(is_good)
            self.failed += not is_good
            print(("ok - " if is_good else "not ok - ") + name)
            for detail in details:
                for line in str(detail).splitlines():
                    print("# " + line)
            sys.stdout.flush()
        return is_good


tally = Tally()
running = set()
temp = tempfile.mkdtemp(prefix="sluice-test.", dir=os.environ.get("TMPDIR", "/tmp"))
os.chmod(temp, 0o711)


def check(name, is_good, *details):
    return tally.say(is_good, name, () if is_good else details)


def note(text):
    with tally.lock:
        print("# " + text)
        sys.stdout.flush()


def new_key():
    return str(uuid.uuid4())


def finish():
    if tally.passed + tally.failed == 0:
        tally.say(False, "a group must test something")
    sys.exit(1 if tally.failed else 0)


def clean_up():
    for gateway in list(running):
        gateway.process.kill()
        gateway.process.wait()
    if os.environ.get("SLUICE_KEEP", "0") == "1":
        print(f"# kept {temp}")
    else:
        shutil.rmtree(temp, ignore_errors=True)


atexit.register(clean_up)
for ending in (signal.SIGTERM, signal.SIGINT):
    signal.signal(ending, lambda number, frame: sys.exit(128 + number))
