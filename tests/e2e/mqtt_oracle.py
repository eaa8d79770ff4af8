#!/usr/bin/env python3
"""Packets of MQTT against npm's mqtt-packet, both ways: tests/e2e/mqtt_oracle.py BUILD_FOLDER [COUNT [SEED]].

Installs mqtt-packet into a temporary folder. Without npm, or where it cannot be had, says so and judges nothing.
"""
import os
import shutil
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
oracle = os.path.join(os.path.abspath(sys.argv[1]), "tests", "mqtt-oracle")
count, seed = int((sys.argv[2:] or [3000])[0]), int((sys.argv[3:] or [1])[0])
PACKAGE = "mqtt-packet@9"


def install(folder):
    if not shutil.which("npm") or not shutil.which("node"):
        return "there is no npm"
    try:
        p = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", folder, PACKAGE], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    except subprocess.TimeoutExpired:
        return "npm did not answer within 60 s"
    return p.stdout.decode(errors="replace").strip()[-200:] or "npm failed" if p.returncode else None


with tempfile.TemporaryDirectory() as folder:
    missing = install(folder)
    if missing:
        print("ok mqtt_packets: not judged, as %s cannot be had: %s" % (PACKAGE, missing))
        sys.exit(0)
    env = dict(os.environ, NODE_PATH=os.path.join(folder, "node_modules"))
    p = subprocess.run(["node", os.path.join(here, "mqtt_oracle.js"), oracle, str(seed), str(count)], env=env, timeout=300)
    print("%s mqtt_packets: %d packets, seed %d" % ("FAIL" if p.returncode else "ok", count, seed))
    sys.exit(p.returncode)
