#!/usr/bin/env python3
"""A node under attack keeps its memory contract: attack.py BUILD_FOLDER [--size N] [--only NAME,...] [--together N] [--table].

Each attack (build/tests/hostile, and some over HTTP) runs against a maculad whose limits are near what the attack reaches. Resident
memory stays below the plan all the time (VmHWM, so a peak within a turn counts, too), every row within its limit, what is not
accounted below 4 MiB; the node serves an honest client meanwhile, and memory is given back when the attackers are gone.
"""
import argparse
import concurrent.futures
import json
import re
import sys
import time

import _watched
from _attacks import ATTACKS, MQTT, Hostile, begun
from _still import tried
from _watched import MIB, PATIENCE, check, maculad, run, wait_for

p = argparse.ArgumentParser()
p.add_argument("build")
p.add_argument("--size", type=float, default=1, help="so many times the attackers, and the limits that they meet")
p.add_argument("--together", type=int, default=3, help="so many attacks at a time")
p.add_argument("--only", default="")
p.add_argument("--table", action="store_true", help="the table of docs/memory.md")
args = p.parse_args()
_watched.use(args.build)
_watched.quiet = args.table
asan = _watched.asan
UNACCOUNTED = 4 * MIB
FILLS = {"calls": 0.75}  # it goes on until the row of that name is full to this part: on a slow machine that takes longer
LISTED = {"services": ("services", "procedure"), "subscribe": ("subs", "pattern")}  # whose crafted names an operator lists meanwhile
KEPT = ("retained", "node")  # what stays was asked for: messages, records (docs/memory.md)
SMALL = ["--max-clients", "64", "--max-half-open", "64", "--connection-pool", "1MiB", "--idle-timeout", "1s"]


def sized(word):
    return re.sub(r"\{(\d+)\}", lambda m: str(int(int(m.group(1)) * args.size)), word)


class Node(_watched.Node):
    def __init__(self, words):
        words = (*words, *([] if "--mqtt" in words else ["--mqtt", "off"]))
        self.plan = json.loads(maculad(*words, "--plan", "--json").stdout)["total_bytes"]
        super().__init__("--log-level", "error", "--memory-max", str(self.plan), *words)

    def forget_peak(self):
        with open("/proc/%d/clear_refs" % self.process.pid, "w") as f:
            f.write("5")


def filled(row):
    return row["peak_bytes"] / row["limit_bytes"] if row["limit_bytes"] else 0


def refused(node):
    return int(re.search(r"^macula_quic_refused_memory_total (\d+)$", node.get("/metrics"), re.M).group(1))


def honest_word(name, node):
    """Says why it was not served. A node that lets go of whoever idles for 1 s may do so of a client that stands still."""
    def say():
        p = run("macula", "-s", node.address, "pub", "honest.word", "1", env=node.clients)
        assert p.returncode == 0, p.stderr
        if name in LISTED:
            what, key = LISTED[name]
            p = run("macula", "-s", node.address, "--json", what, env=node.clients)
            assert p.returncode == 0 and any('"' in row[key] for row in json.loads(p.stdout)[what]), p.stderr or p.stdout[:200]
    try:
        return tried(name + ": an honest client", say)
    except AssertionError as e:
        return str(e)


def attack(name, count, options, tight, least):
    # What it reaches is judged there, so that nobody may end because the machine is busy.
    patient = ["--idle-timeout", "10s"] if tight or name in FILLS or name == "shares" else []
    node = Node([*least, *SMALL, *patient, *[sized(o) for o in options]])
    start = node.resident()
    node.forget_peak()
    unaccounted = 0
    modest = Hostile(node, "modest", 1) if name == "shares" else None
    if modest:
        check("%s: one that asks for a little is in" % name, wait_for(PATIENCE, modest.ready))
    t = time.monotonic()
    h = begun(node, name, count if name in ("http", "mqtt") else max(int(count * args.size), 1))
    ready, done = False, None
    while done is None and time.monotonic() < t + PATIENCE:
        rows = node.rows()
        unaccounted = max(unaccounted, rows["unaccounted"]["bytes"])
        ready = ready or h.ready()
        if ready and (name not in FILLS or args.size < 1 or filled(rows[name]) >= FILLS[name]):
            done = time.monotonic()
        time.sleep(0.02)
    check("%s: it did its worst" % name, done is not None and h.process.poll() is None, json.dumps(rows.get(name)))
    honest = honest_word(name, node)
    unaccounted = max(unaccounted, node.rows()["unaccounted"]["bytes"])
    if modest:
        ended = modest.process.poll() is not None
        said = modest.process.stderr.read() if ended and modest.process.stderr else ""
        check("%s: one that asks for a little is not ended" % name, not ended, said)
        check("%s: others are" % name, refused(node) > 0)
        modest.end()
    h.end()
    peak = node.resident("VmHWM")
    gone = name == "node" or wait_for(PATIENCE, lambda: node.rows()["connections"]["entries"] == 0)  # it dials fake members for a while
    rows = node.rows()
    over = [r["name"] for r in rows.values() if r["peak_bytes"] > r["limit_bytes"]]
    full = sorted(((filled(r), r["name"]) for r in rows.values()), reverse=True)
    most = next("%s %.0f %%" % (n, 100 * f) for f, n in full if n not in ("unaccounted", "node"))
    if args.table:
        print("| %s | %.0f | %.1f | %.2f | %s |" % (name, node.plan / MIB, peak / MIB, unaccounted / MIB, most), flush=True)
    else:
        print("   %s: plan %.1f MiB, peak %.1f MiB, unaccounted %.2f MiB, %s; %.1f s" %
              (name, node.plan / MIB, peak / MIB, unaccounted / MIB, most, time.monotonic() - t), flush=True)
    check("%s: no row passed its limit" % name, not over, ", ".join(over))
    check("%s: an honest client is served meanwhile" % name, not honest, honest)
    check("%s: the attackers' connections are gone" % name, gone, json.dumps(rows["connections"]))
    if not asan:
        check("%s: resident memory stays below the plan" % name, peak < node.plan, "%d of %d" % (peak, node.plan))
        check("%s: what is not accounted stays below 4 MiB" % name, unaccounted < UNACCOUNTED, str(unaccounted))
    if not asan and name.startswith("certificate-") and name != "certificate-chain":
        check("%s: reading it costs little, within a turn too" % name, peak - start < 4 * MIB, "%d from %d" % (peak, start))
    if not asan and tight and args.size == 1:
        check("%s: the plan is less than 3 times the peak" % name, node.plan < 3 * peak, "%d, %d" % (node.plan, peak))
    if not asan and name not in KEPT:
        most = start + max(start // 10, 8 * MIB)
        check("%s: memory returns" % name, wait_for(PATIENCE, lambda: node.resident() <= most), "%d above %d" % (node.resident(), most))
    node.stop()


with _watched.folder():
    least = _watched.smallest()
    chosen = [a for a in [*ATTACKS, MQTT] if not args.only or a[0] in args.only.split(",")]
    with concurrent.futures.ThreadPoolExecutor(max(1, args.together)) as pool: # each has a node of its own
        for f in [pool.submit(attack, *a, least) for a in chosen]:
            f.result()
sys.exit(1 if _watched.bad else 0)
