#!/usr/bin/env python3
"""Calls across nodes as a user sees them, with real processes: tests/e2e/mesh_calls.py BUILD_FOLDER [CASE...].

A registry and three providers' nodes, as in the manual. Each case waits for output or answers with a deadline. Prints "ok NAME" or
"FAIL NAME: why" a case.
"""
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile

from _node import serving, until
from _process import DEADLINE, Process
from _still import tried

build = os.path.abspath(sys.argv[1])
PATIENCE = ("--timeout", "120s")  # of calls that are answered in the end; how soon after a death is for the simulator to say


class Mesh:
    """Node 0 is the registry; the others join it."""

    def __init__(self, count=4, hidden=()):
        self.folder = tempfile.TemporaryDirectory()
        base = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_") and k != "NOTIFY_SOCKET"}
        self.env = dict(base, XDG_CONFIG_HOME=os.path.join(self.folder.name, "config"))
        self.live, self.nodes, self.addresses, self.hidden = [], [], [], hidden
        for i in range(count):
            self.addresses.append("127.0.0.1:0")
            self.nodes.append(None)
            self.start(i)
        self.joined(count)

    def start(self, i):
        join = ["--join", self.addresses[0]] if i else []
        if i in self.hidden:
            join.append("--no-listen")
        name = "provider%d" % i if i else "registry"
        self.nodes[i] = serving("--name", name, "--state", os.path.join(self.folder.name, "s%d" % i), *join, listen=self.addresses[i],
                                env=self.env, text=False)
        self.live.append(self.nodes[i])
        self.addresses[i] = self.nodes[i].address

    def joined(self, count):
        for i in range(count):
            until("node %d is linked with all others" % i, lambda: len(self.connected(i)) == count - 1)

    def connected(self, i):
        return [p for p in json.loads(self.ok(i, "--json", "peers"))["peers"] if p["state"] == "connected"]

    def spawn_as(self, program, *args):
        self.live.append(Process([os.path.join(build, program), *args], self.env))
        return self.live[-1]

    def spawn(self, i, *args):
        return self.spawn_as("macula", "-s", self.addresses[i], *args)

    def run(self, i, *args):
        p = subprocess.run([os.path.join(build, "macula"), "-s", self.addresses[i], *args], env=self.env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
        return p.returncode, p.stdout, p.stderr

    def ok(self, i, *args):
        code, out, err = self.run(i, *args)
        assert code == 0, "%r: exit %d, %r" % (args, code, err)
        return out

    def serve(self, i, *args):
        p = self.spawn(i, "serve", *args)
        p.expect("err", rb"^serving ")
        return p

    def script(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def times(self, n):
        """As the calculators of the manual: {"x":7} is answered with 7 times n."""
        return self.script("times%d.sh" % n, "read -r json; x=${json##*:}; echo $((${x%%\\}*} * " + "%d))\n" % n)

    def calculators(self):
        return [self.serve(i, "test.calculator", "--exec", self.times(i + 1)) for i in (1, 2, 3)]

    def call(self, i, x=7, *args):
        return json.loads(self.ok(i, "call", "test.calculator", json.dumps({"x": x}), *PATIENCE, *args))

    def pending(self, i):
        return json.loads(self.ok(i, "--json", "status"))["pending_calls"]["count"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in reversed(self.live):
            p.end()
        self.folder.cleanup()


def all_known(m):
    """Until the registry has heard of all three calculators."""
    seen = set()

    def look():
        seen.add(m.call(0, 7, "--strategy", "round_robin"))
        return seen == {14, 21, 28}

    until("all three providers are called", look)


def case_round_robin():
    with Mesh() as m:
        m.calculators()
        all_known(m)
        answers = [m.call(0, 7, "--strategy", "round_robin") for _ in range(6)]
        assert set(answers[:3]) == {14, 21, 28} and answers[:3] == answers[3:], answers
        # From a node that provides it itself, its own provider answers.
        assert [m.call(2) for _ in range(3)] == [21, 21, 21]


def case_a_node_dies_between_calls():
    with Mesh() as m:
        m.calculators()
        all_known(m)
        m.nodes[1].end()
        for _ in range(6):
            answer = m.call(0, 7, "--strategy", "round_robin")
            assert answer in (21, 28), answer


def case_a_node_dies_in_mid_call():
    with Mesh() as m:
        second = os.path.join(m.folder.name, "second")
        for i in (1, 2, 3):
            m.serve(i, "test.calculator", "--exec",
                    m.script("slow%d.sh" % i, "read -r json; touch %s/started%d.$json; [ -e %s ] || exec sleep 1000; echo %d\n" %
                             (m.folder.name, i, second, i)))

        def running(call):  # by the call's argument, since a handler of an earlier one may come late
            return [i for i in (1, 2, 3) if os.path.exists(os.path.join(m.folder.name, "started%d.%d" % (i, call)))]

        until("a provider is found", lambda: m.run(0, "call", "test.calculator", "0", "--timeout", "2s")[0] == 4 and running(0))
        call = m.spawn(0, "call", "test.calculator", "1", *PATIENCE, "--idempotent")
        once = m.spawn(0, "--json", "call", "test.calculator", "2", *PATIENCE, "--strategy", "first")
        until("handlers run", lambda: running(1) and running(2))
        victim, other = running(1)[0], running(2)[0]
        open(second, "w").close()
        m.nodes[victim].end()
        answer = int(call.expect("out", rb"^\d+$").group())
        assert answer in {1, 2, 3} - {victim}, answer
        assert call.p.wait(DEADLINE) == 0
        m.nodes[other].end()
        assert once.wait() == 1  # what may have begun is not tried elsewhere, and the caller is told
        error = json.loads(once.out)["error"]
        assert error["code"] == "provider_lost" and error["may_have_run"] is True and error["attempts"], error


def case_the_caller_is_killed():
    with Mesh(2) as m:
        mark = os.path.join(m.folder.name, "running")
        m.serve(1, "test.calculator", "--exec", m.script("hang.sh", "read -r json; touch %s.$json; exec sleep 1000\n" % mark))
        until("the provider is found", lambda: m.run(0, "call", "test.calculator", "0", "--timeout", "2s")[0] == 4 and os.path.exists(mark + ".0"))
        call = m.spawn(0, "call", "test.calculator", "1", "--timeout", "1h")
        until("the handler runs", lambda: os.path.exists(mark + ".1"))
        assert m.pending(0) >= 1 and m.pending(1) >= 1
        call.end()
        until("the chain is freed at both nodes", lambda: m.pending(0) == 0 and m.pending(1) == 0)


def case_six_calls():
    """The original's script: six calls, all answered, each provider at least once."""
    with Mesh() as m:
        for i in (1, 2, 3):
            m.serve(i, "test.calculator", "--exec",
                    m.script("p%d.sh" % i, "read -r json; x=${json##*:}; echo '{\"provider\":\"provider%d\",\"result\":'"
                             "$((${x%%%%\\}*} * %d))',\"timestamp\":'$(date +%%s)'}'\n" % (i, i + 1)))
        seen = set()

        def look():
            seen.add(m.call(0, 1, "--strategy", "round_robin")["provider"])
            return len(seen) == 3

        until("all three providers are called", look)
        counts = {}
        for x in range(1, 7):
            answer = m.call(0, x, "--strategy", "round_robin")
            n = int(answer["provider"][-1])
            assert answer["result"] == x * (n + 1), answer
            counts[n] = counts.get(n, 0) + 1
        assert counts == {1: 2, 2: 2, 3: 2}, counts


def case_providers_come_and_go():
    with Mesh() as m:
        code, _, err = m.run(0, "call", "test.calculator", "0", *PATIENCE)
        assert code == 1 and err.startswith(b"macula: no_such_procedure: "), (code, err)
        first = m.serve(1, "test.calculator", "--exec", m.times(2))
        until("the first provider is found", lambda: m.run(0, "call", "test.calculator", '{"x":7}')[1].strip() == b"14")
        m.serve(2, "test.calculator", "--exec", m.times(3))
        until("a provider that came later is heard of", lambda: m.call(0, 7, "--strategy", "round_robin") == 21)
        first.end(signal.SIGTERM)
        for _ in range(6):  # no call is lost by it
            assert m.call(0, 7, "--strategy", "round_robin") == 21


def case_the_error_says_which_attempt_failed():
    with Mesh(3) as m:
        for i in (1, 2):
            m.serve(i, "test.calculator", "--exec", "exit 3")
        until("a provider is found", lambda: b"handler_error" in m.run(0, "call", "test.calculator", "0")[2])
        code, out, err = m.run(0, "call", "test.calculator", "0", *PATIENCE)
        assert code == 1 and out == b"" and err.startswith(b"macula: handler_error: "), (code, err)


def case_a_frozen_node():
    """SIGSTOP: the call fails in time, and what comes after SIGCONT is answered again."""
    with Mesh(2) as m:
        m.serve(1, "test.calculator", "--exec", m.times(2))
        assert m.call(0) == 14  # the first time
        m.nodes[1].p.send_signal(signal.SIGSTOP)
        code, _, err = m.run(0, "call", "test.calculator", '{"x":7}', "--timeout", "30s")
        assert code in (1, 4), (code, err)
        m.nodes[1].p.send_signal(signal.SIGCONT)
        until("it is called again", lambda: m.run(0, "call", "test.calculator", '{"x":7}')[1].strip() == b"14")


def case_a_node_comes_back():
    with Mesh(3) as m:
        serving = m.serve(1, "test.calculator", "--exec", m.times(2))
        assert m.call(2) == 14
        m.nodes[1].end()
        code, _, err = m.run(2, "call", "test.calculator", '{"x":7}', "--timeout", "9s")
        assert code in (1, 4), (code, err)
        m.start(1)
        # The provider reconnects and registers by itself.
        until("it is called again", lambda: m.run(2, "call", "test.calculator", '{"x":7}')[1].strip() == b"14")
        assert serving.p.poll() is None


def case_a_node_that_nobody_can_dial():
    with Mesh(3, hidden=(2,)) as m:
        m.serve(2, "test.calculator", "--exec", m.times(3))
        assert m.call(0) == 21 and m.call(1) == 21
        serving = m.serve(1, "test.other", "--reply", "1")
        assert m.ok(2, "call", "test.other", *PATIENCE).strip() == b"1"
        m.nodes[0].end()  # its first contact
        until("it is called by the other", lambda: m.run(1, "call", "test.calculator", '{"x":7}')[1].strip() == b"21")
        assert serving.p.poll() is None


def case_bench_through_the_mesh():
    with Mesh(2) as m:
        for kind in ("rpc", "pubsub"):
            r = json.loads(m.ok(0, "--json", "bench", kind, "--messages", "200", "--size", "20000", "--to", m.addresses[1]))
            assert r.get("calls", r.get("messages")) == 200 and not r.get("lost"), r
        for i in range(2):
            (link,) = m.connected(i)
            assert 20000 < link["memory_bytes"] <= link["memory_peak_bytes"], link
        m.spawn(0, "sub", "t").expect("err", rb"^subscribed ")
        for client in json.loads(m.ok(0, "--json", "clients"))["clients"]:
            assert 20000 < client["memory_bytes"] <= client["memory_peak_bytes"], client


def main():
    cases = [(n[5:], f) for n, f in globals().items() if n.startswith("case_")]
    wanted = sys.argv[2:]
    bad = 0
    for name, case in cases:
        if wanted and name not in wanted:
            continue
        try:
            tried(name, case)
            print("ok", name, flush=True)
        except Exception as e:  # each case is to be tried
            bad += 1
            print("FAIL %s: %s: %s" % (name, type(e).__name__, str(e).replace("\n", " ")), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
