#!/usr/bin/env python3
"""Nodes that start while their users publish and call, and nodes that stand still, with real processes:
tests/e2e/mesh_start.py BUILD_FOLDER [CASE...].

Each case waits for output or answers with a deadline. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import os
import signal
import sys
import tempfile
import threading
import urllib.error

import _node
from _node import until
from _process import deaf_port, end_all
from _still import tried

TOPIC = "start.t"


class Node(_node.Node):
    def __init__(self, folder, name, *join):
        super().__init__(folder, "--name", name, *[w for j in join for w in ("--join", j)], state=name)
        self.name = name

    def knows(self, nodes):
        until("%s exchanges subscriptions with %d nodes" % (self.name, nodes), lambda: self.metric("interest_nodes") == nodes)

    def ready(self):
        try:
            return 200, self.get("/ready")
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def serve(self, procedure):
        p = self.macula("serve", procedure, "--echo")
        p.expect("err", "^serving ")
        return p


class Publisher(threading.Thread):
    """A user's loop around macula pub: what it was told, by number."""

    def __init__(self, node, name):
        super().__init__(daemon=True)
        self.node, self.name, self.over, self.told = node, name, threading.Event(), {}
        self.start()

    def run(self):
        while not self.over.is_set():
            text = "%s-%d" % (self.name, len(self.told))
            code, _, err = self.node.run("pub", TOPIC, text, "--qos", "1")
            self.told[text] = (code, err)

    def end(self):
        """What it was told of each message; those that were confirmed, and for all who listen."""
        self.over.set()
        self.join()
        return {text for text, (code, err) in self.told.items() if code == 0 and "in part" not in err}


RESTARTS = 100 if os.environ.get("LOAD_FULL") == "1" else 10


def case_restarts_of_the_publishers_node():
    """Restarts, SIGKILL and SIGTERM in turn, while a user publishes; another one publishes and calls before the node can know anybody:
    all that was acknowledged arrives, and the calls are answered."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        first = Node(folder, "n1")
        own, far = Node(folder, "n2", first.address), Node(folder, "n3", first.address)
        sub = far.sub(TOPIC)
        far.serve("start.p")
        for n in (first, own, far):
            n.knows(2)
        pub, others = Publisher(own, "m"), (first.process.p, far.process.p)
        for i in range(RESTARTS):
            until("messages were confirmed", lambda: sum(code == 0 for code, _ in list(pub.told.values())) > i)
            own.process.end(signal.SIGKILL if i % 2 else signal.SIGTERM)
            for p in others:
                p.send_signal(signal.SIGSTOP)
            own.start()
            early = [own.macula("pub", TOPIC, "early-%d" % i, "--qos", "1"), own.macula("call", "start.p", str(i))]
            until("both are there", lambda: own.metric('table_entries{table="clients"}') >= 2)
            for p in others:
                p.send_signal(signal.SIGCONT)
            for p in early:
                assert p.wait() == 0, (i, p.err)
            assert early[1].out == "%d\n" % i, early[1].out
            if "in part" not in early[0].err:
                sub.expect("out", " early-%d$" % i)
        done = pub.end()
        own.ok("pub", TOPIC, "last", "--qos", "1")
        sub.expect("out", " last$")
        missing = done - {line.split(" ", 1)[1] for line in sub.out.splitlines()}
        assert not missing, "%d of %d acknowledged messages did not arrive: %s" % (len(missing), len(done), sorted(missing)[:5])


def case_not_ready():
    """A node whose address to join by leads nowhere says so, and takes messages after 5 s."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, deaf_port() as nobody:
        n = Node(folder, "n1", nobody)
        said = set()
        until("it is ready", lambda: said.add(n.ready()) or n.ready()[0] == 200)  # a slow machine may see only that
        assert said <= {(503, "Not ready: the other nodes are not heard yet"), (200, "Ready")}, said
        n.ok("pub", TOPIC, "1", "--qos", "1")


def case_one_of_four_stands_still():
    """Publishers at three nodes while the fourth, where somebody listens, is stopped: none is told timeout, and each hears that
    a node does not answer; what was confirmed for all arrives."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        nodes = [Node(folder, "n1")]
        nodes += [Node(folder, "n%d" % i, nodes[0].address) for i in (2, 3, 4)]
        subs = [n.sub(TOPIC) for n in nodes]
        for n in nodes:
            n.knows(3)
            until("%s knows who listens" % n.name, lambda: n.metric('table_entries{table="interest"}') >= 3)
        pubs = [Publisher(n, n.name) for n in nodes[:3]]
        until("messages were confirmed", lambda: all(len(p.told) > 2 for p in pubs))
        nodes[3].process.p.send_signal(signal.SIGSTOP)
        try:
            until("each hears of it", lambda: all(any("do not answer" in err for _, err in list(p.told.values())) for p in pubs))
        finally:
            nodes[3].process.p.send_signal(signal.SIGCONT)
        for n in nodes[:3]:
            until("%s hears it again" % n.name, lambda: n.metric("mesh_silent") == 0)
            until("messages are confirmed for all",
                  lambda: (r := n.run("pub", TOPIC, "again", "--qos", "1"))[0] == 0 and "in part" not in r[2])
        done = set().union(*[p.end() for p in pubs])
        told = [(text, code, err) for p in pubs for text, (code, err) in p.told.items() if code]
        assert not told, told
        for s in subs:
            until("all that was confirmed arrives", lambda: done <= {line.split(" ", 1)[1] for line in s.out.splitlines()})


cases = {k[5:]: v for k, v in list(globals().items()) if k.startswith("case_")}
bad = 0
for name in sys.argv[2:] or cases:
    def case():
        try:
            cases[name]()
        finally:
            end_all()
    try:
        tried(name, case)
        print("ok %s" % name, flush=True)
    except Exception as e:  # a case that fails must not keep the others from running
        bad += 1
        print("FAIL %s: %s: %s" % (name, type(e).__name__, str(e).replace("\n", " ")), flush=True)
sys.exit(1 if bad else 0)
