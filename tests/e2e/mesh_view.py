#!/usr/bin/env python3
"""Three nodes seen from one of them, on the command line: tests/e2e/mesh_view.py BUILD_FOLDER [CASE...]."""
import json
import os
import signal

from _cases import main
from _node import Node, until


def narrow(text):
    assert all(len(line) <= 80 for line in text.splitlines()), text
    return text


class Mesh:
    """Three nodes that know each other; what is asked is asked of the first one."""

    def __init__(self, folder):
        self.nodes = [Node(folder, "--name", "node0", state="0", http="off")]
        self.nodes += [Node(folder, "--name", "node%d" % i, "--join", self.nodes[0].address, state=str(i), http="off") for i in (1, 2)]
        self.ask = self.nodes[0].ok
        until("all are members", lambda: all(json.loads(n.ok("status", "--json"))["mesh"]["members"]["alive"] == 2 for n in self.nodes))

    def all(self, *args):
        """From every node: a machine that stands still for 5 s makes one silent, and it is asked again."""
        return until("all answer", lambda: (r := self.nodes[0].run(*args))[0] == 0 and narrow(r[1]) if "--json" not in args else
                     (r := self.nodes[0].run(*args))[0] == 0 and r[1])


def publish(n, *args):
    """Until it is known who listens, that is what is said."""
    until("it is done", lambda: n.run("pub", *args, "--qos", "1")[0] == 0)


def lists(folder):
    m = Mesh(folder)
    ids = [n.id for n in m.nodes]
    subs = [n.sub("plant.%s" % n.id[:8], "--name", "of %s" % n.id[:8]) for n in m.nodes]
    served = m.nodes[2].macula("serve", "math.add", "--reply", "5")
    served.expect("err", "serving math.add")
    for i, node in enumerate(ids):  # a row of each, with its node
        rows = json.loads(m.all("subs", "--mesh", "--json"))["subs"]
        assert [r["pattern"] for r in rows if r["node"] == node] == ["plant." + node[:8]], rows
        assert json.loads(m.all("subs", "--node", node[:12], "--json"))["subs"][0]["pattern"] == "plant." + node[:8]
    table = m.all("clients", "--mesh").splitlines()
    assert table[0].split()[:3] == ["NODE", "ID", "CLIENT"] and {line[:8] for line in table[1:]} == {i[:8] for i in ids}, table
    assert [line.split()[:2] for line in m.all("services", "--mesh").splitlines()[1:]] == [[ids[2][:8], "math.add"]]
    table = m.all("status", "--mesh").splitlines()
    assert [line.split()[:3] for line in table[1:]] == sorted(([i[:16], "node%d" % k, "yes"] for k, i in enumerate(ids)),
                                                             key=lambda r: [line[:16] for line in table].index(r[0])), table
    assert json.loads(m.all("status", "--node", ids[1], "--json"))["node_id"] == ids[1]
    described = json.loads(m.all("services", "--describe", "--mesh", "--json"))
    assert [d["procedure"] for d in described] == ["math.add"], described
    code, out, err = m.nodes[0].run("clients", "--node", "0123abcd")
    assert (code, out) == (1, "") and err.startswith("macula: unknown_node: "), (code, out, err)
    assert m.nodes[0].run("clients", "--node", ids[1], "--mesh")[0] == 2
    # A client elsewhere is ended.
    who = json.loads(m.all("clients", "--node", ids[1], "--json"))["clients"]
    assert m.ask("clients", "end", [c["id"] for c in who if c["name"].startswith("of ")][0], "--node", ids[1]).startswith("ended "), who
    # One that stands still is named, and the others are there.
    os.kill(m.nodes[2].process.p.pid, signal.SIGSTOP)
    code, out, err = m.nodes[0].run("subs", "--mesh", "--json")
    assert code == 1 and "node " + ids[2][:16] + " node2 did not answer" in err and " of 3 nodes are missing" in err, (code, err)
    nodes = {n["id"]: n.get("error") for n in json.loads(out)["nodes"]}
    assert nodes[ids[0]] is None and nodes[ids[2]] in ("timeout", "not_connected", "no_route"), nodes
    os.kill(m.nodes[2].process.p.pid, signal.SIGCONT)
    for s in subs[:1]:
        assert s.end(signal.SIGTERM) == 0


def top(folder):
    m = Mesh(folder)
    s = m.nodes[1].sub("plant.**", "--name", "hall")
    for _ in range(3):
        publish(m.nodes[2], "plant.press", "21.5")
    assert m.nodes[1].run("pub", "com.macula.x", "1", "--qos", "1")[0] == 1
    t = json.loads(m.all("top", "--once", "--json"))
    assert {n["name"] for n in t["nodes"]} == {"node0", "node1", "node2"} and t["rates"].keys() == {"published", "delivered", "dropped", "refused"}, t
    topics = {x["topic"]: x for x in t["topics"]}
    assert topics["plant.press"]["messages"] >= 3 and topics["plant.press"]["bytes"] == 4 * topics["plant.press"]["messages"] and topics["com.macula.x"]["refused"] == 1, topics
    hall = [c for c in t["clients"] if c["name"] == "hall"][0]
    assert hall["node"] == m.nodes[1].id and hall["refused_per_s"] == 0, hall
    text = m.all("top", "--once", "--sort", "refused")
    for words in ("3 nodes, 0 silent", "NODE ", "CLIENT ", "TOPIC ", "node2", "hall", "plant.press"):
        assert words in text, (words, text)
    assert json.loads(m.all("top", "--once", "--json", "--node", m.nodes[1].id[:8]))["nodes"][0]["name"] == "node1"
    assert s.end(signal.SIGTERM) == 0


def trace(folder):
    m = Mesh(folder)
    here, there = m.nodes[0].sub("plant.*.temp", "--name", "here"), m.nodes[1].sub("plant.**", "--name", "there")
    member = m.nodes[1].macula("sub", "plant.**", "--group", "workers")
    member.expect("err", r"^subscribed ")
    publish(m.nodes[2], "plant.press.temp", "21.5", "--retain")

    def told(nodes, *args):
        t = json.loads(m.all("trace", "plant/press/temp", "--json", *args))
        return t if {n["name"] for n in t["nodes"]} == nodes else None

    t = until("node1 listens", lambda: told({"node1"}))
    assert t["topic"] == "plant.press.temp" and [c["name"] for c in t["clients"]] == ["here"] and t["nodes"][0]["way"] == "link", t
    far = t["nodes"][0]["answer"]
    assert "there" in [c["name"] for c in far["clients"]] and far["groups"] == ["workers"], far
    t = until("both listen", lambda: told({"node0", "node1"}, "--node", m.nodes[2].id))
    assert t["counted"]["messages"] >= 1 and t["retained"] is True, t
    text = m.all("trace", "plant.press.temp")
    for words in ("from node %s node0" % m.nodes[0].id[:16], "heard here by 1 client", "sent to 1 other node", "by its own link", "group workers"):
        assert words in text, (words, text)
    # Why a publish was refused.
    assert m.nodes[0].run("pub", "com.macula.x", "1", "--qos", "1")[0] == 1
    text = m.all("trace", "com.macula.x")
    assert "lost here lately" in text and "refused, not_authorized" in text and "heard here by 0 clients" in text, text
    assert m.nodes[0].run("trace", "plant.*")[0] == 2
    for s in (here, there, member):
        assert s.end(signal.SIGTERM) == 0


if __name__ == "__main__":
    main("mesh-view", lists, top, trace)
