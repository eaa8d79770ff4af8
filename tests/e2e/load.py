#!/usr/bin/env python3
"""macula load against real nodes, in small sizes: tests/e2e/load.py BUILD_FOLDER [CASE...].

Prints "ok NAME" or "FAIL NAME: why" a case. With LOAD_FULL=1 (./test --full) the full sizes run as well.
"""
import concurrent.futures
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

from _node import own_mounts, serving
from _process import access_file, token_file
from _still import tried

build = os.path.abspath(sys.argv[1])
macula, maculad = os.path.join(build, "macula"), os.path.join(build, "maculad")
FULL = os.environ.get("LOAD_FULL") == "1"
DEADLINE = 900  # only what hangs meets it: the longest case takes 70 s on an idle machine, and 4 minutes at the full sizes
live = []
signal.signal(signal.SIGHUP, signal.default_int_handler)  # under nohup it is ignored, and what is started here would inherit that


def environment(folder):
    env = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_") or k == "MACULA_TEST_UNBOUNDED"}
    env.update(XDG_CONFIG_HOME=folder, TMPDIR=folder)
    return env


def load(folder, *args):
    return subprocess.run([macula, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", env=environment(folder), timeout=DEADLINE)


def report(p):
    assert p.stdout, "no report; stderr: " + p.stderr[-600:]
    r = json.loads(p.stdout)
    for row in r["table"]:
        assert set(row) == {"scenario", "what", "expected", "seen", "pass"}, row
    return r


def passes(folder, *args, rows):
    p = load(folder, "load", *args, "--json")
    r = report(p)
    broken = [row for row in r["table"] if not row["pass"]]
    assert not broken, "broken: %s" % broken
    assert p.returncode == 0 and r["pass"], (p.returncode, p.stderr[-600:])
    assert p.stderr == "" or p.stderr.startswith("macula: "), "noise in a pipe: %r" % p.stderr[:300]
    told = " ".join(row["what"] for row in r["table"])
    for word in rows:
        if "asan" in build and ("memory" in word or "return" in word):
            continue  # not judged there
        assert word in told, "no row about %r in %s" % (word, told)
    assert not left_over(folder), left_over(folder)
    return r


def left_over(folder):
    """Processes and folders of a run that is over."""
    found = [f for f in os.listdir(folder) if f.startswith("macula-load.")]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if any(w.startswith(os.path.join(folder, "macula-load.").encode()) for w in words):
            found.append(pid)
    return found


def lives(pid):
    """Not one that has ended and whose parent has not asked for it yet."""
    try:
        with open("/proc/%s/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Running:
    """A load that runs: what it has printed so far is not needed, only its nodes."""

    def __init__(self, folder, *args, program=macula):
        self.folder = folder
        self.p = subprocess.Popen([program, "load", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, errors="replace", env=environment(folder))
        live.append(self.p)

    def node(self):
        """The pid of its first node, once that listens."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open("/proc/%s/stat" % pid) as f:
                        parent = int(f.read().rsplit(")", 1)[1].split()[1])
                    with open("/proc/%s/cmdline" % pid, "rb") as f:
                        name = f.read().split(b"\0")[0]
                except (OSError, IndexError):
                    continue
                if parent == self.p.pid and name.endswith(b"maculad"):
                    if "event=started" in self.log():
                        return int(pid)
            time.sleep(0.05)
        self.p.kill()
        raise AssertionError("no node was started: %s" % (self.p.communicate(),))

    def log(self):
        for at, _, files in os.walk(self.folder):
            if "log" in files:
                with open(os.path.join(at, "log")) as f:
                    return f.read()
        return ""

    def end(self):
        out, err = self.p.communicate(timeout=DEADLINE)
        live.remove(self.p)
        return self.p.returncode, out, err


class Node:
    def __init__(self, folder, *args):
        said = serving("--state", tempfile.mkdtemp(dir=folder), "--idle-timeout", "3s", *args)
        self.p, self.id, self.at = said.p, said.id, said.address
        live.append(self.p)
        self.text = "macula://%s@%s" % (self.id, self.at)


# ---- scenarios ------------------------------------------------------------------------------------------------------------------

def case_all(folder):
    r = passes(folder, "all", "--scale", "1" if FULL else "0.02",
               rows=["connected to the three others", "a partition of two and two", "healed: n4", "slow subscribers lose", "each has ended",
                     "least-recently-used", "the renewed half", "exactly the limit", "subscriptions left behind", "pending calls left at n4 in the end",
                     "resident memory of n4 returns", "clients of MQTT exactly the limit", "the will of each"])
    assert len(r["nodes"]) == 6, [n["name"] for n in r["nodes"]]


def case_soak(folder):
    r = passes(folder, "soak", "--scale", "0.2" if FULL else "0.02", "--duration", "65s" if FULL else "17s",
               rows=["T+60 min" if FULL else "T+15 min", "calls that ended", "died in mid-call", "against that of T+15 min"])
    assert "claimed: 100 MB" in json.dumps(r["table"])


def case_pool(folder):
    passes(folder, "pool", "--scale", "1" if FULL else "0.05",
           rows=["left open at peers", "evictions", "least-recently-used model", "dialled again", "stays as it was"])


def case_clients(folder):
    passes(folder, "clients", "--scale", "1" if FULL else "0.02",
           rows=["exactly the limit", "max_clients_reached", "loses a message", "get in", "operator gets status", "update themselves"])


def case_services(folder):
    passes(folder, "services", "--scale", "1" if FULL else "0.02",
           rows=["the renewed half", "not answered", "no_such_procedure", "simulated day", "returns"])


def case_streams(folder):
    cycles = 30 if FULL else 6
    passes(folder, "streams", "--scale", "1" if FULL else "0.06", "--cycles", str(cycles),
           rows=["client entries left", "subscriptions left", "services left", "streams left", "reconnected keep", "promises of %d cycles" % cycles,
                 "after each of %d cycles resident memory" % (cycles - 1)])


def case_callers(folder):
    r = passes(folder, "callers", "--scale", "1" if FULL else "0.1",
               rows=["slow providers: answered", "no call of one who is gone", "told to cancel", "all answered", "pending calls left at n3"])
    line = r["latencies"][0]["series"]  # over time
    assert len(line["seconds"]) > 2 and len(line["seconds"]) == len(line["p50_ms"]) == len(line["p99_ms"]), line
    assert all(a < b for a, b in zip(line["seconds"], line["seconds"][1:])) and min(line["p99_ms"]) >= 300, line  # of histograms


def case_mqtt(folder):
    r = passes(folder, "mqtt", "--scale", "1" if FULL else "0.02",
               rows=["exactly the limit", "refused in its CONNACK", "each gets each message", "none loses its connection", "the will of each",
                     "their entries are gone", "expiry interval is over", "has no session", "in order and once", "no session of MQTT", "returns"])
    assert max(r["nodes"][0]["series"]["sessions of MQTT"]) >= 200, r["nodes"][0]["series"]["sessions of MQTT"]


def case_given_nodes(folder):
    node = Node(folder, "--max-clients", "60")
    r = passes(folder, "clients", "--nodes", node.text, "--scale", "0.01", rows=["with a limit of 60, of 80 clients"])
    assert r["nodes"][0]["given"] and r["nodes"][0]["address"] == node.text, r["nodes"][0]["address"]
    assert node.p.poll() is None, "the given node was stopped"


def case_given_node_that_is_full(folder):
    """Its warm-up has no room for any client: the load counted below none, and divided by it (UBSan sees that)."""
    first = Node(folder, "--name", "0", "--max-clients", "1")
    nodes = [first] + [Node(folder, "--name", str(i), "--join", first.text) for i in range(1, 4)]
    run = Running(folder, "all", "--scale", "0.01", "--nodes", ",".join(n.text for n in nodes))
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and run.p.poll() is None:  # until the warm-up is under way
        p = load(folder, "-s", nodes[1].text, "--json", "status")
        if p.returncode == 0 and json.loads(p.stdout)["services"]["count"] > 0:
            break
    run.p.send_signal(signal.SIGINT)
    code, out, err = run.end()
    assert code == 1 and "macula: cancelled: " in err, (code, err)


def case_watched_by_a_socket_of_its_own(folder):
    """Ten thousand clients fill the socket that they share; once status was lost in it, and an idle node was given up after 12 s."""
    node = Node(folder, "--max-clients", "60")
    relay = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "_relay.py"), "127.0.0.1:0", node.at,
                              "0", "0", "1"], stdout=subprocess.PIPE, text=True)
    live.append(relay)
    front = relay.stdout.readline().split()[1]
    passes(folder, "clients", "--nodes", "macula://%s@%s" % (node.id, front), "--scale", "0.001", rows=["exactly the limit"])
    relay.kill()
    assert relay.stdout.read().count("source ") == 2, "the operator's and the clients'"


def case_no_node_there(folder):
    p = load(folder, "load", "streams", "--nodes", "127.0.0.1:1,127.0.0.1:2", "--scale", "0.02")
    assert p.returncode == 1 and "streams loads one node, 127.0.0.1:1; the others are watched" in p.stderr, (p.returncode, p.stderr)
    assert "n1 (127.0.0.1:1) is gone: no answer at all, given up after" in p.stderr and "last seen" not in p.stderr, p.stderr


def case_given_nodes_with_a_token(folder):
    token = token_file(os.path.join(folder, "token"))
    node = Node(folder, "--access", access_file(os.path.join(folder, "access.yaml"), operator=token))
    # Those who are killed, a process of their own, know it as well.
    passes(folder, "streams", "--nodes", node.text, "--token-file", token, "--scale", "0.06", rows=["clients that connected"])
    passes(folder, "streams", "--nodes", node.at, "--token-file", token, "--scale", "0.06", rows=["clients that connected"])


# ---- reports --------------------------------------------------------------------------------------------------------------------

def case_report(folder):
    at = os.path.join(folder, "report\udcff")  # a name need not be UTF-8
    p = load(folder, "load", "streams", "--scale", "0.06", "--report", at)
    assert p.returncode == 0, (p.returncode, p.stdout, p.stderr)
    assert re.search(r"^PASS  streams   cycle 1: streams left", p.stdout, re.M) and "0 broken" in p.stdout, p.stdout
    assert re.search(r"^      n1        clients that go in every way$", p.stdout, re.M), p.stdout
    assert p.stdout.endswith("report: %s/report.html\n" % at.replace("\udcff", "\\xff")), p.stdout[-300:]
    with open(os.path.join(at, "report.json")) as f:
        r = json.load(f)
    assert r["load"] == "streams" and r["scale"] == 0.06 and r["pass"] and r["command"].startswith("macula load streams"), r["command"]
    assert r["command"].endswith("report\\xff"), r["command"]
    assert r["machine"]["cores"] >= 1 and len(r["table"]) > 5
    series = r["nodes"][0]["series"]
    assert len(series["seconds"]) > 3 and len(series["seconds"]) == len(series["resident bytes"]) and max(series["clients"]) >= 10
    with open(os.path.join(at, "report.html")) as f:
        html = f.read()
    assert "<svg" in html and "<polyline" in html and r["command"] in html and "PASS" in html
    assert max(chart.count("<polyline") for chart in html.split("</svg>")) <= 6
    foreign = re.findall(r"(?:src|href)\s*=|https?://|@import|url\(", html.replace('xmlns="http://www.w3.org/2000/svg"', ""))
    assert not foreign, foreign
    p = load(folder, "load", "streams", "--report", at)
    assert p.returncode == 2 and p.stderr.startswith("macula: busy: ") and os.path.join(folder, "report") in p.stderr, p.stderr


def case_report_of_what_is_broken(folder):
    """A run that cannot go on has a report of what it has seen, and that is no pass."""
    at, alone = os.path.join(folder, "report"), os.path.join(folder, "bin")
    os.mkdir(alone)
    shutil.copy(macula, alone)
    os.symlink(maculad, os.path.join(alone, "maculad"))
    run = Running(folder, "clients", "--scale", "0.005", "--report", at, program=os.path.join(alone, "macula"))
    run.node()
    os.unlink(os.path.join(alone, "maculad"))  # the second node, for a limit of 100, cannot be started
    code, out, err = run.end()
    assert code == 1 and "did not start: cannot run " in err and re.search("; not done\nreport: .*\n$", out), (code, out[-300:], err)
    with open(os.path.join(at, "report.json")) as f:
        r = json.load(f)
    assert r["table"] and all(row["pass"] for row in r["table"]) and not r["pass"], r["pass"]
    assert "something could not be done" in open(os.path.join(at, "report.html")).read()
    assert not left_over(folder), left_over(folder)


def case_report_cannot_be_written(folder):
    at = os.path.join(folder, "report")
    run = Running(folder, "services", "--scale", "0.005", "--report", at)
    run.node()
    os.rmdir(at)
    code, out, err = run.end()
    assert code == 1 and re.search(r"^macula: .*report\.json.*No such file", err, re.M), (code, out[-300:], err)


def mounted(folder, at, options, then):
    """Runs a script ($1: at, $2: macula) with a tmpfs at `at`, in a mount namespace of its own."""
    script = '{ mount -t tmpfs %s tmpfs "$1" || exit 77; } && { %s; }' % (options, then)
    p = subprocess.run(own_mounts(script, "_", at, macula), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, env=environment(folder), timeout=DEADLINE)
    assert p.returncode != 77 and "unshare" not in p.stderr, "a mount namespace is needed: " + p.stderr
    return p


def case_report_folder_cannot_be_written(folder):
    """Said before anything begins: an empty folder that is read-only, and a link to none."""
    at = os.path.join(folder, "report")
    os.symlink(os.path.join(folder, "none"), at)
    p = load(folder, "load", "pool", "--report", at)
    assert p.returncode == 2 and not p.stdout and "cannot write into " + at + ": No such file" in p.stderr, (p.returncode, p.stderr)
    os.remove(at)
    os.mkdir(at)
    p = mounted(folder, at, "-o ro", 'exec "$2" load pool --report "$1"')
    assert p.returncode == 2 and not p.stdout and "cannot write into " + at + ": Read-only" in p.stderr, (p.returncode, p.stderr)


def case_full_disk(folder):
    """The nodes' state has no place: said, not guessed at."""
    small = os.path.join(folder, "small")
    os.mkdir(small)
    p = mounted(folder, small, "-o size=64k",
                'cat /dev/zero >"$1/all" 2>/dev/null; TMPDIR=$1 exec "$2" load streams --scale 0.02')
    assert p.returncode == 1 and "no space is left for its state in " + small in p.stderr, (p.returncode, p.stderr)


def case_interrupted(folder):
    for s in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        at = os.path.join(folder, s.name)
        run = Running(folder, "services", "--scale", "0.05", "--report", at)
        run.node()
        run.p.send_signal(s)
        code, out, err = run.end()
        assert code == 1 and "macula: cancelled: " in err, (s, code, err)
        with open(os.path.join(at, "report.json")) as f:
            r = json.load(f)
        assert r["interrupted"] and not r["pass"], r
        assert "interrupted" in open(os.path.join(at, "report.html")).read()
        assert not left_over(folder), left_over(folder)


def case_interrupted_while_a_node_starts(folder):
    """It says nothing: Ctrl-C is heard at once, not when the node is given up."""
    shutil.copy(macula, folder)
    with open(os.path.join(folder, "maculad"), "w") as f:
        f.write("#!/bin/sh\ntouch '%s/begun'\nexec sleep 100000\n" % folder)
    os.chmod(os.path.join(folder, "maculad"), 0o755)
    run = Running(folder, "services", "--scale", "0.05", program=os.path.join(folder, "macula"))
    deadline = time.monotonic() + DEADLINE
    while not os.path.exists(os.path.join(folder, "begun")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.p.send_signal(signal.SIGINT)
    code, out, err = run.end()
    assert code == 1 and "macula: cancelled: " in err and "did not start" not in err, (code, err)
    assert not left_over(folder), left_over(folder)


def case_interrupted_in_the_partition(folder):
    """The user's command hangs. Ctrl-C ends it, the nodes are healed, and all ends."""
    first = Node(folder, "--name", "0", "--max-clients", "60")
    nodes = [first] + [Node(folder, "--name", str(i), "--join", first.text) for i in range(1, 4)]
    said, command = os.path.join(folder, "said"), os.path.join(folder, "partition")
    with open(command, "w") as f:
        f.write('#!/bin/sh\necho "$1 $$" >>%s\n[ "$1" = heal ] || exec sleep 100000\n' % said)
    os.chmod(command, 0o755)
    run = Running(folder, "all", "--scale", "0.01", "--nodes", ",".join(n.text for n in nodes), "--partition", command)
    deadline = time.monotonic() + DEADLINE
    while not os.path.exists(said) and time.monotonic() < deadline and run.p.poll() is None:
        time.sleep(0.05)
    run.p.send_signal(signal.SIGINT)
    code, out, err = run.end()
    with open(said) as f:
        lines = f.read().split()
    assert code == 1 and lines[::2] == ["cut", "heal"], (code, lines, out[-300:], err)
    assert not lives(lines[1]), "the command lives on"
    assert "the command of --partition succeeds" in out and not left_over(folder), out[-1000:]


def case_on_a_terminal(folder):
    """Progress stays within the line: one that wraps would stay on the screen."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    p = subprocess.Popen([macula, "load", "callers", "--scale", "0.02"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
                         env=environment(folder))
    live.append(p)
    os.close(slave)
    seen = b""
    try:
        while more := os.read(master, 65536):
            seen += more
    except OSError:  # the other end is closed
        pass
    os.close(master)
    out, _ = p.communicate(timeout=DEADLINE)
    live.remove(p)
    lines = [x for x in seen.replace(b"\x1b[K", b"").replace(b"\r\n", b"\n").split(b"\r") if b"\n" not in x]  # no notes
    assert p.returncode == 0 and b"0 broken" in out, out
    progress = [line for line in lines if re.match(rb"callers \d+ s; ", line)]  # others: what the run notes, as a port in use
    assert progress and max(map(len, progress)) == 39, sorted(progress, key=len)[-1:]


def case_killed(folder):
    """Even kill -9 of the load process leaves no node behind."""
    run = Running(folder, "services", "--scale", "0.05")
    pid = run.node()
    run.p.kill()
    run.end()
    deadline = time.monotonic() + DEADLINE
    while os.path.exists("/proc/%d" % pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists("/proc/%d" % pid), "the node lives on"


def case_strict(folder):
    p = load(folder, "load", "streams", "--scale", "0.02", "--json", "--strict")
    rows, turns = report(p)["table"], "no turn of n1 computes for more than 5 ms"
    assert all(row["pass"] for row in rows if row["what"] != turns) and "99 of 100" not in p.stdout, p.stdout  # it measures none
    judged = [] if "asan" in os.path.basename(build) else ["at most 5.0 ms"]  # as the machine is, so only that it is judged
    assert [row["expected"] for row in rows if row["what"] == turns] == judged, rows
    p = load(folder, "load", "clients", "--scale", "0.005", "--json", "--strict")
    rows = [row for row in report(p)["table"] if "connecting: 99 of 100 within" in row["what"]]
    assert len(rows) == 2, rows  # judged as the machine is: only that they are


def case_own_node_dies(folder):
    at = os.path.join(folder, "report")
    run = Running(folder, "services", "--scale", "0.05", "--report", at)
    os.kill(run.node(), signal.SIGKILL)
    code, out, err = run.end()
    assert code == 1 and re.search(r"^macula: not_connected: n1 .* is gone: killed by signal 9 after [0-9.]+ s; last seen: ", err, re.M), err
    with open(os.path.join(at, "report.json")) as f:
        r = json.load(f)
    assert r["nodes"][0]["lost"] and "signal 9" in r["nodes"][0]["why"] and not r["pass"]
    assert not r["table"][-1]["pass"] and r["table"][-1]["what"] == "the nodes live as long as the run", r["table"][-1]


def case_log_that_is_cut(folder):
    """A log of characters of four bytes, cut at each of them wherever a report keeps a part: none of its rows and logs is missing."""
    for cut in range(4):
        own = os.path.join(folder, str(cut))
        os.mkdir(own)
        shutil.copy(macula, own)
        with open(os.path.join(own, "said"), "w", encoding="utf-8") as f:
            f.write("x" * cut + "\U0001f40c" * 1200 + "y" * cut + "\n")
        with open(os.path.join(own, "maculad"), "w") as f:
            f.write("#!/bin/sh\ncat '%s' >&2\nexec '%s' \"$@\"\n" % (os.path.join(own, "said"), maculad))
        os.chmod(os.path.join(own, "maculad"), 0o755)
        run = Running(own, "services", "--scale", "0.05", "--report", os.path.join(own, "report"), program=os.path.join(own, "macula"))
        os.kill(run.node(), signal.SIGKILL)
        code, out, err = run.end()
        assert code == 1 and "\U0001f40c" * 20 in err, err
        with open(os.path.join(own, "report", "report.json"), encoding="utf-8") as f:
            r = json.load(f)
        last, node = r["table"][-1], r["nodes"][0]
        assert last["what"] == "the nodes live as long as the run" and not last["pass"], "cut at %d: no row: %s" % (cut, last)
        assert "signal 9" in last["seen"], last["seen"]
        assert "\U0001f40c" * 20 in node.get("why", ""), "cut at %d: why: %r" % (cut, node.get("why"))
        assert "\U0001f40c" * 450 in node.get("log", ""), "cut at %d: log: %r" % (cut, node.get("log"))
        assert "bytes left out ...\n" in node["log"] and node["log"].rsplit("event=", 1)[1].endswith("\n"), node["log"]  # its end, too
        with open(os.path.join(own, "report", "report.html"), encoding="utf-8") as f:
            assert "\U0001f40c" * 450 in f.read()


def case_own_node_hangs(folder):
    run = Running(folder, "services", "--scale", "0.05")
    os.kill(run.node(), signal.SIGSTOP)
    code, out, err = run.end()
    assert code == 1 and "n1: no answer" in out and re.search("^macula: not_connected: n1 .* is gone: no answer", err, re.M), (code, out, err)
    assert not left_over(folder), left_over(folder)


def until_under_load(folder, node, run):
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and run.p.poll() is None:
        p = load(folder, "-s", node.text, "--json", "status")
        if p.returncode == 0 and json.loads(p.stdout)["services"]["count"] > 50:
            break


def case_stood_still(folder):
    """A machine that gave no processor may be why promises broke: the report says so."""
    node = Node(folder)
    run = Running(folder, "services", "--nodes", node.text, "--scale", "0.05", "--json")
    until_under_load(folder, node, run)
    for p in (run.p, node.p):
        p.send_signal(signal.SIGSTOP)
    time.sleep(2)  # the standstill itself
    for p in (node.p, run.p):
        p.send_signal(signal.SIGCONT)
    code, out, err = run.end()
    r = json.loads(out)
    assert code in (0, 1) and r["still_seconds"] >= 2 and r["nodes"][0]["silent_seconds"] >= 2, (code, r["still_seconds"], err)
    told = " ".join(r["notes"])
    assert "this program stood still for" in told and "n1 told nothing for" in told, told


def case_given_node_dies(folder):
    node = Node(folder)
    run = Running(folder, "services", "--nodes", node.text, "--scale", "0.05", "--json")
    until_under_load(folder, node, run)
    node.p.kill()
    code, out, err = run.end()
    assert code == 1 and "no answer since" in err and "last seen: " in err, (code, err)
    r = json.loads(out)
    assert r["nodes"][0]["lost"] and not r["pass"], r["table"]
    assert r["table"][-1]["seen"].endswith(" bytes resident"), r["table"][-1]  # whole


# ---- bad input ------------------------------------------------------------------------------------------------------------------

def case_bad_input(folder):
    for args, code, word in [(["load"], 2, "missing arguments"), (["load", "nothing"], 2, "scenarios are pool, clients"),
                             (["load", "clients", "streams"], 2, "too many arguments"),
                             (["load", "clients", "--scale", "0"], 2, "--scale takes a factor"),
                             (["load", "clients", "--scale", "two"], 2, "--scale takes a factor"),
                             (["load", "clients", "--duration", "x"], 2, "--duration takes a time"),
                             (["load", "clients", "--duration", "5s"], 2, "--duration is an option of load soak, not of clients"),
                             (["load", "pool", "--cycles", "5"], 2, "--cycles is an option of load streams and all, not of pool"),
                             (["load", "soak", "--cycles", "5"], 2, "not of soak"),
                             (["load", "streams", "--cycles", "1"], 2, "--cycles"),
                             (["load", "pool", "--partition", "true", "--nodes", "127.0.0.1:1"], 2, "--partition is an option of load all"),
                             (["load", "clients", "--nodes", ""], 2, "names no node"),
                             (["load", "clients", "--nodes", "macula://12@x:1"], 2, "is no address"),
                             (["load", "clients", "--report", "/proc/none/x"], 2, "cannot make the folder"),
                             (["load", "all", "--nodes", "127.0.0.1:1"], 2, "the four nodes of one mesh"),
                             (["load", "all", "--partition", "true"], 2, "--partition parts"),
                             (["load", "soak", "--nodes", "127.0.0.1:1"], 2, "leave --nodes away"),
                             (["load", "pool", "--nodes", "127.0.0.1:1"], 2, "pool needs a node of its own"),
                             (["load", "mqtt", "--nodes", "127.0.0.1:1"], 2, "mqtt needs a node of its own"),
                             (["load", "callers", "--nodes", "127.0.0.1:1"], 2, "needs three nodes"),
                             (["load", "clients", "-r", "a..b"], 2, "realm")]:
        p = load(folder, *args)
        assert p.returncode == code and word in p.stderr, (args, p.returncode, p.stderr)
        assert len(p.stderr.splitlines()) == 1, p.stderr
    assert not left_over(folder), left_over(folder)


def case_too_few_files(folder):
    p = subprocess.run(["sh", "-c", "ulimit -n 60; exec \"$0\" load clients", macula], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, env=environment(folder), timeout=DEADLINE)
    assert p.returncode == 1 and "ulimit -n 256" in p.stderr and "the limit is 60" in p.stderr and "--scale" not in p.stderr, (p.returncode, p.stderr)
    # Enough to begin with, not for the node that clients of MQTT fill: nothing begins.
    p = subprocess.run(["sh", "-c", "ulimit -n 300; exec \"$0\" load mqtt --scale 0.02", macula], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, env=environment(folder), timeout=DEADLINE)
    assert p.returncode == 1 and not p.stdout and "needs 528 open files and the limit is 300" in p.stderr, (p.returncode, p.stdout, p.stderr)
    # Nor for the pool.
    p = subprocess.run(["sh", "-c", "ulimit -n 256; exec \"$0\" load all --scale 0.1 --report \"$1\"", macula, os.path.join(folder, "report")],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(folder), timeout=DEADLINE)
    assert p.returncode == 1 and not p.stdout and "needs 278 open files and the limit is 256" in p.stderr, (p.returncode, p.stdout, p.stderr)


    p = load(folder, "load", "all", "--scale", "45")
    assert p.returncode == 1 and not p.stdout and "needs 67,500 UDP ports, and from 5001 on there are 60,534" in p.stderr, p.stderr


def case_too_few_ports(folder):
    """The ports that the system gives to whoever asks for any, in a network of our own where there are two."""
    for scenario in "clients", "all":
        p = subprocess.run(["unshare", "-n", "sh", "-c", "ip link set lo up; echo 32768 32769 >/proc/sys/net/ipv4/ip_local_port_range; "
                            "exec \"$0\" load \"$1\" --scale 0.01", macula, scenario], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, env=environment(folder), timeout=DEADLINE)
        assert p.returncode == 1 and "queue_full: no UDP port is free" in p.stderr and "ip_local_port_range" in p.stderr, (p.returncode, p.stderr)
    assert not left_over(folder), left_over(folder)


def case_too_few_ports_later(folder):
    """Enough for the relays and those who watch, too few for what nodes say to each other through them."""
    p = subprocess.run(["unshare", "-n", "sh", "-c", "ip link set lo up; echo 32768 32779 >/proc/sys/net/ipv4/ip_local_port_range; "
                        "exec \"$0\" load all --scale 0.01 --json", macula], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, env=environment(folder), timeout=DEADLINE)
    assert p.returncode == 1 and "queue_full: no UDP port is free" in p.stderr and "ip_local_port_range" in p.stderr, (p.returncode, p.stderr)
    assert not p.stdout or not json.loads(p.stdout)["pass"], p.stdout[:300]
    assert not left_over(folder), left_over(folder)


def case_no_maculad(folder):
    shutil.copy(macula, folder)
    p = subprocess.run([os.path.join(folder, "macula"), "load", "streams"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env=dict(environment(folder), PATH=folder), timeout=DEADLINE)
    assert p.returncode == 1 and "it is neither beside macula nor in PATH" in p.stderr, (p.returncode, p.stderr)
    assert not left_over(folder), left_over(folder)


def case_help(folder):
    p = load(folder, "load", "--help")
    assert p.returncode == 0 and "--report DIR" in p.stdout and "--child" not in p.stdout, p.stdout
    assert max(map(len, p.stdout.splitlines())) <= 80, p.stdout


def once(fn):
    with tempfile.TemporaryDirectory(prefix="macula.", ignore_cleanup_errors=True) as tmp:  # what failed may have left who writes there
        fn(tmp)


def end_all():
    for p in live:
        if p.poll() is None:
            p.kill()
        p.wait()
    live.clear()


def alone(fn):
    try:
        once(fn)
    finally:
        end_all()


def beside(fn):
    """The error of a case that others run beside."""
    try:
        once(fn)
        return None
    except Exception as e:
        return e


def run(name, fn, first=None):
    """Alone, or again alone after an error that others beside it may explain: nodes under load give up whoever is silent for 3 s, and what
    they promise is counted, so a machine that stands still for that long breaks promises. Whether it did is asked for an alone one."""
    try:
        if first:
            print("   %s again, with nothing beside it: %s" % (name, str(first)[:600].replace("\n", " | ")), flush=True)
        tried(name, lambda: alone(fn))
        print("ok " + name, flush=True)
        return 0
    except Exception as e:  # what went wrong is the line
        print("FAIL %s: %s: %s" % (name, type(e).__name__, str(e)[:2000].replace("\n", " | ")), flush=True)
        return 1


wanted = sys.argv[2:]
cases = [(n[5:], fn) for n, fn in list(globals().items()) if n.startswith("case_") and (not wanted or n[5:] in wanted)]
if "asan" in build:  # netns.py has the five at once there
    cases = [c for c in cases if c[0] not in ("all", "interrupted_in_the_partition")]
failed = 0
try:
    with concurrent.futures.ThreadPoolExecutor(2 if FULL else 3) as pool:  # they wait more than they work
        errors = list(pool.map(lambda c: beside(c[1]), cases))
    end_all()
    for (name, fn), error in zip(cases, errors):
        if error:
            failed += run(name, fn, error)
        else:
            print("ok " + name, flush=True)
finally:
    end_all()
sys.exit(1 if failed else 0)
