#!/usr/bin/env python3
"""Runs every benchmark of docs/benchmarks.md and prints its table: bench/run.py BUILD_FOLDER [ROUNDS] [NAME...].

Each round starts a node of its own on loopback. The figures are medians over the rounds; load and node share the machine, so the
node's CPU per operation says more than the rate. Bounded in count: about 90 s a round.
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

build = os.path.abspath(sys.argv[1])
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
wanted = sys.argv[3:]


class Node:
    def __enter__(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.env = dict(os.environ, XDG_CONFIG_HOME=self.tmp.name)
        self.p = subprocess.Popen([os.path.join(build, "maculad"), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mqtt", "off", "--state",
                                   os.path.join(self.tmp.name, "state")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.p.stdout:
            if line.startswith("listen"):
                self.env["MACULA_SERVER"] = line.split()[1]
            if line.startswith("http"):
                self.http = line.split()[1].rsplit("/", 1)[0]
            if line.rstrip().endswith("status"):
                break
        return self

    def __exit__(self, *_):
        self.p.terminate()
        self.p.wait(20)
        self.tmp.cleanup()

    def macula(self, *args):
        return json.loads(subprocess.run([os.path.join(build, "macula"), "--json", *args], env=self.env, stdout=subprocess.PIPE,
                                         check=True, timeout=300).stdout)

    def status(self):
        with urllib.request.urlopen(self.http + "/api/status", timeout=20) as r:
            return json.load(r)


def bench(*args):
    def one(node):
        return node.macula("bench", *args)
    return one


def stopped(node):
    """As pubsub, with a third client that subscribes to everything and never reads again."""
    s = subprocess.Popen([os.path.join(build, "macula"), "sub", "**"], env=node.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    s.stderr.readline()  # "subscribed"
    s.send_signal(signal.SIGSTOP)
    try:
        return node.macula("bench", "pubsub")
    finally:
        s.kill()
        s.wait()


def crowd(node):
    """10,000 clients; then the seconds until resident memory is back to the start + 10 % or 8 MiB, whichever is larger."""
    node.macula("bench", "idle", "--clients", "100", "--hold", "100ms")  # one warm-up
    start = node.status()["memory"]["rss_bytes"]
    b = node.macula("bench", "idle", "--clients", "10000", "--hold", "5s")
    left = time.monotonic()
    while node.status()["memory"]["rss_bytes"] > start + max(start / 10, 8 << 20) and time.monotonic() - left < 120:
        time.sleep(0.5)
    b["back_s"] = time.monotonic() - left
    return b


BENCHES = [  # name, command, what, [(key, text, digits)]
    ("pubsub", "macula bench pubsub", bench("pubsub"), [("messages_per_s", "messages/s", 0), ("lost", "lost", 0)]),
    ("pubsub-100", "macula bench pubsub --clients 100", bench("pubsub", "--clients", "100"), [("messages_per_s", "messages/s", 0),
                                                                                            ("lost", "lost", 0)]),
    ("stopped", "macula bench pubsub, beside a stopped macula sub '**'", stopped, [("messages_per_s", "messages/s", 0),
                                                                                   ("lost", "lost", 0)]),
    ("fanout", "macula bench fanout", bench("fanout"), [("deliveries_per_s", "deliveries/s", 0), ("lost", "lost", 0)]),
    ("fanout-1000", "macula bench fanout --subscribers 1000 --messages 2000", bench("fanout", "--subscribers", "1000", "--messages", "2000"),
     [("deliveries_per_s", "deliveries/s", 0), ("lost", "lost", 0)]),
    ("rpc-1", "macula bench rpc", bench("rpc"), [("p50_us", "us p50", 0), ("p99_us", "us p99", 0), ("calls_per_s", "calls/s", 0)]),
    ("rpc-64", "macula bench rpc --outstanding 64 --messages 500000", bench("rpc", "--outstanding", "64", "--messages", "500000"),
     [("calls_per_s", "calls/s", 0), ("p50_us", "us p50", 0)]),
    ("connect", "macula bench connect --clients 3000", bench("connect", "--clients", "3000"), [("connections_per_s", "connections/s", 0)]),
    ("idle", "macula bench idle --clients 10000", crowd, [("bytes_per_client", "bytes a client", 0), ("back_s", "s until memory is back", 1)]),
]

print("| command | server CPU per operation, us | result |\n|---|---|---|")
for name, command, what, keys in BENCHES:
    if wanted and name not in wanted:
        continue
    got = []
    for _ in range(rounds):
        with Node() as node:
            got.append(what(node))

    def median(key):
        return statistics.median(g[key] for g in got)
    cpu = "%.2f" % median("server_cpu_us_per_op") if "server_cpu_us_per_op" in got[0] else ""
    print("| `%s` | %s | %s |" % (command, cpu, ", ".join("{:,.{}f} {}".format(median(k), digits, text) for k, text, digits in keys)),
          flush=True)
