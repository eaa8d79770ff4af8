#!/usr/bin/env python3
"""Calls while providers and nodes are killed and stand still, with real processes: tests/e2e/calls_once.py BUILD_FOLDER [CASE...].

Of each call it is known when it ended, how, and when its handler began. Prints "ok NAME" or "FAIL NAME: why" a case. With LOAD_FULL=1
(./test --full) chaos lasts ten minutes instead of one round.
"""
import os
import random
import signal
import sys
import tempfile
import time

from _node import MACULA, build, plain, serving, until
from _process import Process
from _still import tried

CALLER = os.path.join(build, "tests", "caller")
UNHEARD = 0.3  # s: what a provider began so shortly before it was killed it may not have acknowledged


FULL = os.environ.get("LOAD_FULL") == "1"


class Mesh:
    def __init__(self, count):
        self.folder = tempfile.TemporaryDirectory()
        self.env, self.live, self.nodes = plain(XDG_CONFIG_HOME=self.folder.name), [], []
        for i in range(count):
            self.nodes.append(self.node(i, "127.0.0.1:0"))

    def node(self, i, listen):
        """Also once more, at the address that it had."""
        join = ["--join", self.nodes[0].address] if i else []
        state = os.path.join(self.folder.name, "s%d" % i)
        self.live.append(serving("--name", "n%d" % i, "--state", state, *join, listen=listen, env=self.env))
        return self.live[-1]

    def spawn(self, *argv):
        self.live.append(Process(list(argv), self.env, text=True))
        return self.live[-1]

    def helper(self, what, i, *more):
        return self.spawn(CALLER, what, self.nodes[i].address, "p", *more)

    def provider(self, i):
        p = self.helper("serve", i)
        p.expect("out", "^serving$")
        return p

    def echo(self, i):
        p = self.spawn(MACULA, "-s", self.nodes[i].address, "--insecure", "serve", "p", "--echo")
        p.expect("err", "^serving ")
        return p

    def caller(self, i, *more):
        return self.helper("call", i, *more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in reversed(self.live):
            if p.p.poll() is None:
                p.p.send_signal(signal.SIGCONT)
            p.end()
        self.folder.cleanup()


def rows(p, what):
    return [line.split()[1:] for line in p.out.splitlines() if line.startswith(what + " ")]


def ends(caller):
    """id: (code, whether it may have run, when)."""
    return {r[0]: (r[1], r[2] == "1", float(r[3])) for r in rows(caller, "end") if len(r) == 4}


def count(caller, *codes):
    return sum(e[0] in codes for e in ends(caller).values())


def more_answers(caller, n=200):
    before = count(caller, "ok")
    until("calls are answered", lambda: count(caller, "ok") >= before + n)


def judge(caller, providers, killed=()):
    """No handler began twice for a call, or a second after the call had ended; what is said not to have run has not. killed: provider
    and time; what it began shortly before is an exception."""
    ended, runs = ends(caller), {}
    for p in providers:
        for who, at in (r for r in rows(p, "run") if len(r) == 2):
            excused = any(p is k and float(at) > when - UNHEARD for k, when in killed)
            runs.setdefault(who, []).append((float(at), excused))
    for who, began in runs.items():
        firm = [at for at, excused in began if not excused]
        assert len(firm) <= 1, "%s ran %d times: %s" % (who, len(began), began)
        if who not in ended:
            continue
        code, may_have_run, at = ended[who]
        assert all(b < at + 1 for b in firm), "%s ran %.1f s after its end: %s" % (who, max(firm) - at, code)
        assert not firm or code == "ok" or may_have_run, "%s has run, and ended with %s, which says that it has not" % (who, code)


def case_a_provider_dies_while_another_comes():
    with Mesh(2) as m:
        last = m.echo(1)
        caller = m.caller(0, "64", "20000")
        for _ in range(3):
            more_answers(caller)
            last.end()
            time.sleep(1.2)  # the node has noticed its end, and nobody is there
            last = m.echo(1)
        more_answers(caller)
        codes = {e[0] for e in ends(caller).values()}
        assert codes <= {"ok", "provider_lost"}, codes
        assert all(ran for code, ran, _ in ends(caller).values() if code == "provider_lost")


def case_a_killed_provider_and_once():
    with Mesh(2) as m:
        steady, caller = m.provider(1), m.caller(0, "64", "20000", "once")
        providers = [steady]
        for _ in range(3):
            providers.append(m.provider(1))
            more_answers(caller)
            providers[-1].end()
        more_answers(caller)
        judge(caller, providers)  # without exception
        assert {e[0] for e in ends(caller).values()} <= {"ok", "provider_lost"}


def case_a_provider_that_stood_still():
    with Mesh(2) as m:
        providers, caller = [m.provider(1), m.provider(1)], m.caller(0, "64", "2000")
        more_answers(caller)
        providers[0].p.send_signal(signal.SIGSTOP)
        until("its calls are given up", lambda: count(caller, "timeout"))
        more_answers(caller)
        time.sleep(1.5)  # what it would run now was given up long ago
        providers[0].p.send_signal(signal.SIGCONT)
        before = len(rows(providers[0], "run"))
        until("it is called again", lambda: len(rows(providers[0], "run")) > before + 50)
        judge(caller, providers)
        assert {e[0] for e in ends(caller).values()} == {"ok", "timeout"}


def case_a_node_that_stood_still():
    with Mesh(3) as m:
        providers, caller = [m.provider(1), m.provider(2)], m.caller(0, "64", "2000")
        until("both are called", lambda: all(len(rows(p, "run")) > 50 for p in providers))
        m.nodes[1].p.send_signal(signal.SIGSTOP)
        until("its calls are given up", lambda: count(caller, "timeout", "provider_lost"))
        more_answers(caller)
        time.sleep(1.5)
        m.nodes[1].p.send_signal(signal.SIGCONT)
        before = len(rows(providers[0], "run"))
        until("it is called again", lambda: len(rows(providers[0], "run")) > before + 50)
        judge(caller, providers)
        assert {e[0] for e in ends(caller).values()} <= {"ok", "timeout", "provider_lost"}


class Chaos:
    """Two nodes and their providers are killed and stand still, but one provider, which is there throughout with its node and the caller's."""

    def __init__(self, mesh, rng):
        self.m, self.rng, self.at = mesh, rng, [1, 1, 2]
        self.steady = mesh.provider(0)
        self.providers, self.now, self.killed = [self.steady], [mesh.provider(i) for i in self.at], []
        self.providers += self.now

    def note(self, which):
        """What these began just now they may not have acknowledged."""
        self.killed += [(p, time.monotonic()) for p in which]

    def still(self, what, theirs):
        self.note(theirs)
        what.p.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.choice((0.3, 1, 2.5, 5)))
        what.p.send_signal(signal.SIGCONT)

    def step(self):
        k = self.rng.randrange(len(self.now))
        node = self.at[k]
        theirs = [p for p, at in zip(self.now, self.at) if at == node]
        what = self.rng.choice(("kill a provider", "stop a provider", "kill a node", "stop a node"))
        if what == "stop a provider":
            self.still(self.now[k], [self.now[k]])
        elif what == "stop a node":
            self.still(self.m.nodes[node], theirs)
        elif what == "kill a provider":
            self.note([self.now[k]])
            self.now[k].end(signal.SIGKILL)
            self.now[k] = self.m.provider(node)
            self.providers.append(self.now[k])
        else:
            self.note(theirs)
            self.m.nodes[node].end(signal.SIGKILL)
            self.m.nodes[node] = self.m.node(node, self.m.nodes[node].address)


def chaos_round(seed):
    with Mesh(3) as m:
        chaos, caller = Chaos(m, random.Random(seed)), m.caller(0, "64", "3000")
        more_answers(caller)
        for _ in range(8):
            chaos.step()
            more_answers(caller)
        try:
            judge(caller, chaos.providers, chaos.killed)
            codes = {e[0] for e in ends(caller).values()}
            assert codes <= {"ok", "timeout", "provider_lost"}, codes
        except AssertionError as e:
            raise AssertionError("seed %d: %s" % (seed, e)) from e


def case_chaos():
    end = time.monotonic() + (600 if FULL else 0)
    while True:
        chaos_round(random.randrange(1 << 30))
        if time.monotonic() >= end:
            break


def main():
    wanted, bad = sys.argv[2:], 0
    for name, case in [(n[5:], f) for n, f in globals().items() if n.startswith("case_")]:
        if wanted and name not in wanted:
            continue
        try:
            tried(name, case)
            print("ok", name, flush=True)
        except Exception as e:  # each case is to be tried
            bad += 1
            print("FAIL %s: %s: %s" % (name, type(e).__name__, str(e).replace("\n", " ")[:1500]), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
