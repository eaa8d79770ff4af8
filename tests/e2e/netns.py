#!/usr/bin/env python3
"""deploy/netns/mesh.sh: nodes on hosts of their own, and a network that really does what it says: tests/e2e/netns.py BUILD_FOLDER [CASE...].

Each case that needs one builds its own mesh and removes it; what the network drops is counted on both sides of it. Prints
"ok NAME" or "FAIL NAME: why" a case.
"""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback

from _still import tried

build = os.path.abspath(sys.argv[1])
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
script = os.path.join(root, "deploy", "netns", "mesh.sh")
prefix = "mt%d_" % os.getpid()  # names of hosts end with the script's own process id
asan = "asan" in os.path.basename(build)
DEADLINE = 900  # only what hangs meets it

# Bound before it says so; counts what has arrived each time it is asked.
RECEIVER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
s.setblocking(False)
s.bind(("0.0.0.0", 7000))
n = 0
print("bound", flush=True)
for line in sys.stdin:
    try:
        while True:
            s.recv(2048)
            n += 1
    except BlockingIOError:
        pass
    print(n, flush=True)
"""
SENDER = """
import socket, struct, sys
to, count, burst = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if burst > 1:
    s.setsockopt(socket.IPPROTO_UDP, 103, 100)  # UDP_SEGMENT
for i in range(count // burst):
    s.sendto(b"x" * 100 * burst, (to, 7000))
"""
TCP = """
import socket, sys, time
if sys.argv[1] == "listen":
    s = socket.create_server(("0.0.0.0", 7001))
    print("bound", flush=True)
    c, _ = s.accept()
    n = 0
    while True:
        data = c.recv(65536)
        if not data:
            break
        n += len(data)
    print(n, flush=True)
else:
    c = socket.create_connection((sys.argv[1], 7001))
    start = time.monotonic()
    c.sendall(b"x" * (1 << 20))
    c.shutdown(socket.SHUT_WR)
    c.recv(1)  # the end comes when all was read
    print(time.monotonic() - start)
"""


def mesh(*args, code=0, name=None, hosts=4):
    """Runs mesh.sh; returns its stdout and stderr."""
    cmd = [script, "-p", prefix, "-b", build, "-n", str(hosts), *(["-m", name] if name else []), *args]
    p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
    out, err = p.stdout.decode(), p.stderr.decode()
    assert code is None or p.returncode == code, "mesh.sh %s: exit %d: %s%s" % (" ".join(args), p.returncode, out[-800:], err[-800:])
    return out, err


def namespaces(name=prefix):
    return [line.split()[0] for line in subprocess.run(["ip", "netns", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode().splitlines() if line.startswith(name)]


class Mesh:
    def __init__(self, hosts=4, options=()):
        out, _ = mesh("up", *(["--", *options] if options else []), hosts=hosts)
        self.name = re.search(r"^mesh (\S+)$", out, re.M).group(1)
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        mesh("down", name=self.name)
        for p in self.processes:
            p.wait(DEADLINE)
        assert not namespaces(self.name), "left: %s" % namespaces(self.name)
        assert not os.path.exists("/run/macula-mesh/" + self.name)

    def do(self, *args, code=0):
        return mesh(*args, name=self.name, code=code)[0]

    def start(self, host, *cmd):
        p = subprocess.Popen([script, "-m", self.name, "run", "--on", host, *cmd], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        self.processes.append(p)
        return p

    def dropped(self):
        return sum(int(n) for n in re.findall(r"counter packets (\d+)", self.do("status")))


class Receiver:
    def __init__(self, m, host):
        self.p = m.start(host, sys.executable, "-c", RECEIVER)
        assert self.p.stdout.readline() == b"bound\n"

    def count(self, wanted=None):
        """How many datagrams came; waits until it is what is wanted."""
        end = time.monotonic() + DEADLINE
        while True:
            self.p.stdin.write(b"\n")
            self.p.stdin.flush()
            n = int(self.p.stdout.readline())
            if wanted is None or n == wanted or time.monotonic() > end:
                return n
            time.sleep(0.02)


def send(m, host, to, count, burst=1):
    m.do("run", "--on", host, sys.executable, "-c", SENDER, "10.77.0.%s" % to, str(count), str(burst))


def case_clients_on_other_hosts():
    with Mesh() as m:
        for n in range(1, 5):
            s = json.loads(m.do("run", "--on", str(n), "macula", "--json", "status"))
            assert s["name"] == "h%d" % n, s
            end = time.monotonic() + DEADLINE  # joined through h1, each hears of the others
            while True:
                peers = json.loads(m.do("run", "--on", str(n), "macula", "--json", "peers"))
                if {p["name"] for p in peers["peers"]} == {"h1", "h2", "h3", "h4"} - {s["name"]}:
                    break
                assert time.monotonic() < end, peers
        sub = m.start("h3", "macula", "sub", "sensor.**", "--count", "1")
        serve = m.start("h1", "macula", "serve", "math.echo", "--echo")
        end = time.monotonic() + DEADLINE
        while True:  # until h1 knows what h3 listens to
            said = m.do("run", "macula", "call", "math.echo", "[1,2]", code=None)
            m.do("run", "macula", "pub", "sensor.kitchen", "21.5")
            if said.strip() == "[1,2]" and sub.poll() is not None:
                break
            assert time.monotonic() < end, "call said %r" % said
        said = sub.stdout.read()
        assert said == b"subscribed sensor.**\nsensor.kitchen 21.5\n", said
        assert serve.poll() is None
        assert m.do("run", "sh", "-c", "exit 7", code=7) == ""


def case_token_is_asked_for():
    with Mesh(hosts=1) as m:
        out, err = mesh("run", "sh", "-c", 'PATH=%s; macula status' % build, name=m.name, code=3)
        assert "not_authorized" in err, err


def case_loss_is_per_datagram():
    with Mesh(hosts=2) as m:
        r = Receiver(m, "1")
        send(m, "2", 1, 4000)
        assert r.count(4000) == 4000
        m.do("loss", "20")
        for burst in 1, 40:  # a burst in one call is still 40 packets on the wire
            had, dropped = r.count(), m.dropped()
            send(m, "2", 1, 4000, burst)
            lost = 4000 - (r.count() - had)
            # Six sigma of 4,000 at 20 % are 152; were whole bursts lost, sigma would be 160. The nodes lose some of theirs, too.
            assert 640 <= lost <= 960, "%d of 4000 lost" % lost
            assert m.dropped() - dropped >= lost, "%d lost" % lost
        m.do("loss", "100")
        had = r.count()
        send(m, "2", 1, 100)
        assert r.count() == had
        m.do("loss", "0")
        send(m, "2", 1, 100)
        assert r.count(had + 100) == had + 100


def case_calls_survive_loss():
    with Mesh(hosts=1) as m:
        serve = m.start("h1", "macula", "serve", "math.echo", "--echo")
        m.do("loss", "10")
        answers = 0
        end = time.monotonic() + DEADLINE
        while answers < 20 and time.monotonic() < end:
            answers += m.do("run", "macula", "call", "math.echo", "[1]", code=None).strip() == "[1]"
        assert answers == 20, answers
        assert m.dropped() > 0
        assert serve.poll() is None


def case_partition_both_ways_and_one_way():
    with Mesh() as m:
        at = {n: Receiver(m, n) for n in ("1", "3", "c")}
        m.do("partition", "1 2", "3 4")
        send(m, "2", 3, 50)
        send(m, "4", 1, 50)
        assert at["3"].count() == 0 and at["1"].count() == 0
        send(m, "2", 1, 50)  # in one group
        send(m, "4", 254, 50)  # c is in none
        assert at["1"].count(50) == 50 and at["c"].count(50) == 50
        m.do("partition", "--one-way", "1", "3")
        send(m, "1", 3, 50)
        send(m, "3", 1, 50)
        assert at["1"].count(100) == 100 and at["3"].count() == 0
        m.do("heal")
        send(m, "1", 3, 50)
        assert at["3"].count(50) == 50
        assert "there is no host 9" in mesh("partition", "1 9", "3", name=m.name, code=1)[1]
        assert "in more than one group: h2" in mesh("partition", "1 2", "2 3", name=m.name, code=1)[1]


def case_rate_is_a_limit():
    with Mesh(hosts=1) as m:
        m.do("rate", "8")
        listener = m.start("1", sys.executable, "-c", TCP, "listen")
        assert listener.stdout.readline() == b"bound\n"
        seconds = float(m.do("run", sys.executable, "-c", TCP, "10.77.0.1"))
        # 1 MiB at 8 Mbit/s lasts 1.05 s; the bucket lets 16 KiB through at once. No upper bound: the machine may be busy.
        assert seconds >= 1, seconds
        assert int(listener.stdout.readline()) == 1 << 20
        assert m.do("status").count("tbf") == 2
        m.do("rate", "0")
        assert "tbf" not in m.do("status")


def case_load_in_a_partition_of_its_own_mesh():
    options = ["-o--max-clients=100", *(["-o--idle-timeout=12s"] if asan else [])]  # a turn of a node takes four times as long there
    out, err = mesh(*options, "load", "all", "--scale", "0.02", "--json", code=None)
    assert out, err[-800:]
    r = json.loads(out)
    given = [n["given"] for n in r["nodes"]]
    assert not r["interrupted"] and given == [True] * 4 + [False] * 2, given  # the others: those of pool and mqtt
    assert not any(n["lost"] for n in r["nodes"])
    broken = [row for row in r["table"] if not row["pass"] and not (asan and "memory" in row["what"])]  # which is not judged there
    assert not broken, broken
    told = [row["what"] for row in r["table"]]
    words = ["limit of 100", "each has ended", "streams left behind", "each node holds two others for dead", "healed: n4"]
    for word in words + ([] if asan else ["memory of n4 returns"]):
        assert any(word in what for what in told), "no row about %s in %s" % (word, told)
    assert not namespaces(), namespaces()


def case_another_ones_mesh_is_not_taken():
    p = subprocess.Popen([script, "-p", prefix, "-b", build, "-n", "1", "run", "sh", "-c", "echo up; read -r end"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert p.stdout.readline() == b"up\n"
    name = "%s%d" % (prefix, p.pid)
    err = mesh("status", code=1)[1]
    assert "no mesh is up" in err and "-m " + name in err, err
    assert "no mesh is up" in mesh("down", code=1)[1]
    assert "h1" in mesh("status", name=name)[0]
    with Mesh(hosts=2) as m:
        assert m.name in mesh("status")[0]
        assert mesh("run", "sh", "-c", 'test "$(echo "$MACULA_NODES" | tr , "\n" | wc -l)" = 2') == ("", "")
    p.communicate(b"\n", timeout=DEADLINE)
    assert p.returncode == 0 and not namespaces(name), p.returncode


def case_load_on_a_mesh_that_is_up():
    with Mesh(hosts=3, options=("--idle-timeout", "3s", "--max-clients", "60")) as m:
        for scenario in "clients", "streams", "callers":
            r = json.loads(mesh("load", scenario, "--scale", "0.05", "--json", name=m.name)[0])
            assert r["pass"] and all(n["given"] for n in r["nodes"]), r
        assert "the four nodes" in mesh("load", "all", name=m.name, code=2)[1]
        assert "nodes of their own" in mesh("load", "pool", name=m.name, code=1)[1]
        assert m.do("status").count(" 10.77.0.") == 4
        m.do("loss", "100")
        assert "no answer at all, given up" in mesh("load", "services", "--scale", "0.05", name=m.name, code=1)[1]


def case_meshes_side_by_side():
    with Mesh(hosts=1) as one, Mesh(hosts=1) as two:
        ids = [re.search(r"[0-9a-f]{64}", m.do("status")).group(0) for m in (one, two)]
        assert ids[0] != ids[1]
        for m, node_id in zip((one, two), ids):  # one address, two networks
            assert json.loads(m.do("run", "macula", "--json", "status"))["node_id"] == node_id
        assert "say which" in mesh("status", code=1)[1]


def interrupted(wait_for, *args):
    """Runs mesh.sh as a terminal would, and sends Ctrl-C once a namespace or a word of output is there. Nothing when it was ready before
    that was seen."""
    p = subprocess.Popen([script, "-p", prefix, "-b", build, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, start_new_session=True)
    end = time.monotonic() + DEADLINE
    while not any(n.endswith(wait_for) for n in namespaces("%s%d-" % (prefix, p.pid))) if wait_for[0] == "-" else not re.search(
            wait_for.encode(), p.stdout.readline()):
        assert time.monotonic() < end, "no %s" % wait_for
        if p.poll() is not None:
            break
    else:
        os.killpg(p.pid, signal.SIGINT)
    out = p.communicate(timeout=DEADLINE)[0]
    if p.returncode == 0:
        mesh("down", name="%s%d" % (prefix, p.pid))
        return None
    left = namespaces("%s%d-" % (prefix, p.pid))
    assert not left, "left: %s" % left
    assert not os.path.exists("/run/macula-mesh/%s%d" % (prefix, p.pid))
    return p.returncode, out


def case_interrupt_removes_what_is_half_made():
    for when in "-sw", "-h1", "-h3", "-c":
        seen = None
        for _ in range(20):  # it may be quicker than whoever looks, on a machine that gives this script no time
            seen = seen or interrupted(when, "-n", "4", "up")
        assert seen and seen[0] == 130, (when, seen)


def case_interrupt_reaches_the_command():
    code, out = interrupted("started", "-n", "1", "-m", "", "run", "sh", "-c",
                            'trap "echo stopping; exit 9" INT; echo started; while :; do sleep 0.1; done')
    assert code == 9 and b"stopping" in out, (code, out)


def case_mistakes_are_one_line():
    for args, code, said in ((["bogus"], 2, "no command 'bogus'"), (["-x"], 2, "no option -x"), (["-m"], 2, "-m needs a value"),
                             (["-b", "/nowhere", "up"], 1, "no maculad in /nowhere"), (["run"], 1, "run needs a command"),
                             (["run", "--on", "9", "true"], 1, "there is no host 9")):
        p = subprocess.run([script, "-p", prefix, *([] if "-b" in args else ["-b", build]), "-n", "1", *args], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=DEADLINE)
        assert p.returncode == code and said in p.stderr and p.stderr.count("\n") == 1 and not p.stdout, (args, p)
    assert mesh("--help") == mesh("-h") == mesh("help"), "three ways to ask"


def case_what_is_missing_is_said():
    out, _ = mesh("check")
    missing = re.search(r"^delay no: (.+)$", out, re.M)
    with Mesh(hosts=1) as m:
        err = mesh("delay", "5", name=m.name, code=1 if missing else 0)[1]
        assert not missing or re.fullmatch(r"mesh: delay is not available here: .+\n", err), err
        assert missing or "netem" in m.do("status")


def remove_all():
    for n in {n.rsplit("-", 1)[0] for n in namespaces()}:
        mesh("down", name=n, code=None)


def alone(case):
    """Nodes under load give up whoever is silent for 3 s (docs/load.md), so `load` is tried again after a machine stood still."""
    try:
        case()
    finally:
        remove_all()


def main(names):
    why = re.search(r"^(?:netns|ip|veth|bridge) no: (.*)$", mesh("check")[0], re.M)
    if why:
        print("FAIL netns: no network namespaces here: %s" % why.group(1))
        return 1
    failed = 0
    features = mesh("check")[0]
    for name in names:
        try:
            for word in "loss", "partition", "rate":  # what a case needs stands in its name
                assert word not in name or word + " yes" in features, "this machine has no %s" % word
            tried(name, lambda: alone(globals()["case_" + name]))
            print("ok " + name, flush=True)
        except Exception as e:  # each case speaks for itself
            failed += 1
            line = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.name == "case_" + name][:1]
            print("FAIL %s: line %s: %s: %s" % (name, line, type(e).__name__, e), flush=True)
    return 1 if failed else 0


def apart(name):
    """A case in a process of its own, whose id is in the names of its hosts: others run beside it."""
    p = subprocess.run([sys.executable, os.path.abspath(__file__), build, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    print(p.stdout, end="", flush=True)
    if p.returncode and "FAIL " not in p.stdout:
        print("FAIL %s: exit code %d" % (name, p.returncode), flush=True)
    return p.returncode


if __name__ == "__main__":
    if len(sys.argv) == 2:
        every = [name[5:] for name in globals() if name.startswith("case_")]
        every.sort(key=lambda name: not name.startswith("load"))  # what takes long first
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            sys.exit(any(list(pool.map(apart, every))))
    try:
        sys.exit(main(sys.argv[2:]))
    finally:
        remove_all()
