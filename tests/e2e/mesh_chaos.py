#!/usr/bin/env python3
"""Meshes of real nodes that are cut, frozen, killed and misled: tests/e2e/mesh_chaos.py BUILD_FOLDER.

Runs in a network namespace of its own, where nodes have addresses of their own and nftables drops what passes between two of
them. Cases run side by side, each with its own mesh. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import concurrent.futures
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from _process import DEADLINE, Process, access_file, token_file
from _still import tried

build = os.path.abspath(sys.argv[1])
if "MACULA_CHAOS" not in os.environ:
    probe = subprocess.run(["unshare", "--net", "true"], stderr=subprocess.PIPE)
    if probe.returncode:
        print("FAIL mesh_chaos: no network namespaces here: " + probe.stderr.decode().strip())
        sys.exit(1)
    os.environ["MACULA_CHAOS"] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__), build, *sys.argv[2:]])

top = tempfile.mkdtemp()
everything = []
meshes = []
nft_lock = threading.Lock()
seed = random.randrange(1 << 30)


def sh(cmd):
    subprocess.run(cmd, shell=True, check=True, stdout=subprocess.DEVNULL)


class Node:
    def __init__(self, mesh, i, join=True, extra=()):
        self.mesh, self.i, self.extra = mesh, i, list(extra)
        self.addr = "10.77.%d.%d:9443" % (mesh.number, i)
        self.state = os.path.join(mesh.dir, "s%d" % i)
        self.log = os.path.join(mesh.dir, "log%d" % i)
        self.join = join
        self.p = None

    def start(self, join=None):
        cmd = [build + "/maculad", "--listen", self.addr, "--name", "n%d" % self.i, "--state", self.state, "--http", "off",
               *([] if "--access" in self.extra else ["--access", self.mesh.access]), *self.extra]
        if join if join is not None else self.join and self.i > 1:
            cmd += ["--join", self.mesh.nodes[0].addr]
        self.p = subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=open(self.log, "ab"))
        everything.append(self.p)
        return self

    def kill(self, sig=signal.SIGKILL):
        self.p.send_signal(sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            self.p.wait(DEADLINE)
            self.p = None

    def macula(self, *args, code=0):
        cmd = [build + "/macula", "-s", self.addr, "--insecure", "--identity", self.mesh.id, "--token-file", self.mesh.token,
               "--json", *args]
        r = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
        if code is not None:
            assert r.returncode == code, "%s: exit %d %s" % (args, r.returncode, r.stderr.decode())
        return json.loads(r.stdout) if r.stdout.strip() else r.stderr.decode()

    def background(self, *args):
        p = Process([build + "/macula", "-s", self.addr, "--insecure", "--identity", self.mesh.id, "--token-file", self.mesh.token, *args],
                    None, text=True)
        everything.append(p.p)
        return p

    def serve(self, procedure):
        p = self.background("serve", procedure, "--echo")
        p.expect("err", "^serving ")
        return p

    def sub(self, pattern):
        p = self.background("sub", pattern)
        p.expect("err", "^subscribed ")
        return p

    def peers(self):
        r = subprocess.run([build + "/macula", "-s", self.addr, "--insecure", "--identity", self.mesh.id, "--token-file",
                            self.mesh.token, "--json", "peers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.refused = r.stderr.decode()
        return json.loads(r.stdout)["peers"] if r.returncode == 0 else None

    def linked(self):
        peers = self.peers()
        return sorted(p["name"] for p in peers if p["state"] == "connected") if peers is not None else None

    def said(self, text):
        with open(self.log) as f:
            return text in f.read()


class Mesh:
    def __init__(self, number, count, extra=()):
        self.number, self.dir = number, os.path.join(top, str(number))
        os.mkdir(self.dir)
        self.token = token_file(os.path.join(self.dir, "token"))
        node = token_file(os.path.join(self.dir, "node-token"))
        self.access = access_file(os.path.join(self.dir, "access.yaml"), operator=self.token, node=node)
        self.id = os.path.join(self.dir, "id.pem")
        for i in range(1, count + 2):
            sh("ip addr add 10.77.%d.%d/32 dev lo" % (number, i))
        subprocess.run([build + "/macula", "--identity", self.id, "id", "new"], stdout=subprocess.DEVNULL)
        self.nodes = [Node(self, i, extra=extra) for i in range(1, count + 1)]
        meshes.append(self)

    def start(self):
        for n in self.nodes:
            n.start()
        self.until_linked()
        return self

    def end(self):
        for p in everything:
            if p.poll() is None and any(self.dir + "/" in word for word in p.args):
                p.kill()
                p.wait()

    def until_linked(self, nodes=None):
        nodes = nodes or self.nodes
        want = {n: sorted("n%d" % m.i for m in nodes if m is not n) for n in nodes}
        until(lambda: all(n.linked() == want[n] for n in nodes), lambda: {n.i: n.linked() for n in nodes})

    def cut(self, a, b, both=True):
        with nft_lock:
            for x, y in ((a, b), (b, a)) if both else ((a, b),):
                sh("nft add rule inet chaos in ip saddr %s ip daddr %s drop comment mesh%d" %
                   (x.addr.split(":")[0], y.addr.split(":")[0], self.number))

    def lossy(self, percent):
        with nft_lock:
            sh("nft add rule inet chaos in ip daddr 10.77.%d.0/24 numgen random mod 100 '<' %d drop comment mesh%d" %
               (self.number, percent, self.number))

    def heal(self):
        with nft_lock:
            rules = json.loads(subprocess.run("nft -j -a list chain inet chaos in", shell=True, stdout=subprocess.PIPE).stdout)
            for r in rules["nftables"]:
                if "rule" in r and r["rule"].get("comment") == "mesh%d" % self.number:
                    sh("nft delete rule inet chaos in handle %d" % r["rule"]["handle"])


def until(what, why):
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "not within %d s: %s" % (DEADLINE, why() if callable(why) else why)
        time.sleep(0.1)


def heard(publisher, topic, text, sub):
    """Published until the subscriber's node is known to have one; what was said before is not heard again."""
    def said():
        publisher.macula("pub", topic, text, code=None)
        return "%s %s\n" % (topic, text) in sub.out
    until(said, lambda: "%s was not heard, but %r" % (text, sub.out))


def wait(seconds):
    """A stretch of time that is what the case is about: a partition of 30 s."""
    time.sleep(seconds)


def case_partition(number):
    """2 and 2 nodes cannot hear each other for 30 s."""
    m = Mesh(number, 4).start()
    a, b, c, d = m.nodes
    sub = c.sub("chaos.*")
    for x in (a, b):
        for y in (c, d):
            m.cut(x, y)
    wait(30)
    until(lambda: a.linked() == ["n2"] and d.linked() == ["n3"], lambda: (a.linked(), d.linked()))
    m.heal()
    m.until_linked()
    heard(a, "chaos.heard", "again", sub)
    assert set(sub.out.splitlines()) == {"chaos.heard again"}, sub.out


def case_asymmetric(number):
    """The first hears nothing of the third, which hears it: whatever they make of it, it is over when it is over."""
    m = Mesh(number, 4).start()
    m.cut(m.nodes[2], m.nodes[0], both=False)
    wait(20)
    for n in m.nodes:
        assert n.p.poll() is None
    m.heal()
    m.until_linked()


def case_frozen(number):
    """A node stops for 20 s and goes on: it was given up, comes back, and accuses nobody."""
    m = Mesh(number, 4).start()
    frozen = m.nodes[3]
    frozen.kill(signal.SIGSTOP)
    wait(20)
    until(lambda: m.nodes[0].linked() == ["n2", "n3"], lambda: m.nodes[0].linked())
    frozen.kill(signal.SIGCONT)
    m.until_linked()
    assert not any(n.said('member_dead peer="n%d"' % k) for n in m.nodes for k in (1, 2, 3)), "the healthy were accused"


def case_restart_all(number):
    """All are killed and come back in any order, with nobody to join but those they knew."""
    m = Mesh(number, 4).start()
    until(lambda: all(os.path.exists(n.state + "/peers") and len(open(n.state + "/peers").readlines()) == 3 for n in m.nodes),
          "peers not written")
    for n in m.nodes:
        n.kill()
    order = list(m.nodes)
    random.Random(seed).shuffle(order)
    for n in order:
        n.start(join=False)
    m.until_linked()


def case_bad_joins(number):
    """Addresses that lead nowhere, to itself, to another realm; a wrong token; one state folder for two."""
    m = Mesh(number, 2).start()
    a, b = m.nodes
    wrong = access_file(os.path.join(m.dir, "wrong.yaml"), operator=m.token, node=token_file(os.path.join(m.dir, "wrong")))
    c = Node(m, 3, extra=["--realm", "elsewhere"]).start(join=True)
    until(lambda: c.said("realm_mismatch"), "realm_mismatch not logged")
    c.kill()
    c = Node(m, 3, extra=["--access", wrong]).start(join=True)
    until(lambda: c.said("not_authorized"), "not_authorized not logged")
    c.kill()
    c = Node(m, 3, extra=["--join", "10.77.%d.99:9443,10.77.%d.3:9443" % (number, number)])
    c.start(join=True)
    until(lambda: c.said("join_self"), "join_self not logged")
    m.until_linked([a, b, c])
    until(lambda: c.said("join_failed address=10.77.%d.99:9443" % number), "a dead address was not logged")
    second = subprocess.run([build + "/maculad", "--listen", "10.77.%d.3:9555" % number, "--state", a.state, "--http", "off",
                             "--access", m.access], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert second.returncode == 1 and b"in use by another maculad" in second.stderr, second
    a_id = a.macula("status")["node_id"]
    pinned = Node(m, 3, extra=["--join", "macula://%s@%s" % ("ab" * 32, a.addr)])
    c.kill()
    pinned.state += "p"
    pinned.start(join=False)
    until(lambda: pinned.said("identity_mismatch"), "a wrong id was not refused")  # in a log that the node before it wrote, too
    until(lambda: pinned.linked() is not None, lambda: pinned.refused)
    assert pinned.linked() == [], pinned.linked()
    pinned.kill()
    pinned.extra = ["--join", "macula://%s@%s" % (a_id, a.addr)]
    pinned.start(join=False)
    until(lambda: pinned.linked() == ["n1", "n2"], lambda: pinned.linked())


def case_loss(number):
    """Every twentieth packet is lost: calls and publishes work all the same, and nobody is declared dead."""
    m = Mesh(number, 4).start()
    m.lossy(5)
    serve = m.nodes[1].serve("chaos.echo")
    until(lambda: m.nodes[2].macula("call", "chaos.echo", "1", "--timeout", "5s", code=None) == 1, "no answer")
    for k in range(20):
        assert m.nodes[k % 4].macula("call", "chaos.echo", str(k), "--timeout", "120s") == k
    assert not any(n.said("member_dead") for n in m.nodes), "somebody was declared dead"
    assert serve.p.poll() is None


def case_delay(number):
    """Between any two nodes a datagram takes 20 to 90 ms, and later ones overtake earlier ones."""
    m = Mesh(number, 3)
    for n in m.nodes:
        front = n.addr.replace(":9443", ":9444")
        relay = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "_relay.py"), front,
                                  n.addr, "10", "45", str(seed + n.i)], stdout=subprocess.PIPE)
        everything.append(relay)
        assert relay.stdout.readline().startswith(b"relaying ")
        n.extra += ["--advertise", front]
    for n in m.nodes:
        n.extra += ["--join", m.nodes[0].addr.replace(":9443", ":9444")] if n.i > 1 else []
        n.start(join=False)
    m.until_linked()
    assert all(p["address"].endswith(":9444") for n in m.nodes for p in n.peers()), m.nodes[1].peers()
    m.nodes[1].serve("chaos.echo")
    sub = m.nodes[0].sub("chaos.order")
    until(lambda: m.nodes[2].macula("call", "chaos.echo", "1", "--timeout", "5s", code=None) == 1, "no answer")
    for k in range(10):
        assert m.nodes[k % 3].macula("call", "chaos.echo", str(k), "--timeout", "120s") == k
    heard(m.nodes[2], "chaos.order", "known", sub)
    pub = m.nodes[2].background("pub", "chaos.order", "x", "--count", "50", "--qos", "1")
    assert pub.wait() == 0, pub.err
    until(lambda: sub.out.count("chaos.order x\n") >= 50, lambda: sub.out)
    heard(m.nodes[2], "chaos.order", "last", sub)  # what was too much would have come before it
    assert sub.out.count("chaos.order x\n") == 50, sub.out
    assert not any(n.said("member_dead") for n in m.nodes), "somebody was declared dead"


def case_hidden(number):
    """A node that nobody can dial serves and hears through its gateway, and through another when that is killed."""
    m = Mesh(number, 3)
    for n in m.nodes:
        n.start()
    h = Node(m, 4, extra=["--no-listen", "--join", ",".join(n.addr for n in m.nodes)]).start(join=False)
    m.until_linked(m.nodes + [h])
    serve = h.serve("chaos.hidden")
    sub = h.sub("chaos.hidden.*")
    until(lambda: m.nodes[0].macula("call", "chaos.hidden", "7", "--timeout", "3s", code=None) == 7, "no answer")
    heard(m.nodes[1], "chaos.hidden.topic", "one", sub)
    m.nodes[0].kill()
    until(lambda: m.nodes[2].macula("call", "chaos.hidden", "8", "--timeout", "3s", code=None) == 8, "no answer")
    heard(m.nodes[2], "chaos.hidden.topic", "two", sub)
    assert serve.p.poll() is None


def run(name, fn, number):
    """Says why it failed, or nothing."""
    try:
        fn(number)
        return ""
    except BaseException as e:  # noqa: B902: whatever it is, the case failed
        logs = ""
        folder = os.path.join(top, str(number))
        for f in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if f.startswith("log"):
                with open(os.path.join(folder, f)) as text:
                    logs += "  %s: %s\n" % (f, "\n    ".join(text.read().splitlines()[-12:]))
        return "%s (seed %d)\n%s\n%s" % (e, seed, traceback.format_exc(), logs)
    finally:
        for m in meshes:
            if m.number == number:
                m.end()


class Failed(Exception):
    pass


def again(name, fn, number):
    why = run(name, fn, number)
    if why:
        raise Failed(why)


def main():
    sh("ip link set lo up")
    sh("nft add table inet chaos")
    sh("nft add chain inet chaos in '{ type filter hook input priority 0; }'")
    cases = [(n[5:], f) for n, f in globals().items() if n.startswith("case_")]
    if len(sys.argv) > 2:
        cases = [c for c in cases if c[0] in sys.argv[2:]]
    bad = 0
    numbers = iter(range(1, 256))
    try:
        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            beside = list(pool.map(lambda c: run(*c), [(name, fn, next(numbers)) for name, fn in cases]))
        for (name, fn), why in zip(cases, beside):
            try:
                if why:  # eight meshes at once are much for two cores: nobody may be held for dead, but by a machine with time for all
                    print("   %s again, with nothing beside it: %s" % (name, why.splitlines()[0]), flush=True)
                    tried(name, lambda: again(name, fn, next(numbers)))
                print("ok " + name, flush=True)
            except Failed as e:
                print("FAIL %s: %s" % (name, e), flush=True)
                bad += 1
    finally:
        for p in everything:
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.kill()
                p.wait()
        shutil.rmtree(top)
    sys.exit(bad > 0)


main()
