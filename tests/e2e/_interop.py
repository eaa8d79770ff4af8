"""What the scripts share that try programs of others against a node: getting these programs, and a node with a door for MQTT.

Packages of Debian are unpacked into a folder, and not installed: nothing of the machine changes, and no service starts. What cannot be had
(no network, no npm) is said, and nothing is judged of it; in ./test --full it is a failure.
"""
import glob
import os
import shutil
import subprocess
import time

import _cases
from _cases import Missing
from _node import Node, plain
from _process import DEADLINE

here = os.path.dirname(os.path.abspath(__file__))


def run(argv, timeout=DEADLINE, **kw):
    try:
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, **kw)
    except subprocess.TimeoutExpired:
        return None, "no answer within %d s" % timeout
    return p.returncode, p.stdout.decode(errors="replace")


class Debian:
    """Packages, with what they need and this machine has not, below self.root."""

    def __init__(self, folder, *packages):
        self.root = os.path.join(folder, "debian")
        cache = os.path.join(folder, "cache")
        os.makedirs(os.path.join(cache, "archives", "partial"))
        argv = ["apt-get", "-y", "--no-install-recommends", "--download-only", "--reinstall", "-o", "Dir::Cache=" + cache, "-o", "Debug::NoLocking=1",
                "install", *packages]
        code, said = run(argv, 120)
        debs = glob.glob(os.path.join(cache, "archives", "*.deb"))
        if code or not debs:
            raise Missing("%s: %s" % (" ".join(packages), (said.strip() or "apt-get failed").splitlines()[-1][-200:]))
        for deb in debs:
            subprocess.run(["dpkg", "-x", deb, self.root], check=True, timeout=DEADLINE)
        self.libraries = glob.glob(os.path.join(self.root, "usr", "lib", "*-linux-gnu*")) + glob.glob(os.path.join(self.root, "lib", "*-linux-gnu*"))
        self.env = plain(LD_LIBRARY_PATH=":".join(self.libraries))

    def path(self, *names):
        return os.path.join(self.root, *names)

    def program(self, name):
        found = [p for p in (self.path("usr", "sbin", name), self.path("usr", "bin", name)) if os.path.exists(p)]
        return found[0]


def npm(folder, *packages, timeout=120):
    """The folder in which they are."""
    if not shutil.which("npm") or not shutil.which("node"):
        raise Missing("there is no npm")
    code, said = run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", folder, *packages], timeout)
    if code is None or code:
        raise Missing("%s: %s" % (" ".join(packages), said.strip()[-200:] or "npm failed"))
    return os.path.join(folder, "node_modules")


def node(folder, *args, port="0", **kw):
    n = Node(folder, "--mqtt", "127.0.0.1:" + port, *args, **kw)
    n.mqtt = n.process.mqtt[0].rsplit(":", 1)[1]
    return n


def free_port():
    """One that no other process is given meanwhile, unless there are many."""
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def until_true(what, probe, said=lambda: "", pause=0.1):
    end = time.monotonic() + DEADLINE
    while not (value := probe()):
        assert time.monotonic() < end, "not in time: %s %s" % (what, said())
        time.sleep(pause)
    return value


def main(*cases):
    _cases.main("interop", *cases)
