#!/usr/bin/env python3
"""Each guarantee's negative: with a maculad in which it can be switched off (tests/unbounded), its scenario of macula load must fail when
it is, and only then: load_negative.py BUILD_FOLDER."""
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

from _still import tried

build = os.path.abspath(sys.argv[1])
starting = threading.Lock()  # a process that begins while a program is being written has it open, and then that is busy
DEADLINE = 600  # a run takes 20 s on an idle machine
GUARANTEES = [  # scenario, bit of MACULA_TEST_UNBOUNDED, scale, a row that must be broken
    ("pool", 1, "0.02", "connections of the node at most"),
    ("clients", 2, "0.005", "exactly the limit are in"),
    ("services", 4, "0.005", "the renewed half is there, the other is gone"),
    ("streams", 8, "0.02", "subscriptions left behind"),
    ("callers", 16, "0.1", "calls pending then are those of the living"),
]


def run(scenario, scale, unbounded):
    with tempfile.TemporaryDirectory(prefix="macula.", ignore_cleanup_errors=True) as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_")}
        env.update(XDG_CONFIG_HOME=folder, TMPDIR=folder)
        if unbounded:
            env["MACULA_TEST_UNBOUNDED"] = str(unbounded)
        cmd = [os.path.join(folder, "macula"), "load", scenario, "--scale", scale, "--json"]  # it takes the maculad beside it
        os.symlink(os.path.join(build, "tests", "unbounded"), os.path.join(folder, "maculad"))
        if unbounded:
            cmd += ["--patience", "5"]  # what is shown never comes
        with starting:
            shutil.copy(os.path.join(build, "macula"), folder)
            p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        try:
            out, err = p.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            return None, [], "not within %d s" % DEADLINE
    r = json.loads(out) if out else {"table": [], "pass": None}
    return p.returncode, [row["what"] for row in r["table"] if not row["pass"]], err[-400:]


def passes(result):
    code, broken, err = result
    assert code == 0 and not broken, "exit %s, broken: %s; %s" % (code, ", ".join(broken), err.replace("\n", " | "))


def breaks(result, row):
    code, broken, err = result
    assert code == 1 and any(row in what for what in broken), "exit %s, broken: %s; %s" % (code, ", ".join(broken), err.replace("\n", " | "))


def judge(name, first, alone):
    """The first try ran beside others, on a machine that they keep busy, and says nothing when it is not as it should be. Alone, only the
    machine can explain that (_still.py)."""
    try:
        try:
            first()
        except AssertionError as e:
            print("   %s, with nothing beside it, as not %s" % (name, e), flush=True)
            tried(name, alone)
        print("ok " + name, flush=True)
        return 0
    except AssertionError as e:
        print("FAIL %s: %s" % (name, e), flush=True)
        return 1


failed = 0
with concurrent.futures.ThreadPoolExecutor(3) as pool:  # the longest first
    kept = [pool.submit(run, scenario, scale, 0) for scenario, _, scale, _ in reversed(GUARANTEES)]
    gone = [pool.submit(run, scenario, scale, bit) for scenario, bit, scale, _ in reversed(GUARANTEES)]
for (scenario, bit, scale, row), with_bound, without in zip(reversed(GUARANTEES), kept, gone):
    failed += judge("%s passes with its bound" % scenario, lambda: passes(with_bound.result()), lambda: passes(run(scenario, scale, 0)))
    failed += judge("%s fails without its bound" % scenario, lambda: breaks(without.result(), row), lambda: breaks(run(scenario, scale, bit), row))
sys.exit(1 if failed else 0)
