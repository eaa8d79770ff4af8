#!/usr/bin/env python3
"""Storms of real clients against one node: nothing is lost, left out or left behind by what is done in slices, and the longest turn is
shown. What it may take is judged by macula load --strict, on a machine that is known. tests/e2e/turns.py BUILD_FOLDER [CASE]...
"""
import json
import os
import re
import signal
import sys
import tempfile

from _node import Node, build, until
from _process import Process, end_all
from _still import tried

MANY = 60 if "asan" in build else 300
PATTERNS = 2500  # of one client: more than are dropped in one step
PAGE = 64  # rows


# What macula sub does, without its limit of 64 patterns.
SUBSCRIBER = """
import ctypes, signal, sys
lib, count = ctypes.CDLL(sys.argv[1]), int(sys.argv[2])
class Client(ctypes.Structure):
    _fields_ = [("loop", ctypes.c_void_p), ("id", ctypes.c_uint64)]
heard = ctypes.CFUNCTYPE(None, ctypes.c_void_p, Client, ctypes.c_void_p)(lambda *_: print("heard", flush=True))
loop, client = ctypes.c_void_p(), Client()
assert lib.macula_loop_new(None, ctypes.byref(loop)) == 0
assert lib.macula_connect(loop, None, ctypes.byref(client)) == 0
assert lib.macula_connect_wait(client, ctypes.c_uint64(60000)) == 0
for i in range(count):
    assert lib.macula_subscribe(client, b"many.%d.*" % i, None, heard, None, None, None) == 0
signal.pause()
"""


def bench(n, *args):
    """Its figures."""
    return json.loads(n.ok("--json", "bench", *args))


def status(n):
    return json.loads(n.ok("--json", "status"))  # as an operator, whom an access file makes of it


def idle(n, count):
    """Clients of one process."""
    before = status(n)["clients"]["count"]
    p = n.macula("bench", "idle", "--clients", str(count), "--hold", "1h")
    until("%d clients more" % count, lambda: status(n)["clients"]["count"] == before + count)
    return p


def longest(n):
    """What /metrics says of turns holds together; the longest one as a text."""
    text = n.get("/metrics")
    counts = [int(c) for c in re.findall(r"^macula_loop_turn_seconds_bucket\{le=.*\} (\d+)$", text, re.M)]
    assert counts == sorted(counts) and counts[-1] == int(re.search(r"^macula_loop_turn_seconds_count (\d+)$", text, re.M).group(1)), counts
    cause, seconds = re.search(r'^macula_loop_turn_longest_seconds\{cause="(\w*)"\} (\S+)$', text, re.M).groups()
    assert status(n)["turns"]["longest_us"] >= float(seconds) * 1e6 - 1, text
    return "the longest of %d turns computed %.1f ms (%s)" % (counts[-1], 1e3 * float(seconds), cause)


def case_one_to_many(n):
    got = bench(n, "fanout", "--subscribers", str(MANY), "--messages", "100")
    assert got["deliveries"] == 100 * MANY and got["lost"] == 0, got
    return "%d messages to %d subscribers arrive" % (100, MANY)


def case_all_at_once(n):
    got = bench(n, "connect", "--clients", str(MANY), "--outstanding", str(MANY))
    assert got["clients"] == MANY, got
    return "%d clients connect at once" % MANY


def case_killed(n):
    idle(n, MANY).end(signal.SIGKILL)
    until("none is left", lambda: status(n)["clients"]["count"] == 0)
    assert status(n)["subscriptions"]["count"] == 0
    return "%d clients of a process that was killed are gone" % MANY


def case_patterns(n):
    """One client has very many; what it leaves behind is nobody's, and it can come back meanwhile."""
    if "asan" in build:
        return "left out: python cannot load the library"
    for sig in (signal.SIGTERM, signal.SIGKILL):
        sub = Process([sys.executable, "-c", SUBSCRIBER, os.path.join(build, "src", "libmacula.so"), str(PATTERNS)], n.env, text=True)
        until("all its patterns", lambda: status(n)["subscriptions"]["count"] == PATTERNS or sub.p.poll())
        assert sub.p.poll() is None, sub.err
        n.ok("pub", "many.%d.x" % (PATTERNS - 1), "x")
        sub.expect("out", "^heard$")
        sub.end(sig)
        until("none of them", lambda: status(n)["subscriptions"]["count"] == 0)
    return "%d patterns of one client go with it" % PATTERNS


def case_listed(n):
    """Lists and metrics, page by page, beside traffic."""
    clients = idle(n, MANY)
    traffic = n.macula("--json", "bench", "pubsub", "--messages", "50000")
    rounds = 0
    while traffic.p.poll() is None or not rounds:
        rounds += 1
        listed = json.loads(n.ok("--json", "clients"))["clients"]
        instances = {(c["id"], c["instance"]) for c in listed}
        assert len(listed) == len(instances) >= MANY, (len(listed), len(instances))
        n.get("/metrics")
    page = json.loads(n.get("/api/clients?limit=1000"))
    assert len(page["clients"]) == min(PAGE, page["total"]) and page["total"] >= MANY, (len(page["clients"]), page["total"])
    assert traffic.wait() == 0 and json.loads(traffic.out)["lost"] == 0, traffic.out
    clients.end(signal.SIGINT)
    return "%d clients are listed while messages go" % MANY


def case_reload(n):
    """A large access file is read again while clients are there: they stay, and who is new counts."""
    clients = idle(n, MANY)
    for i in range(2):
        write_access(n.access, i + 1)
        n.process.p.send_signal(signal.SIGHUP)
        n.process.expect("err", r"(?s)(.*\breloaded\b){%d}" % (i + 1))
        n.ok("pub", "a.b", "x")
    assert status(n)["clients"]["count"] >= MANY
    clients.end(signal.SIGINT)
    return "a large access file is read again beside %d clients" % MANY


def write_access(path, salt):
    with open(path, "w") as f:
        f.write("grants:\n  all: {role: operator, pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}\n")
        f.writelines("  g%d: {role: client, pub: ['a%d.%d.**', 'b.*'], sub: ['c.%d.**']}\n" % (i, salt, i, i) for i in range(900))
        f.write("keys:\n")
        f.writelines("  '%064x': g%d\n" % (i + 1, i % 900) for i in range(9000))
        f.write("default: all\n")


def run(name, case):
    def one():
        with tempfile.TemporaryDirectory() as folder:
            args = ["--max-clients", "1000", "--client-subscriptions", str(2 * PATTERNS), "--idle-timeout", "5s"]
            access = os.path.join(folder, "access.yaml")
            if name == "reload":
                write_access(access, 0)
                args += ["--access", access]
            with Node(folder, *args) as n:
                n.access = access
                n.ok("pub", "a.b", "x")  # its id is known from now on
                return case(n), longest(n)
    try:
        said, turns = tried(name, one)
        print("ok %s: %s; %s" % (name, said, turns), flush=True)
        return True
    except AssertionError as e:
        print("FAIL %s: %s" % (name, str(e).replace("\n", " | ")), flush=True)
        return False
    finally:
        end_all()


cases = {k[len("case_"):]: f for k, f in list(globals().items()) if k.startswith("case_")}
wanted = sys.argv[2:] or list(cases)
passed = sum(run(name, cases[name]) for name in wanted)
print("%d passed, %d failed" % (passed, len(wanted) - passed))
sys.exit(passed != len(wanted))
