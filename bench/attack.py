#!/usr/bin/env python3
"""What an attacker costs the honest: attack.py BUILD_FOLDER [--seconds N] [--pairs N] [--outstanding N] [--only NAME,...] [--each].

Two nodes with the limits and quotas that a node has by default, at which each client may publish, subscribe, call and serve everything.
Honest clients call each other at one of them (macula bench rpc), while an attacker goes through the attacks of tests/e2e/attack.py, in turn
and again until they are done: at their node, or at the other one, where it takes its share of the machine as well. The honest come from ::1, the
attacker from 127.0.0.1, since newcomers share the lot of their address (security.md). A pair is one of each,
in changing order. Prints what the honest clients' rate and p99 were here, as parts of what they were with the attacker elsewhere: the
median (least to most) of the pairs; how much of a core the node took that had the attacker alone; how often the attacker was ended and
began anew; and what an honest client was told when its calls failed. The row "nobody" has no attacker: so much the machine alone makes
of it. Where other programs want the cores as well, run it as root with nice -n -18, since they hold up who sleeps and who works in
different ways. Never fails for what it measured. A row takes 2 * seconds * pairs, and some seconds more: 7 minutes for the two.
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
# Attackers whose attack takes an identity of its own have the default grant.
ACCESS = """
realm_keys: [%s]
grants: {all: {pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}}
keys: {%s: {grant: all, role: operator}}
default: all
"""
ALL = [w for right in ("pub", "sub", "call", "serve") for w in ("--" + right, "**")]
APART = ["--listen", "[::1]:0"] if os.path.exists("/proc/net/if_inet6") else []  # the address of the honest
HONEST = ["--clients", "4", "--outstanding", str(args.outstanding)]


class Attacker(threading.Thread):
    """Runs attacks at a node, each for its share of the time."""

    def __init__(self, node, attacks, shows):
        super().__init__(daemon=True)
        self.node, self.attacks, self.shows, self.again = node, attacks, shows, 0
        self.over = threading.Event()
        self.start()

    def begin(self, name, count):
        return Http(self.node, count) if name == "http" else Hostile(self.node, name, count, self.shows)

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


def say(*words, env=None):
    p = _watched.run("macula", *words, env=env)
    assert p.returncode == 0, p.stderr
    return p.stdout


def trust(home):
    """An access file, and the identity and pass of the attacker."""
    realm, identity, shown, access = (os.path.join(home, name) for name in ("realm.key", "attacker.pem", "attacker.pass", "access.yaml"))
    realm_id = say("realm", "new", realm).split()[-1]
    say("id", "new", "--identity", identity)
    with open(shown, "w") as f:
        f.write(say("pass", "new", "--key", realm, "--id", say("id", "--identity", identity).strip(), "--role", "client", *ALL))
    with open(access, "w") as f:
        f.write(ACCESS % (realm_id, say("id", env={"XDG_CONFIG_HOME": home}).strip()))
    return access, (identity, shown)


def used(process):
    with open("/proc/%d/stat" % process.pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def side(attacks, here):
    """The honest clients' rate and p99, or what one of them was told."""
    home = tempfile.mkdtemp(dir=_watched.tmp)  # of the honest, who also ask what the node used
    env = {"XDG_CONFIG_HOME": home}
    access, shows = trust(home)
    theirs, other = (_watched.Node("--log-level", "error", "--access", access, *APART) for _ in range(2))
    before, begun = used(other.process), time.monotonic()
    attacker = Attacker(theirs if here else other, attacks, shows)
    p = _watched.start("macula", "--json", "-s", theirs.listen[-1], "bench", "rpc", *HONEST, "--duration", "%ds" % args.seconds,
                       env=env)
    try:
        out, told = p.communicate(timeout=args.seconds + 60)
    except subprocess.TimeoutExpired:
        p.kill()
        out, told = p.communicate()[0], "nothing for a minute"
    share = (used(other.process) - before) / (time.monotonic() - begun)
    attacker.end()
    for node in theirs, other:
        node.stop()
    r = json.loads(out) if p.returncode == 0 else {}
    return r.get("calls_per_s"), r.get("p99_us"), share, attacker.again, told.strip().replace("\n", " ") if p.returncode else ""


def row(name, attacks):
    rates, p99s, shares, again, told = [], [], [], 0, {}
    for i in range(args.pairs):
        got = {here: side(attacks, here) for here in ((False, True) if i % 2 else (True, False))}
        again += got[True][3]
        shares.append(got[False][2])
        for here, (*_, text) in got.items():
            if text:
                text = text if here else "elsewhere: " + text
                told[text] = told.get(text, 0) + 1
        if got[True][0] and got[False][0]:
            rates.append(got[True][0] / got[False][0])
            p99s.append(got[True][1] / got[False][1])

    def median(ratios):
        return "%.2f (%.2f to %.2f)" % (statistics.median(ratios), min(ratios), max(ratios)) if ratios else "none"
    print("| %s | %s | %s | %s | %d | %s |" % (name, median(rates), median(p99s), median(shares), again,
                                               "; ".join("%d times: %s" % (n, t[-100:]) for t, n in told.items())), flush=True)


chosen = [a for a in ATTACKS if not args.only or a[0] in args.only.split(",")]
with _watched.folder():
    print("| attack | rate, here to elsewhere | p99, here to elsewhere | of a core | begun again | honest clients were told |\n"
          "|---|---|---|---|---|---|")
    row("nobody", [])
    for a in chosen if args.each else []:
        row(a[0], [a])
    row("all" if len(chosen) == len(ATTACKS) else ", ".join(a[0] for a in chosen), chosen)
