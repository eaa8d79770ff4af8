#!/usr/bin/env python3
"""Each guarantee's negative: in a build in which it can be switched off, its scenario of macula load must fail when it is, and only
then: load_negative.py BUILD_FOLDER. The build is made beside the one given, in build-unbounded."""
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
build = os.path.join(root, "build-unbounded")
GUARANTEES = [  # scenario, bit of MACULA_TEST_UNBOUNDED, scale, a row that must be broken
    ("pool", 1, "0.02", "connections of the node at most"),
    ("clients", 2, "0.005", "exactly the limit are in"),
    ("services", 4, "0.005", "the renewed half is there, the other is gone"),
    ("streams", 8, "0.02", "subscriptions left behind"),
    ("callers", 16, "0.1", "calls pending then are those of the living"),
]


def run(scenario, scale, unbounded):
    with tempfile.TemporaryDirectory(prefix="macula.") as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_")}
        env.update(XDG_CONFIG_HOME=folder, TMPDIR=folder)
        if unbounded:
            env["MACULA_TEST_UNBOUNDED"] = str(unbounded)
        p = subprocess.run([os.path.join(build, "macula"), "load", scenario, "--scale", scale, "--json"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, timeout=300)
    r = json.loads(p.stdout) if p.stdout else {"table": [], "pass": None}
    return p.returncode, [row["what"] for row in r["table"] if not row["pass"]], p.stderr[-400:]


made = subprocess.run(["tools/build.sh", "build-unbounded", "-Dtests=false", "-Dunbounded=true"], cwd=root, stdout=subprocess.PIPE,
                      stderr=subprocess.STDOUT, text=True)
if made.returncode:
    print("FAIL build-unbounded: " + made.stdout[-1500:].replace("\n", " | "))
    sys.exit(1)
failed = 0
with concurrent.futures.ThreadPoolExecutor(3) as pool:  # the longest first
    kept = [pool.submit(run, scenario, scale, 0) for scenario, _, scale, _ in reversed(GUARANTEES)]
    gone = [pool.submit(run, scenario, scale, bit) for scenario, bit, scale, _ in reversed(GUARANTEES)]
for (scenario, _, scale, row), with_bound, without in zip(reversed(GUARANTEES), kept, gone):
    code, broken, err = with_bound.result()
    for _ in range(2):  # a machine that stands still breaks promises as well: again, with nothing beside it
        if code == 0 and not broken:
            break
        print("   %s with its bound, again: %s" % (scenario, ", ".join(broken) or err.replace("\n", " | ")), flush=True)
        code, broken, err = run(scenario, scale, 0)
    ok = code == 0 and not broken
    failed += not ok
    print("ok %s passes with its bound" % scenario if ok else
          "FAIL %s with all bounds on: exit %d, broken: %s; %s" % (scenario, code, broken, err.replace("\n", " | ")), flush=True)
    code, broken, err = without.result()
    ok = code == 1 and any(row in what for what in broken)
    failed += not ok
    print("ok %s fails without its bound" % scenario if ok else
          "FAIL %s without its bound: exit %d, broken: %s; %s" % (scenario, code, broken, err.replace("\n", " | ")), flush=True)
sys.exit(1 if failed else 0)
