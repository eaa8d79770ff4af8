#!/usr/bin/env python3
"""10,000 real connections on loopback: all get in, the node counts them, none is left afterwards. scale.py BUILD_FOLDER"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

build = sys.argv[1]
CLIENTS = 2000 if "asan" in build else 10000
DEADLINE = 600  # all of it takes 10 s on an idle machine


def status(env, address):
    p = subprocess.run([os.path.join(build, "macula"), "-s", address, "--json", "status"], env=env, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=DEADLINE)
    return json.loads(p.stdout) if p.returncode == 0 else {"error": p.stderr.strip()}


def wait_for(what, probe):
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        value = probe()
        if value:
            print("ok " + what, flush=True)
            return value
        time.sleep(0.2)
    print("FAIL %s: not within %d s" % (what, DEADLINE), flush=True)
    sys.exit(1)


with tempfile.TemporaryDirectory() as tmp:
    env = dict(os.environ, XDG_CONFIG_HOME=tmp)
    node = subprocess.Popen([os.path.join(build, "maculad"), "--listen", "127.0.0.1:0", "--http", "off", "--max-clients", str(CLIENTS),
                             "--state", os.path.join(tmp, "state")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    bench = None
    try:
        address = None
        for line in node.stdout:
            words = [w.strip(",;") for w in line.split()]
            address = next((w for w in words if w.startswith("127.0.0.1:")), None)
            if address:
                break
        bench = subprocess.Popen([os.path.join(build, "macula"), "-s", address, "--json", "bench", "idle", "--clients", str(CLIENTS),
                                  "--hold", "1h"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("%d clients are in, and an operator still gets the status of the full node" % CLIENTS,
                 lambda: status(env, address).get("clients", {}).get("count") == CLIENTS)
        p = subprocess.run([os.path.join(build, "macula"), "-s", address, "pub", "a.b", "x"], env=env, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=DEADLINE)
        ok = p.returncode == 3 and "max_clients_reached" in p.stderr
        print("ok one more is refused with max_clients_reached" if ok else
              "FAIL one more is refused: exit %d, %s" % (p.returncode, p.stderr), flush=True)
        bench.send_signal(signal.SIGINT)  # held until all of the above is seen, however long that takes
        _, err = bench.communicate(timeout=DEADLINE)
        ended = bench.returncode == 1 and "cancelled" in err
        print("ok the bench ends" if ended else "FAIL the bench ends: exit %d, %s" % (bench.returncode, err), flush=True)
        wait_for("none is left afterwards", lambda: status(env, address).get("clients", {}).get("count") == 0)
        sys.exit(0 if ok and ended else 1)
    finally:
        if bench and bench.poll() is None:
            bench.kill()
        node.terminate()
        node.wait(DEADLINE)
