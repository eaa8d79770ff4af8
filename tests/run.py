#!/usr/bin/env python3
"""Runs every Meson test, as many at a time as the machine takes, and sums up their cases: tests/run.py BUILD_FOLDER [WORD...].

With words only tests whose name contains one of them. A cmocka program counts its own cases; an end-to-end script prints "ok NAME" or
"FAIL NAME: why" a case; a check counts as one. The last line is "N passed, N failed".
"""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

build, words = os.path.abspath(sys.argv[1]), sys.argv[2:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored, and its children inherit that
AT_ONCE = (os.cpu_count() or 1) + 1  # most scripts wait for what they started half of their time
passed = failed = 0
failures = []
said = threading.Lock()


def tests():
    """As Meson knows them, the longest first: what is left at the end is short."""
    listed = json.loads(subprocess.check_output(["meson", "introspect", "--tests", build]))
    listed = [t for t in listed if not words or any(w in t["name"] for w in words)]
    return sorted(listed, key=lambda t: -t["priority"])


def run(test):
    """Returns the exit code, what it printed, the seconds that it took, and those of a processor that it and what it waited for used."""
    env = {k: v for k, v in os.environ.items() if k != "MACULA_SERVER"}
    env.update(test["env"])
    started = time.monotonic()
    with tempfile.TemporaryFile() as out:
        try:
            p = subprocess.Popen(test["cmd"], cwd=test["workdir"], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True)
        except OSError as e:  # a program that was not built
            return -1, "cannot be started: %s" % e, 0, 0
        late = threading.Event()

        def end():  # with all that it started
            late.set()
            os.killpg(p.pid, signal.SIGKILL)

        timer = threading.Timer(test["timeout"], end)
        timer.start()
        try:
            _, status, used = os.wait4(p.pid, 0)
        except KeyboardInterrupt:
            os.killpg(p.pid, signal.SIGTERM)
            raise
        finally:
            timer.cancel()
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode("utf-8", "replace") + ("\ntimed out after %d s" % test["timeout"] if late.is_set() else "")
    return p.returncode, text, time.monotonic() - started, used.ru_utime + used.ru_stime


def cases(suite, code, out):
    """How many of its cases passed and failed; a program that says of none that it failed, and fails, has one."""
    if suite == "check":
        return int(code == 0), int(code != 0)
    if suite == "e2e":
        ok, bad = len(re.findall(r"^ok ", out, re.M)), len(re.findall(r"^FAIL ", out, re.M))
    else:
        ok = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", out, re.M))
        bad = len(set(re.findall(r"^\[  FAILED  \] (\w+)$", out, re.M)))  # cmocka names each twice
    return ok, bad or int(code != 0 or ok == 0)


def one(test):
    global passed, failed
    suite = test["suite"][0].split(":")[-1]
    code, out, seconds, used = run(test)
    ok, bad = cases(suite, code, out)
    with said:
        passed += ok
        failed += bad
        print("%-4s %-44s %4d passed %3d failed  %6.1f s, %6.1f s of a core" %
              ("FAIL" if bad else "ok", test["name"], ok, bad, seconds, used), flush=True)
        if bad:
            failures.append(test["name"])
            lines = out.splitlines()
            wrong = [line for line in lines[:-60] if re.match(r"FAIL |\[  FAILED  \]", line)]  # else a long one's are above the end
            print("\n".join("    " + line for line in wrong + lines[-60:]), flush=True)


todo = tests()  # none needs to be alone: what they judge is counts and memory, and what is late is waited for
with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
    list(pool.map(one, todo))
if failures:
    print("failed: " + ", ".join(failures))
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed or not passed else 0)
