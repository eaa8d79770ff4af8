#!/usr/bin/env python3
"""Publishers that are faster than those who read, with real processes: tests/e2e/flow.py BUILD_FOLDER [CASE...].

Nothing is lost to who reads, however fast others publish, be there one that has stopped beside. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile

from _node import MACULA, Node, until
from _process import DEADLINE
from _still import tried

COUNT, SIZE = 60000, 1024  # what stands beside a stopped one


def bench(node, *args):
    return json.loads(node.ok("--json", "--insecure", "bench", *args, "--flat"))


def flat(size, messages, subscribers):
    with tempfile.TemporaryDirectory() as folder, Node(folder) as n:
        result = bench(n, "fanout", "--subscribers", str(subscribers), "--messages", str(messages), "--size", str(size))
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
        result = bench(n, "pubsub", "--messages", "300000")
        assert result["received"] == 300000 and result["lost"] == 0, result


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
    for case in (flat_64, flat_1k, flat_10k, flat_pair, stopped):
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
