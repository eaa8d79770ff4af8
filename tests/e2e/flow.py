#!/usr/bin/env python3
"""Publishers that are faster than those who read, with real processes: tests/e2e/flow.py BUILD_FOLDER [CASE...].

Nothing is lost to who reads, however fast others publish, be there one that has stopped beside. Prints "ok NAME" or "FAIL NAME: why" a case.
With LOAD_FULL=1 (./test --full) each shape lasts a minute.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from _node import MACULA, Node, until
from _process import DEADLINE
from _still import tried

COUNT, SIZE = 60000, 1024  # what stands beside a stopped one


FULL = os.environ.get("LOAD_FULL") == "1"
LONG = 60  # s


def bench(node, messages, *args):
    """In a minute's run as many as a short one could have done in it."""
    began = time.monotonic()
    while True:
        result = json.loads(node.ok("--json", "--insecure", "bench", *args, "--messages", str(messages), "--flat"))
        if not FULL or time.monotonic() - began > LONG:
            return messages, result
        messages = int(messages * LONG / (time.monotonic() - began)) + 1
        began = time.monotonic() - LONG


def flat(size, messages, subscribers):
    with tempfile.TemporaryDirectory() as folder, Node(folder) as n:
        messages, result = bench(n, messages, "fanout", "--subscribers", str(subscribers), "--size", str(size))
        assert result["deliveries"] == messages * subscribers and result["lost"] == 0, result
        assert n.metric("messages_dropped_total") == 0


def flat_64():
    flat(64, 30000, 10)


def flat_1k():
    flat(1024, 15000, 10)


def flat_10k():
    flat(10240, 1500, 10)


def flat_pair():
    with tempfile.TemporaryDirectory() as folder, Node(folder) as n:
        messages, result = bench(n, 300000, "pubsub")
        assert result["received"] == messages and result["lost"] == 0, result


class Reader:
    """macula sub, whose output goes to a file: there is much of it."""

    def __init__(self, node, name, *args):
        self.out, self.err = (os.path.join(node.folder, name + end) for end in (".out", ".err"))
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.p = subprocess.Popen([MACULA, "--insecure", "--name", name, "sub", "t", *args], env=node.env, stdout=out, stderr=err)
        until("it is subscribed", lambda: "subscribed" in self.said())

    def said(self):
        with open(self.err) as f:
            return f.read()

    def lines(self):
        with open(self.out, "rb") as f:
            return sum(block.count(b"\n") for block in iter(lambda: f.read(1 << 20), b""))


def across(size, messages):
    """Two readers at another node than the publisher's."""
    messages *= 20 if FULL else 1
    with tempfile.TemporaryDirectory() as folder, Node(folder, "--name", "n1", state="s1") as near:
        with Node(folder, "--name", "n2", "--join", near.address, state="s2") as far:
            readers = [Reader(far, "r%d" % i, "--count", str(messages)) for i in range(2)]
            try:
                until("the nodes know of each other's", lambda: near.metric("interest_nodes") == 1)
                until("the topic is known", lambda: near.metric('table_entries{table="interest"}') >= 1)
                near.ok("--insecure", "pub", "t", "x" * size, "--count", str(messages))
                for r in readers:
                    assert r.p.wait(DEADLINE) == 0, r.said()
                    assert r.lines() == messages and "dropped" not in r.said(), (r.lines(), r.said())
                assert near.metric("messages_dropped_total") == far.metric("messages_dropped_total") == 0
            finally:
                for r in readers:
                    if r.p.poll() is None:
                        r.p.kill()
                        r.p.wait()


def across_64():
    across(64, 150000)


def across_1k():
    across(1024, 60000)


def stopped():
    """One that stands still loses its own, is told how many, and costs a good one nothing."""
    with tempfile.TemporaryDirectory() as folder, Node(folder) as n:
        good, bad = Reader(n, "good", "--count", str(COUNT)), Reader(n, "bad")
        try:
            bad.p.send_signal(signal.SIGSTOP)
            n.ok("--insecure", "pub", "t", "x" * SIZE, "--count", str(COUNT))
            assert good.p.wait(DEADLINE) == 0, good.said()
            assert good.lines() == COUNT and "dropped" not in good.said(), (good.lines(), good.said())
            dropped = n.metric("messages_dropped_total")
            assert dropped > 0
            n.process.expect("err", r"event=messages_dropped name=\"?bad")
            bad.p.send_signal(signal.SIGCONT)
            until("it reads the rest", lambda: bad.lines() + dropped == COUNT)
            until("it is told", lambda: "%s messages dropped" % format(dropped, ",") in bad.said())
            bad.p.send_signal(signal.SIGINT)
            assert bad.p.wait(DEADLINE) == 5, bad.said()
        finally:
            for r in (good, bad):
                if r.p.poll() is None:
                    r.p.send_signal(signal.SIGCONT)
                    r.p.kill()
                    r.p.wait()


def main():
    wanted, bad = sys.argv[2:], 0
    for case in (flat_64, flat_1k, flat_10k, flat_pair, across_64, across_1k, stopped):
        if wanted and case.__name__ not in wanted:
            continue
        try:
            tried(case.__name__, case)
            print("ok", case.__name__, flush=True)
        except Exception as e:  # each case is to be tried
            bad += 1
            print("FAIL %s: %s: %s" % (case.__name__, type(e).__name__, str(e).replace("\n", " ")[:1500]), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
