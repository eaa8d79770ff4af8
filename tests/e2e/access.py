#!/usr/bin/env python3
"""Access files that change while clients and nodes are connected: tests/e2e/access.py BUILD_FOLDER [CASE...]. Prints "ok NAME" or
"FAIL NAME: why" a case.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from _node import MACULA, Node, until
from _process import DEADLINE, access_file, end_all, token_file
from _still import tried

COUNT = 400


def reloaded(n, event="reloaded"):
    """SIGHUP, and what the node says of it."""
    pattern = r"(?m) event=%s .*$" % event
    before = len(re.findall(pattern, n.process.err))
    n.process.p.send_signal(signal.SIGHUP)
    until(event, lambda: len(re.findall(pattern, n.process.err)) > before)
    return re.findall(pattern, n.process.err)[-1]


def example_is_right(folder):
    """docs/access.example.yaml, with its files elsewhere; nobody else may read it, since a password stands in it."""
    at = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "access.example.yaml")
    with open(at) as f:
        text = f.read().replace("/etc/macula/", folder + "/")
    for name in "node-token", "operator-token", "token":
        token_file(os.path.join(folder, name))
    path = os.path.join(folder, "access.yaml")
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:
        f.write(text)
    for argv in [MACULA, "access", "check", "--access", path], [MACULA + "d", "--check", "--access", path]:
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
        assert p.returncode == 0, (argv, p)
    n = Node(folder, "--access", path)
    code, _, err = n.run("status")  # a key alone: display
    assert code == 3 and "role operator" in err, (code, err)
    assert "forbidden" in n.run("pub", "plant.x", "1", "--qos", "1")[2]
    n.ok("--token-file", os.path.join(folder, "operator-token"), "status")


def broken_file_changes_nothing(folder):
    token, path = token_file(os.path.join(folder, "token")), os.path.join(folder, "access.yaml")
    n = Node(folder, "--access", access_file(path, client=token))
    sub = n.sub("--token-file", token, "a")
    for wrong, said in (("grants: [", ":2: not YAML"), ("grants: {a: {pub: [**]}}\n", ":1: not YAML: put patterns in quotes: '**'"),
                        ("grant: {}\n", ":1: unknown key 'grant'"), ("default: x\n", ":1: there is no grant 'x'"),
                        ("tokens: [{token: short, grant: x}]\n", ":1: a token has at least 16 bytes")):
        with open(path, "w") as f:
            f.write(wrong)
        assert path + said in reloaded(n, "reload_failed"), n.process.err[-600:]
        assert n.run("pub", "a", "1")[0] == 3
        n.ok("--token-file", token, "pub", "a", "1")
    assert len(sub.lines(5)) == 5


def reload_ends_those_who_may_no_longer(folder):
    tokens = [token_file(os.path.join(folder, "token%d" % i)) for i in range(3)]
    path = os.path.join(folder, "access.yaml")

    def write(*subs):
        with open(path, "w") as f:
            f.write("grants:\n" + "".join("  g%d: {pub: [a], sub: [%s]}\n" % (i, s) for i, s in enumerate(subs)) + "tokens:\n" +
                    "".join("  - {file: '%s', grant: g%d}\n" % (tokens[i], i) for i in range(len(subs))))
    write("a", "'**'", "a")
    n = Node(folder, "--access", path)
    stays, few, gone = n.sub("--token-file", tokens[0], "a"), n.sub("--token-file", tokens[1], "b"), n.sub("--token-file", tokens[2], "a")
    write("a", "a")
    reloaded(n)
    for p, code, said in (few, "forbidden", "sub 'b' is not allowed: no sub pattern of the grant g1 covers it"), (gone, "not_authorized", "token is wrong"):
        assert p.wait() == 3, (code, p.err)
        assert re.search(r"(?m)^macula: %s: [^\n]*%s" % (code, said), p.err), p.err
        n.process.expect("err", r" event=client_ended .*code=%s .*%s" % (code, said))
    n.ok("--token-file", tokens[0], "pub", "a", "1")
    assert stays.lines(1) == ["a 1"] and stays.p.poll() is None


class Pair:
    """Two nodes that are linked by a token of their own; write: the tokens in both files, in their order, and SIGHUP."""

    def __init__(self, folder, **tokens):
        self.folder = folder
        self.paths = [os.path.join(folder, name + ".yaml") for name in ("a", "b")]
        for path in self.paths:
            access_file(path, **tokens)
        self.a = Node(folder, "--access", self.paths[0], "--name", "a", state="a")
        self.b = Node(folder, "--access", self.paths[1], "--name", "b", "--join", self.a.address, state="b")
        self.nodes = [self.a, self.b]
        until("they are linked", lambda: all(n.metric("mesh_links") for n in self.nodes))

    def write(self, **tokens):
        for path, n in zip(self.paths, self.nodes):
            access_file(path, **tokens)
            reloaded(n)

    def links(self):
        return [n.metric(m) for n in self.nodes for m in ("mesh_dials_total", "mesh_accepted_total")]


def heard(pair, token, topic):
    """A subscriber at b of which a knows, and a publisher at a that has begun."""
    sub = pair.b.sub("--token-file", token, topic)
    until("%s is known at the other node" % topic,
          lambda: [pair.a.ok("--token-file", token, "pub", topic, "first", "--qos", "1"), " first" in sub.out][1])
    return sub, pair.a.macula("--token-file", token, "pub", topic, "x", "--qos", "1", "--count", str(COUNT), "--interval", "10ms")


def all_heard(sub, pub, topic):
    assert pub.wait() == 0, pub.err
    until("all is heard", lambda: sub.out.count("%s x\n" % topic) >= COUNT)
    assert sub.out.count("%s x\n" % topic) == COUNT and sub.p.poll() is None, sub.err


def rotation_has_no_gap(folder):
    """The new one is added at all nodes, the clients change, the old one goes."""
    node, old, new = (token_file(os.path.join(folder, name)) for name in ("node", "old", "new"))
    pair = Pair(folder, node=node, client=old)
    before = pair.links()
    one = heard(pair, old, "one")
    pair.write(node=node, client=[old, new])
    two = heard(pair, new, "two")
    all_heard(*one, "one")
    pair.write(node=node, client=new)
    assert one[0].wait() == 3 and "not_authorized" in one[0].err, one[0].err
    all_heard(*two, "two")
    assert pair.links() == before, (before, pair.links())
    assert not any("node_ended" in n.process.err for n in pair.nodes)


def nodes_rotate_their_own(folder):
    """Added second, put first, the old one taken away: they are linked again by the new one, and no QoS 1 message is lost."""
    client, old, new = (token_file(os.path.join(folder, name)) for name in ("client", "old", "new"))
    pair = Pair(folder, node=old, client=client)
    flow = heard(pair, client, "flow")
    for order in [old, new], [new, old], new:
        pair.write(node=order, client=client)
    all_heard(*flow, "flow")
    until("they are linked", lambda: all(n.metric("mesh_links") for n in pair.nodes))


def main():
    failed = 0
    cases = (example_is_right, broken_file_changes_nothing, reload_ends_those_who_may_no_longer, rotation_has_no_gap,
             nodes_rotate_their_own)
    for case in cases:
        if sys.argv[2:] and case.__name__ not in sys.argv[2:]:
            continue

        def once(case=case):
            folder = tempfile.mkdtemp(prefix="macula-access-")
            try:
                case(folder)
            finally:
                end_all()
                shutil.rmtree(folder)
        try:
            tried(case.__name__, once)
            print("ok " + case.__name__, flush=True)
        except Exception as e:  # each case speaks for itself
            failed += 1
            print("FAIL %s: %s: %s" % (case.__name__, type(e).__name__, str(e)[:1500].replace("\n", " | ")), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
