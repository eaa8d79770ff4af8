#!/usr/bin/env python3
"""A client of another QUIC stack (quic-go from Debian's packages) against a real node. otherstack.py BUILD_FOLDER"""
import os
import subprocess
import sys
import tempfile

build = sys.argv[1]
here = os.path.dirname(os.path.abspath(__file__))
with tempfile.TemporaryDirectory() as tmp:
    env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOCACHE=os.path.join(tempfile.gettempdir(), "macula-gocache"),
               HOME=os.environ.get("HOME", tmp), GOFLAGS="")
    client = os.path.join(tmp, "quicgo")
    p = subprocess.run(["go", "build", "-o", client, os.path.join(here, "quicgo", "main.go")], env=env, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT)
    if p.returncode:
        print("FAIL quic-go client builds: " + p.stdout.decode())
        sys.exit(1)
    node = subprocess.Popen([os.path.join(build, "maculad"), "--listen", "127.0.0.1:0", "--http", "off", "--allow-unverified",
                             "--state", os.path.join(tmp, "state")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = None
        for line in node.stdout:
            words = [w.strip(",;") for w in line.split()]
            address = next((w for w in words if w.startswith("127.0.0.1:")), None)
            if address:
                break
        if not address:
            print("FAIL node starts: it printed no listen address")
            sys.exit(1)
        sys.exit(subprocess.run([client, address], timeout=600).returncode)
    finally:
        node.terminate()
        node.wait(600)
