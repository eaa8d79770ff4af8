#!/usr/bin/env python3
"""Runs every test and sums them up: tests/run.py BUILD_FOLDER.

A cmocka program counts its own cases (their totals are read from its output); an end-to-end script prints "ok NAME" or
"FAIL NAME: why" a case; a check counts as one. The last line is "N passed, N failed".
"""
import glob
import os
import re
import signal
import subprocess
import sys
import time

build = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored, and its children inherit that
LIMIT = 1800  # seconds; the longest program takes 60 of them under ASan, a script some 300: only what hangs meets it
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
passed = failed = 0
failures = []
env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")
env.pop("MACULA_SERVER", None)


def run(name, cmd, timeout):
    """Runs one program; returns (exit code, output)."""
    started = time.monotonic()
    try:
        p = subprocess.run(cmd, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=timeout)
        code, out = p.returncode, p.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as e:
        code, out = -1, (e.stdout or b"").decode("utf-8", "replace") + "\ntimed out after %d s" % timeout
    return code, out, time.monotonic() - started


def count(name, ok, bad, out, seconds):
    global passed, failed
    passed += ok
    failed += bad
    print("%-4s %-44s %4d passed %3d failed  %6.1f s" % ("ok" if bad == 0 else "FAIL", name, ok, bad, seconds), flush=True)
    if bad:
        failures.append(name)
        said = out.splitlines()
        wrong = [line for line in said[:-60] if re.match(r"FAIL |\[  FAILED  \]", line)]  # else a long program's failure is above the end
        print("\n".join("    " + line for line in wrong + said[-60:]), flush=True)


def cmocka(path):
    name = os.path.basename(path)[2:]
    code, out, s = run(name, [path], LIMIT)
    ok = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", out))
    bad = len(re.findall(r"^\[  FAILED  \] \w+$", out, re.M))
    if code != 0 and bad == 0:
        bad = 1
    if code == 0 and ok == 0:
        bad, out = 1, out + "\nno test was executed"
    count(name, ok, bad, out, s)


def lines(name, cmd):
    code, out, s = run(name, cmd, 2 * LIMIT)
    ok = len(re.findall(r"^ok ", out, re.M))
    bad = len(re.findall(r"^FAIL ", out, re.M))
    if bad == 0 and (code != 0 or ok == 0):
        bad = 1
    count(name, ok, bad, out, s)


def check(name, cmd):
    code, out, s = run(name, cmd, LIMIT)
    count(name, int(code == 0), int(code != 0), out, s)


check("check layers", ["sh", "tools/check_layers.sh"])
check("check format", ["sh", "tools/check_format.sh"])
check("check Python", ["sh", "tools/check_python.sh"])
check("check symbols", ["sh", "tools/check_symbols.sh", build])
check("check deploy", ["sh", "tools/check_deploy.sh", build])
check("check installed library", ["sh", "tools/check_install.sh", build])
for path in sorted(glob.glob(os.path.join(root, build, "tests", "t_*"))):
    if os.path.isfile(path) and os.access(path, os.X_OK):
        cmocka(path)
for path in sorted(glob.glob(os.path.join(root, "tests", "e2e", "*.py"))):
    if not os.path.basename(path).startswith("_"):
        lines("e2e " + os.path.basename(path)[:-3], [sys.executable, path, os.path.join(root, build)])
if failures:
    print("failed: " + ", ".join(failures))
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed else 0)
