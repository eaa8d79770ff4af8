#!/usr/bin/env python3
"""What an attacker costs the honest: attack.py BUILD_FOLDER [--seconds N] [--pairs N] [--outstanding N] [--only NAME,...] [--each].

Two nodes with the limits and quotas that a node has by default, at which each client may publish, subscribe, call and serve everything.
Honest clients call each other at one of them (macula bench rpc), while an attacker goes through the attacks of tests/e2e/attack.py, in turn
and again until they are done: at their node, or at the other one, where it takes its share of the machine as well. A pair is one of each,
in changing order. Prints what the honest clients' rate and p99 were here, as parts of what they were with the attacker elsewhere: the
median (least to most) of the pairs; how often the attacker was ended and began anew; and what an honest client was told when its calls
failed. The row "nobody" has no attacker: so much the machine alone makes of it. Never fails for what it measured. A row takes
2 * seconds * pairs, and some seconds more: 7 minutes for the two.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(root, "tests", "e2e"))
import _watched  # noqa: E402
from _attacks import ATTACKS, Hostile, Http  # noqa: E402

p = argparse.ArgumentParser()
p.add_argument("build")
p.add_argument("--seconds", type=int, default=20, help="that the honest call, each time")
p.add_argument("--pairs", type=int, default=5)
p.add_argument("--outstanding", type=int, default=1, help="calls that each of the four honest clients waits for")
p.add_argument("--only", default="", help="attacks")
p.add_argument("--each", action="store_true", help="a row for each attack")
args = p.parse_args()
_watched.use(args.build)
ACCESS = """
grants: {all: {pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}}
keys: {%s: {grant: all, role: operator}}
default: all
"""
HONEST = ["--clients", "4", "--outstanding", str(args.outstanding)]


class Attacker(threading.Thread):
    """Runs attacks at a node, each for its share of the time."""

    def __init__(self, node, attacks):
        super().__init__(daemon=True)
        self.node, self.attacks, self.again = node, attacks, 0
        self.over = threading.Event()
        self.start()

    def begin(self, name, count):
        return Http(self.node, count) if name == "http" else Hostile(self.node, name, count)

    def run(self):
        while self.attacks and not self.over.is_set():
            for name, count, *_ in self.attacks:
                h = self.begin(name, count)
                until = time.monotonic() + args.seconds / len(self.attacks)
                while not self.over.wait(0.05) and time.monotonic() < until:
                    if h.process.poll() is not None:
                        self.again += 1
                        h = self.begin(name, count)
                h.end()
                if self.over.is_set():
                    return

    def end(self):
        self.over.set()
        self.join()


def side(attacks, here):
    """The honest clients' rate and p99, or what one of them was told."""
    home = tempfile.mkdtemp(dir=_watched.tmp)  # of the honest, who also ask what the node used
    env, access = {"XDG_CONFIG_HOME": home}, os.path.join(home, "access.yaml")
    with open(access, "w") as f:
        f.write(ACCESS % _watched.run("macula", "id", env=env).stdout.strip())
    theirs, other = (_watched.Node("--log-level", "error", "--access", access) for _ in range(2))
    attacker = Attacker(theirs if here else other, attacks)
    p = _watched.start("macula", "--json", "-s", theirs.address, "bench", "rpc", *HONEST, "--duration", "%ds" % args.seconds,
                       env=env)
    try:
        out, told = p.communicate(timeout=args.seconds + 60)
    except subprocess.TimeoutExpired:
        p.kill()
        out, told = p.communicate()[0], "nothing for a minute"
    attacker.end()
    for node in theirs, other:
        node.stop()
    r = json.loads(out) if p.returncode == 0 else {}
    return r.get("calls_per_s"), r.get("p99_us"), attacker.again, told.strip().replace("\n", " ")


def row(name, attacks):
    rates, p99s, again, told = [], [], 0, {}
    for i in range(args.pairs):
        got = {here: side(attacks, here) for here in ((False, True) if i % 2 else (True, False))}
        again += got[True][2]
        for here, (*_, text) in got.items():
            if text:
                text = text if here else "elsewhere: " + text
                told[text] = told.get(text, 0) + 1
        if got[True][0] and got[False][0]:
            rates.append(got[True][0] / got[False][0])
            p99s.append(got[True][1] / got[False][1])

    def median(ratios):
        return "%.2f (%.2f to %.2f)" % (statistics.median(ratios), min(ratios), max(ratios)) if ratios else "none"
    print("| %s | %s | %s | %d | %s |" % (name, median(rates), median(p99s), again,
                                          "; ".join("%d times: %s" % (n, t[:100]) for t, n in told.items())), flush=True)


chosen = [a for a in ATTACKS if not args.only or a[0] in args.only.split(",")]
with _watched.folder():
    print("| attack | rate, here to elsewhere | p99, here to elsewhere | begun again | honest clients were told |\n|---|---|---|---|---|")
    row("nobody", [])
    for a in chosen if args.each else []:
        row(a[0], [a])
    row("all" if len(chosen) == len(ATTACKS) else ", ".join(a[0] for a in chosen), chosen)
