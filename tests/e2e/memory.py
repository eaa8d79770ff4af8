#!/usr/bin/env python3
"""The memory contract on real processes: memory.py BUILD_FOLDER [--clients N] [--cycles N].

The plan and what memory_max does; under load resident memory stays below the plan, and what is not accounted below its row;
after clients left, memory is back at the start + 10 % or 8 MiB within 60 s, in every cycle after one that warms up, without a slope.
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time

import _watched
from _watched import MIB, PATIENCE, check, maculad, start, wait_for

p = argparse.ArgumentParser()
p.add_argument("build")
p.add_argument("--clients", type=int, default=1000)
p.add_argument("--cycles", type=int, default=3)
args = p.parse_args()
_watched.use(args.build)
asan = _watched.asan


class Node(_watched.Node):
    def rss_at_rest(self):
        """What it is once it has not fallen for two of the node's looks at its idle memory (5 s each), at most 60 s."""
        least, since, end = self.resident(), time.monotonic(), time.monotonic() + 60
        while time.monotonic() < min(since + 11, end):
            now = self.resident()
            if now < least - MIB // 4:
                least, since = now, time.monotonic()
            time.sleep(0.2)
        return least

    def entries(self, row):
        return self.rows()[row]["entries"]

    def client(self, *words):
        return start("macula", "-s", self.address, *words, env=self.clients, stdout=subprocess.DEVNULL)

    def idle(self, clients):
        """Held until it is ended, however long this machine takes to see that they are in; whether they are. The bench gives up with the
        first client that gets no connection within 10 s, and a machine may stand still for that long."""
        for _ in range(3):
            c = self.client("bench", "idle", "--clients", str(clients), "--hold", "1h")
            wait_for(PATIENCE, lambda: self.entries("sessions") >= clients or c.poll() is not None)
            if c.poll() is None:
                break
            print("   the bench ended: %s" % c.stderr.read().strip(), flush=True)
        return c, self.entries("sessions") >= clients


def plan():
    r = maculad("--plan")
    lines = r.stdout.splitlines()
    total = re.fullmatch(r"total (\d+) MiB", lines[-1])
    check("--plan ends with its total, at most 2 GiB", r.returncode == 0 and total and int(total.group(1)) <= 2048, r.stdout)
    j = json.loads(maculad("--plan", "--json", env={"MACULA_MAX_CLIENTS": "500"}).stdout)
    sizes = [row["bytes"] for row in j["rows"]]
    check("--plan --json adds up, largest first", sum(sizes) == j["total_bytes"] and sizes == sorted(sizes, reverse=True))
    check("--plan counts the limits that are set", j["total_bytes"] < (int(total.group(1)) - 256) * MIB)
    r = maculad("--memory-max", "512MiB", "--state", os.path.join(_watched.tmp, "never"))
    lines = r.stderr.splitlines()
    check("a plan above memory_max is refused with 2, what is largest, and what to do",
          r.returncode == 2 and lines[0].startswith("maculad: out_of_memory: ") and re.match(r"  connections, \d+ MiB too much: max_clients ", lines[1]) and
          len(lines) <= 6 and max(map(len, lines)) <= 88, r.stderr)
    advice = re.match(r"(--memory-max auto:512MiB) lowers limits to fit", lines[-1])
    check("what the refusal proposes fits", advice and maculad(*advice[1].split(), "--plan").returncode == 0, lines[-1])
    for words in [], ["--yaml"], ["--json"]:
        r = maculad("--plan", *words, "--memory-max", "auto:10MiB")
        check("no limits fit 10 MiB: said once, with 2", r.returncode == 2 and r.stderr.count("maculad: ") == 1 and
              "raise memory_max" in r.stderr, (r.returncode, r.stderr))
    check("nothing was made by a node that did not start", not os.path.exists(os.path.join(_watched.tmp, "never")))
    r = maculad("--plan", env={"MACULA_MEMORY_MAX": "auto"})
    check("auto finds what there is", r.returncode == 0 and re.match(r"memory   auto: \d+ MiB of the (machine|control group)'s", r.stderr), r.stderr)


def load():
    """Limits near what the load reaches, so that the plan is less than 3 times the peak."""
    words = [*_watched.smallest(), "--max-clients", "660", "--max-half-open", "32", "--connection-pool", "4MiB", "--send-pool", "20MiB",
             "--memory-max", "134MiB"]
    r = maculad(*words, "--plan", "--json")
    if r.returncode != 0:
        check("the small plan fits", False, r.stderr)
        return
    most = json.loads(r.stdout)["total_bytes"]
    node = Node(*words)
    idle, are_in = node.idle(600)
    check("600 clients are in", are_in)
    slow = [node.client("sub", "slow.%d" % i) for i in range(24)]  # each for itself: what waits for all of them is there once
    check("24 slow subscribers are in", wait_for(PATIENCE, lambda: node.entries("subscriptions") >= 24))
    for s in slow:
        s.send_signal(signal.SIGSTOP)
    peak, unaccounted = 0, 0
    for i in range(len(slow)):
        node.client("pub", "slow.%d" % i, "x" * 900, "--count", "1000").wait(PATIENCE)
        peak = max(peak, node.resident())
    benches = [node.client("bench", "pubsub", "--clients", "4", "--size", "900", "--outstanding", "200", "--messages", "100000"),
               node.client("bench", "rpc", "--clients", "8", "--outstanding", "64", "--size", "512", "--duration", "4s")]
    deadline = time.monotonic() + PATIENCE
    while any(b.poll() is None for b in benches) and time.monotonic() < deadline:
        peak = max(peak, node.resident())
        unaccounted = max(unaccounted, node.rows()["unaccounted"]["bytes"])
        time.sleep(0.05)
    rows = node.rows()
    print("   plan %.1f MiB, peak %.1f MiB resident, unaccounted %.2f MiB, send queues %.1f MiB" %
          (most / MIB, peak / MIB, unaccounted / MIB, rows["send_queues"]["peak_bytes"] / MIB), flush=True)
    if not asan:
        check("resident memory stays below the plan", peak < most, "%d of %d" % (peak, most))
        check("the plan is less than 3 times the peak", most < 3 * peak, "%d, %d" % (most, peak))
        check("what is not accounted stays below 4 MiB", 0 < unaccounted < 4 * MIB, str(unaccounted))
    over = [r for name, r in rows.items() if r["peak_bytes"] > r["limit_bytes"] and name != "unaccounted"]
    check("no row is above its limit", not over, json.dumps(over))
    check("slow subscribers filled the send queues", rows["send_queues"]["peak_bytes"] > 4 * MIB, json.dumps(rows["send_queues"]))
    check("no client was let go for want of memory", idle.poll() is None)
    text = node.get("/metrics")
    for column in ("table_entries", "table_limit", "table_refused_total", "table_evicted_total", "table_expired_total", "memory_bytes",
                   "memory_limit_bytes", "memory_peak_bytes"):
        names = re.findall(r'^macula_%s\{table="(\w+)"\} \d+$' % column, text, re.M)
        if names != list(rows):
            check("/metrics has %s of each row of /api/memory" % column, False, str(names))
            break
    else:
        check("/metrics has the rows of /api/memory", True)
    for s in slow:
        s.send_signal(signal.SIGCONT)
    for c in slow + benches + [idle]:
        c.kill()
        c.wait()
    node.stop()


def cycles():
    n = args.clients
    node = Node("--max-clients", str(n + 100))
    figures, peaks = [], []
    base = limit = 0
    for cycle in range(args.cycles + 1):
        c, are_in = node.idle(n)
        if not are_in:
            check("cycle %d: %d clients are in" % (cycle, n), False, c.stderr.read() if c.poll() is not None else "")
            return
        peaks.append(node.resident())
        c.send_signal(signal.SIGINT)
        c.wait(PATIENCE)
        since = time.monotonic()
        gone = wait_for(PATIENCE, lambda: node.entries("connections") == 0)
        if cycle == 0: # warms up: code pages, caches of libraries
            base = node.rss_at_rest()
            limit = base + max(base // 10, 8 * MIB)
            continue
        back = gone and (asan or wait_for(PATIENCE, lambda: node.resident() <= limit))
        figures.append(node.resident())
        print("   cycle %d: peak %.1f MiB, %.1f MiB after %.0f s (from %.1f MiB)" %
              (cycle, peaks[-1] / MIB, figures[-1] / MIB, time.monotonic() - since, base / MIB), flush=True)
        check("cycle %d: memory of %d clients returns" % (cycle, n), back, "%d above %d" % (figures[-1], limit))
    if not asan:
        last = node.rss_at_rest()
        check("no slope over the cycles", last - base < MIB, "%d after %d" % (last, base))
    check("no account keeps what clients had", not any(map(node.entries, ("sessions", "connections", "clients"))))
    node.stop()


with _watched.folder():
    plan()
    load()
    cycles()
sys.exit(1 if _watched.bad else 0)
