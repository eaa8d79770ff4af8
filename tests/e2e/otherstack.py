#!/usr/bin/env python3
"""A client of another QUIC stack (quic-go from Debian's packages) against a real node. otherstack.py BUILD_FOLDER"""
import os
import subprocess
import sys
import tempfile

from _node import serving

here = os.path.dirname(os.path.abspath(__file__))
with tempfile.TemporaryDirectory() as tmp:
    env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOCACHE=os.path.join(tempfile.gettempdir(), "macula-gocache-%d" % os.getuid()),
               HOME=os.environ.get("HOME", tmp), GOFLAGS="")
    client = os.path.join(tmp, "quicgo")
    p = subprocess.run(["go", "build", "-o", client, os.path.join(here, "quicgo", "main.go")], env=env, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT)
    if p.returncode:
        print("FAIL quic-go client builds: " + p.stdout.decode())
        sys.exit(1)
    node = serving("--allow-unverified", "--state", os.path.join(tmp, "state"))
    try:
        sys.exit(subprocess.run([client, node.address], timeout=600).returncode)
    finally:
        node.end()
