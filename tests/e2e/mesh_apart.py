#!/usr/bin/env python3
"""A mesh in which something is amiss, with real processes: tests/e2e/mesh_apart.py BUILD_FOLDER [CASE...].

Two nodes out of each other's reach, one identity twice, a node that is stopped while calls and messages are under way. In a network
namespace of its own. Each case waits for output or answers with a deadline. Prints "ok NAME" or "FAIL NAME: why" a
case.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import _node
from _node import until
from _process import DEADLINE, end_all
from _still import tried

build = os.path.abspath(sys.argv[1])
ALONE = "--alone"  # the network is this script's own
RULES = """
table inet apart {
  chain in {
    type filter hook input priority 0;
    ip saddr 127.0.0.2 ip daddr 127.0.0.3 udp dport != 53 drop
    ip saddr 127.0.0.3 ip daddr 127.0.0.2 udp dport != 53 drop
  }
}
"""


class Node(_node.Node):
    def __init__(self, folder, name, host="127.0.0.1", join=None, state=None):
        super().__init__(folder, "--name", name, *(["--join", join.address] if join else []), state=state or name, listen=host + ":0")

    def logged(self, pattern):
        return self.process.expect("err", pattern)

    def stop(self):
        """SIGTERM; what was under way may go on for 5 s."""
        self.process.p.send_signal(signal.SIGTERM)
        self.logged(r"event=stopping")


def linked(*nodes):
    for n in nodes:
        until("links", lambda: n.metric("interest_nodes") == len(nodes) - 1 and "connected" in n.states().values())


def case_out_of_reach(folder):
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
    hub = Node(folder, "hub")
    a, b = Node(folder, "a", "127.0.0.2", hub), Node(folder, "b", "127.0.0.3", hub)
    until("both say so", lambda: a.states().get("b") == b.states().get("a") == "alive, not reachable directly")
    peers = a.run("peers")[1]
    assert re.search(r"^%s +b +indirect " % b.id[:16], peers, re.M), peers
    a.logged(r"level=warn event=peer_unreachable peer=\"b\" id=%s address=%s " % (b.id, re.escape(b.address)))
    assert a.metric("mesh_unreachable") == 1 and hub.metric("mesh_unreachable") == 0
    near, far = hub.sub("q"), b.sub("q")
    until("the hub relays", lambda: a.metric("mesh_relayed") == b.metric("mesh_relayed") == 1)
    until("both patterns are known", lambda: a.metric('table_entries{table="interest"}') == 2)
    assert a.run("pub", "q", "1", "--qos", "1")[0] == 0
    near.expect("out", r"^q 1$")
    far.expect("out", r"^q 1$")
    serve = b.macula("serve", "there", "--exec", "cat")
    serve.expect("err", r"^serving ")
    until("a call arrives", lambda: a.run("call", "there", '"hello"')[1] == '"hello"\n')
    assert hub.metric("routes_forwarded_total") > 0 and a.metric("envelopes_forged_total") == 0
    subprocess.run(["nft", "delete", "table", "inet", "apart"], check=True)
    until("they meet", lambda: a.metric("mesh_unreachable") == b.metric("mesh_unreachable") == 0)
    until("QoS 1 is done", lambda: a.run("pub", "q", "2", "--qos", "1")[0] == 0 and "q 2\n" in far.out)


def case_one_identity_twice(folder):
    hub = Node(folder, "hub")
    first = Node(folder, "first", join=hub)
    linked(hub, first)
    sub = first.sub("q")
    until("its pattern is known", lambda: hub.metric('table_entries{table="interest"}') == 1)
    shutil.copytree(first.state, os.path.join(folder, "copied"))
    copy = Node(folder, "copy", join=hub, state="copied")
    assert copy.id == first.id
    line = hub.logged(r"level=error event=identity_twice .*")[0]
    assert first.id in line and first.address in line and copy.address in line, line
    copy.logged(r"level=error event=identity_in_use own=%s " % first.id)
    until("the first one's pattern is known again", lambda: hub.metric('table_entries{table="interest"}') == 1)
    accepted = hub.metric("mesh_accepted_total")
    for i in range(30):
        assert hub.run("pub", "q", str(i), "--qos", str(i % 2))[0] == 0
    assert sub.lines(30) == ["q %d" % i for i in range(30)], sub.out
    assert hub.metric("mesh_accepted_total") == accepted
    assert hub.process.err.count("event=identity_twice") == copy.process.err.count("event=identity_in_use") == 1


def in_time(case, folder):
    """A node waits for 5 s at most. What is under way is let go within some 0.1 s, unless the machine is slow: then once more."""
    for left in reversed(range(5)):
        own, began = tempfile.mkdtemp(dir=folder), []
        try:
            return case(own, began)
        except AssertionError:
            if not left or not began or time.monotonic() - began[0] < 1:
                raise
            end_all()


def call_under_way(folder, began, stops):
    caller, provider = Node(folder, "caller"), None
    provider = Node(folder, "provider", join=caller)
    linked(caller, provider)
    go, up = os.path.join(folder, "go"), os.path.join(folder, "up")
    os.mkfifo(go)
    serve = provider.macula("serve", "slow", "--exec", "touch %s; cat %s" % (up, go))
    serve.expect("err", r"^serving ")
    call = caller.macula("call", "slow", "--timeout", "%ds" % DEADLINE)
    until("the handler runs", lambda: os.path.exists(up))
    began.append(time.monotonic())
    stopped = provider if stops else caller
    stopped.stop()
    with open(go, "w") as f:
        f.write('"done"')
    assert call.wait() == 0 and call.out == '"done"\n', (call.out, call.err)
    assert stopped.process.wait() == 0


def case_the_providers_node_is_stopped(folder):
    in_time(lambda own, began: call_under_way(own, began, True), folder)


def case_the_callers_node_is_stopped(folder):
    in_time(lambda own, began: call_under_way(own, began, False), folder)


def message_under_way(folder, began):
    a = Node(folder, "a")
    b = Node(folder, "b", join=a)
    linked(a, b)
    sub = b.sub("q")
    until("its pattern is known", lambda: a.metric('table_entries{table="interest"}') == 1)
    b.process.p.send_signal(signal.SIGSTOP)
    began.append(time.monotonic())
    pub = a.macula("pub", "q", "1", "--qos", "1")
    until("it waits", lambda: a.metric('table_entries{table="inflight"}') == 1)
    a.stop()
    b.process.p.send_signal(signal.SIGCONT)
    assert pub.wait() == 0, pub.err
    sub.expect("out", r"^q 1$")
    assert a.process.wait() == 0


def case_stopped_while_qos1_waits(folder):
    in_time(message_under_way, folder)


if __name__ == "__main__":
    if ALONE not in sys.argv:
        inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && nft list tables && exec "$@"', "sh"]
        os.execvp(inside[0], [*inside, sys.executable, *sys.argv, ALONE])
    cases = {k[5:]: v for k, v in list(globals().items()) if k.startswith("case_")}
    bad = 0
    for name in [a for a in sys.argv[2:] if a != ALONE] or cases:
        def case():
            folder = tempfile.mkdtemp(prefix="macula-e2e-")
            try:
                cases[name](folder)
            finally:
                end_all()
                shutil.rmtree(folder, ignore_errors=True)
        try:
            tried(name, case)
            print("ok %s" % name, flush=True)
        except Exception as e:  # a case that fails must not keep the others from running
            bad += 1
            print("FAIL %s: %s: %s" % (name, type(e).__name__, str(e).replace("\n", " ")), flush=True)
    sys.exit(1 if bad else 0)
