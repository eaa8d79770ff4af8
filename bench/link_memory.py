#!/usr/bin/env python3
"""What busy connections hold of connection_pool: link_memory.py BUILD_FOLDER [--runs N] [--seconds S] [--pool SIZE] [--only NAME,...].

Two nodes, and between them a relay that delays and loses (tests/e2e/_relay.py); `macula bench --to` loads them, from clients of the
far node to clients of the near one. Prints for each load and path, in KiB as median and (maximum) of the runs, the most that the mesh
connection held at each end (memory_peak_bytes in /api/peers), that a client held, that connection_pool had in use, and how many
connections ended for what they held, in all runs. Needs no root; the relay passes some 30 MB/s.
"""
import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

p = argparse.ArgumentParser()
p.add_argument("build")
p.add_argument("--runs", type=int, default=3)
p.add_argument("--seconds", type=int, default=5)
p.add_argument("--pool", default="64MiB")
p.add_argument("--only", default="")
args = p.parse_args()
build = os.path.abspath(args.build)
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
live = []

# name, bench; one way each, from the far node's clients to the near one's, or there and back.
LOADS = [
    ("publish 100", ["pubsub", "--clients", "4", "--size", "100"]),
    ("publish 64k", ["pubsub", "--clients", "8", "--size", "64000", "--outstanding", "8"]),
    ("publish 900k", ["pubsub", "--clients", "4", "--size", "900000", "--outstanding", "2"]),
    ("call 100", ["rpc", "--clients", "4", "--outstanding", "256", "--size", "100"]),
    ("call 64k", ["rpc", "--clients", "3", "--outstanding", "4", "--size", "64000"]),
    ("call 900k", ["rpc", "--size", "900000"]),
]
# name, least and most ms each way, per cent lost each way
PATHS = [("direct", None), ("2 ms, 1 %", (2, 2.2, 1)), ("20 ms", (20, 20.2, 0)), ("20 ms, 0.1 %", (20, 20.2, 0.1)), ("20 ms, 2 %", (20, 20.2, 2))]


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(words, **k):
    c = subprocess.Popen(words, stdin=subprocess.DEVNULL, text=True, env=clean, **k)
    live.append(c)
    return c


class Node:
    def __init__(self, name, path, join=None):
        port = free_port()
        self.address = "127.0.0.1:%d" % port
        self.seen_at = self.address
        words = []
        if path:
            self.seen_at = "127.0.0.1:%d" % free_port()
            relay = start([sys.executable, os.path.join(root, "tests", "e2e", "_relay.py"), self.seen_at, self.address, *map(str, path[:2]), "1", str(path[2])],
                          stdout=subprocess.PIPE)
            assert relay.stdout.readline().startswith("relaying ")
            words = ["--advertise", self.seen_at]
        if join:
            words += ["--join", join.seen_at]
        self.process = start([os.path.join(build, "maculad"), "--listen", self.address, "--http", "127.0.0.1:0", "--mqtt", "off", "--name", name, "--state",
                              tempfile.mkdtemp(dir=tmp), "--log-level", "warn", "--connection-pool", args.pool, *words],
                             stdout=subprocess.PIPE, stderr=None if os.environ.get("LOUD") else subprocess.DEVNULL)
        for line in self.process.stdout:
            if line.split()[:1] == ["http"]:
                self.http = line.split()[1].rsplit("/", 1)[0]
            if line.rstrip().endswith(" status"):
                break

    def get(self, what):
        return urllib.request.urlopen(self.http + what, timeout=30).read()

    def link(self):
        rows = [r for r in json.loads(self.get("/api/peers"))["peers"] if r["state"] == "connected"]
        return rows[0] if rows else None

    def metric(self, name):
        return int(re.search(rb"^macula_%s (\d+)$" % name.encode(), self.get("/metrics"), re.M).group(1))


def run(load, path):
    a = Node("near", path)
    b = Node("far", path, a)
    while not (a.link() and b.link()):
        time.sleep(0.05)
    bench = start([os.path.join(build, "macula"), "--insecure", "--json", "-s", b.address, "bench", *load, "--duration", "%ds" % args.seconds, "--to", a.address],
                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    link, clients, pool = [0, 0], [0, 0], [0, 0]
    while bench.poll() is None:
        for i, n in enumerate((a, b)):
            row = n.link()
            if row:
                link[i] = max(link[i], row["memory_peak_bytes"])
            clients[i] = max([clients[i]] + [c["memory_peak_bytes"] for c in json.loads(n.get("/api/clients"))["clients"]])
            pool[i] = max(pool[i], n.metric("quic_connection_pool_bytes"))
        time.sleep(0.02)
    out, err = bench.communicate()
    refused = [n.metric("quic_refused_memory_total") for n in (a, b)]
    for c in reversed(live):
        c.kill()
        c.wait()
    live.clear()
    r = json.loads(out) if bench.returncode == 0 else {}
    rate = r.get("messages_per_s", r.get("calls_per_s", 0))
    return dict(near=link[0], far=link[1], clients=max(clients), pool=max(pool), refused=sum(refused),
                mb_s=rate * r.get("size", 0) / 1e6, error=err.strip().replace("\n", " ")[:100])


with tempfile.TemporaryDirectory() as tmp:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_")}
    clean["XDG_CONFIG_HOME"] = tmp
    try:
        print("| load | path | MB/s | link, near end | link, far end | client | pool | ended |\n|---|---|---|---|---|---|---|---|")
        for name, load in LOADS:
            for where, path in PATHS:
                if args.only and name not in args.only.split(",") and where not in args.only.split(","):
                    continue
                got = [run(load, path) for _ in range(args.runs)]
                k = lambda f: "%.0f (%.0f)" % (statistics.median(g[f] for g in got) / 1024, max(g[f] for g in got) / 1024)
                print("| %s | %s | %.1f | %s | %s | %s | %s | %d |%s" % (name, where, statistics.median(g["mb_s"] for g in got), k("near"), k("far"),
                      k("clients"), k("pool"), sum(g["refused"] for g in got), "".join(" " + g["error"] for g in got if g["error"])), flush=True)
    finally:
        for c in live:
            if c.poll() is None:
                c.kill()
                c.wait()
