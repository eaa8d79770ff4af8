#!/usr/bin/env python3
"""10,000 real connections on loopback: all get in, the node counts them, none is left afterwards. scale.py BUILD_FOLDER"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from _node import serving
from _still import tried

build = sys.argv[1]
CLIENTS = 2000 if "asan" in build else 10000
DEADLINE = 1500  # all of it takes 10 s on an idle machine, and took minutes beside five busy loops of a higher priority


def status(env, address):
    p = subprocess.run([os.path.join(build, "macula"), "-s", address, "--json", "status"], env=env, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=DEADLINE)
    return json.loads(p.stdout) if p.returncode == 0 else {"error": p.stderr.strip()}


def wait_for(what, bench, probe):
    deadline = time.monotonic() + DEADLINE
    while not probe():
        assert time.monotonic() < deadline, "%s: not within %d s" % (what, DEADLINE)
        # It gives up with the first client that gets no connection within 10 s: a machine may stand still for that long.
        assert bench.poll() is None, "%s: it ended: %s" % (what, bench.stderr and bench.stderr.read())
        time.sleep(0.2)


def scale():
    """Returns what is as it should be."""
    with tempfile.TemporaryDirectory() as tmp:
        env = dict(os.environ, XDG_CONFIG_HOME=tmp)
        said = serving("--max-clients", str(CLIENTS), "--state", os.path.join(tmp, "state"))
        node, address = said.p, said.address
        bench = None
        try:
            bench = subprocess.Popen([os.path.join(build, "macula"), "-s", address, "--json", "bench", "idle", "--clients", str(CLIENTS),
                                      "--hold", "1h"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

            def count():
                return status(env, address).get("clients", {}).get("count")
            seen = ["%d clients are in, and an operator still gets the status of the full node" % CLIENTS]
            wait_for(seen[-1], bench, lambda: count() == CLIENTS)
            p = subprocess.run([os.path.join(build, "macula"), "-s", address, "pub", "a.b", "x"], env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, timeout=DEADLINE)
            seen.append("one more is refused with max_clients_reached")
            assert p.returncode == 3 and "max_clients_reached" in p.stderr, "%s: exit %d, %s" % (seen[-1], p.returncode, p.stderr)
            bench.send_signal(signal.SIGINT)  # held until all of the above is seen, however long that takes
            _, err = bench.communicate(timeout=DEADLINE)
            seen.append("the bench ends")
            assert bench.returncode == 1 and "interrupted" in err, "%s: exit %d, %s" % (seen[-1], bench.returncode, err)
            seen.append("none is left afterwards")
            wait_for(seen[-1], node, lambda: count() == 0)
            return seen
        finally:
            if bench and bench.poll() is None:
                bench.kill()
                bench.wait()
            node.terminate()
            node.wait(DEADLINE)


try:
    for line in tried("scale", scale):
        print("ok " + line, flush=True)
except (AssertionError, subprocess.TimeoutExpired) as e:
    print("FAIL %s" % str(e).replace("\n", " | "), flush=True)
    sys.exit(1)
