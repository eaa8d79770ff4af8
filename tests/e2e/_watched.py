"""A maculad whose memory is watched from outside, as memory.py and attack.py need it.

use() names the build; folder() gives what is started a folder and an environment of its own, and ends it.
"""
import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request

import _node

MIB = 1 << 20
build = None
asan = False
quiet = False  # only what fails is printed
bad = 0
tmp = None
clean = {}
live = []
PATIENCE = 300  # seconds for what comes in one on an idle machine


def use(path):
    global build, asan
    build = os.path.abspath(path)
    asan = "asan" in os.path.basename(build)


@contextlib.contextmanager
def folder():
    global tmp
    with tempfile.TemporaryDirectory() as tmp:
        clean.update((k, v) for k, v in os.environ.items() if not k.startswith("MACULA_"))
        clean["XDG_CONFIG_HOME"] = tmp
        try:
            yield tmp
        finally:
            for c in live:
                if c.poll() is None:
                    c.kill()
                    c.wait()


def check(name, ok, text=""):
    global bad
    bad += not ok
    if not ok or not quiet:
        print("%s %s%s" % ("ok" if ok else "FAIL", name, ": " + text if text and not ok else ""), flush=True)


def wait_for(seconds, probe):
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.1)


def run(program, *words, env=None):
    return subprocess.run([os.path.join(build, program), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=PATIENCE, env={**clean, **(env or {})})


def start(program, *words, env=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
    c = subprocess.Popen([os.path.join(build, program), *words], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True,
                         env={**clean, **(env or {})})
    live.append(c)
    return c


def maculad(*words, env=None):
    return run("maculad", *words, env=env)


def smallest():
    """The options of the least that a node can plan, also of rows that are new."""
    lines = [line.split(": ") for line in maculad("--memory-max", "auto:76MiB", "--plan", "--yaml").stdout.splitlines() if line[0] != "#"]
    return [word for key, value in lines if key != "memory_max" for word in ("--" + key.replace("_", "-"), value)]


class Node:
    def __init__(self, *words):
        state = tempfile.mkdtemp(dir=tmp)
        said = _node.serving("--state", state, *words, http="127.0.0.1:0", env=clean)
        self.process, self.address, self.http = said.p, said.address, "http://" + said.http
        self.listen, self.said = said.listen, said
        live.append(self.process)
        # A port may come again, and clients that know its last node would take this one for somebody in between.
        self.clients = {"XDG_CONFIG_HOME": os.path.join(state, "clients")}

    def get(self, path):
        """Again for a while when it is let go: others may have all the connections that there are."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return urllib.request.urlopen(self.http + path, timeout=PATIENCE).read().decode()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def rows(self):
        return {r["name"]: r for r in json.loads(self.get("/api/memory"))["rows"]}

    def resident(self, what="VmRSS"):
        with open("/proc/%d/status" % self.process.pid) as f:
            return int(re.search(what + r":\s+(\d+) kB", f.read()).group(1)) * 1024

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
