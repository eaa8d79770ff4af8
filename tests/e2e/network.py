#!/usr/bin/env python3
"""Networks as they are, with real processes: tests/e2e/network.py BUILD_FOLDER [CASE...].

Each case has network namespaces of its own, which end with the process that holds them. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import contextlib
import os
import subprocess
import sys
import tempfile
import time

from _node import metric_of, serving, until
from _process import DEADLINE, Process, access_file, end_all, token_file
from _still import tried

build = os.path.abspath(sys.argv[1])
BIG = "x" * 20000
shared = tempfile.TemporaryDirectory()
# Nodes know each other by a token, and everybody else is an operator by having a key.
ACCESS = access_file(os.path.join(shared.name, "access.yaml"), default="operator", node=token_file(os.path.join(shared.name, "token")))


def done(*argv, **more):
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE, **more)
    assert p.returncode == 0, "%s: %s" % (" ".join(argv), p.stdout.decode())
    return p.stdout.decode()


class Host:
    """A network namespace, with its loopback up."""

    def __init__(self):
        self.p = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = self.p.stdout.readline().decode().strip()
        assert said == "up", said
        self.folder = tempfile.TemporaryDirectory()
        base = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_") and k != "NOTIFY_SOCKET"}
        self.env = dict(base, XDG_CONFIG_HOME=os.path.join(self.folder.name, "config"))
        self.listen = None

    def end(self):
        self.p.stdin.close()
        self.p.wait(DEADLINE)
        self.p.stdout.close()
        self.folder.cleanup()

    def inside(self, *argv):
        return ["nsenter", "-t", str(self.p.pid), "-n", *argv]

    def do(self, line):
        done(*self.inside("sh", "-ec", line))

    def sysctl(self, *settings):
        for key, value in (s.split("=") for s in settings):
            self.do("echo %s >/proc/sys/%s" % (value, key.replace(".", "/")))

    def link(self, other, mine, theirs, near, far):
        """A veth pair: `near` here with the address `mine`, `far` there."""
        self.do("ip link add %s type veth peer name %s netns %d; ip addr add %s/24 dev %s; ip link set %s up" %
                (near, far, other.p.pid, mine, near, near))
        other.do("ip addr add %s/24 dev %s; ip link set %s up" % (theirs, far, far))

    def node(self, address, *args):
        p = serving("--access", ACCESS, "--state", os.path.join(self.folder.name, "state"), *args, listen=address + ":0", http="127.0.0.1:0",
                    env=self.env, before=self.inside(), text=False)
        self.listen, self.port, self.http = p.address, p.port, "http://" + p.http
        return p

    def macula(self, server, *args):
        return Process(self.inside(os.path.join(build, "macula"), "-s", server, *args), self.env)

    def ok(self, server, *args):
        p = self.macula(server, *args)
        assert p.wait() == 0, "%s: %s%s" % (" ".join(args)[:80], p.out[-300:], p.err[-300:])
        return p.out.decode()

    def get(self, path):
        """Of its node's HTTP; the code is curl's business elsewhere: here it is 200 or the case has failed."""
        return done(*self.inside(sys.executable, "-c", "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())",
                                 self.http + path))

    def metric(self, name):
        return metric_of(self.get("/metrics"), name)


@contextlib.contextmanager
def hosts(count):
    made = []
    try:
        for _ in range(count):
            made.append(Host())
        yield made
    finally:
        end_all()
        for h in made:
            h.end()


def subscribed(host, server, topic, *args):
    p = host.macula(server, "sub", topic, *args)
    p.expect("err", b"^subscribed ")
    return p


def calls(n, count):
    """On loopback, with a provider there."""
    p = n.macula(n.local, "serve", "test.echo", "--echo")
    p.expect("err", b"^serving ")
    for i in range(count):
        assert n.ok(n.local, "call", "test.echo", "[%d]" % i).strip() == "[%d]" % i


def beside(n, address="0.0.0.0"):
    """A node that is reached from outside and on loopback."""
    p = n.node(address)
    n.local = "127.0.0.1:%d" % n.port
    return p


def case_far_end_takes_less():
    """The path MTU probe of either side is refused by the veth, with ENOBUFS: that datagram is lost, and nothing else."""
    for mine, theirs in ((1500, 1400), (1400, 1500)):
        with hosts(2) as (n, c):
            n.link(c, "10.1.0.1", "10.1.0.2", "out", "in")
            n.do("ip link set out mtu %d gso_max_segs 1" % mine)  # a burst of UDP_SEGMENT has no size that a veth would look at
            c.do("ip link set in mtu %d gso_max_segs 1" % theirs)
            beside(n)
            s = subscribed(c, "10.1.0.1:%d" % n.port, "t")
            calls(n, 3)
            n.ok(n.local, "pub", "t", BIG, "--count", "30", "--qos", "1")  # 600 KB: less than a subscriber's queue
            assert len(s.lines(30)) == 30
            c.ok("10.1.0.1:%d" % n.port, "pub", "t", BIG, "--count", "30", "--qos", "1")
            assert len(s.lines(60)) == 60
            if theirs < mine:
                assert n.metric('udp_dropped_total{reason="queue_full"}') > 0, "no probe was refused"
            assert n.metric("udp_blocked_total") == 0
            assert n.get("/live").strip() == "Live"


def case_six_subscribers_behind_a_bucket():
    """What the bucket drops is lost: no socket waits for it, and calls on loopback are served meanwhile."""
    with hosts(2) as (n, c):
        n.link(c, "10.1.0.1", "10.1.0.2", "out", "in")
        beside(n)
        for _ in range(6):
            subscribed(c, "10.1.0.1:%d" % n.port, "t")
        n.do("tc qdisc add dev out root tbf rate 2mbit burst 4kb limit 10kb")
        flood = n.macula(n.local, "pub", "t", BIG, "--count", "100000", "--interval", "5ms")
        until("the bucket drops some", lambda: n.metric('udp_dropped_total{reason="queue_full"}') > 100)
        calls(n, 5)
        assert n.metric("udp_blocked_total") == 0
        assert flood.p.poll() is None


def routed():
    """Node, router, client: what the router does with routes is what happens on the way."""
    stack = contextlib.ExitStack()
    n, r, c = stack.enter_context(hosts(3))
    n.link(r, "10.1.0.1", "10.1.0.2", "out", "to_n")
    c.link(r, "10.2.0.1", "10.2.0.2", "out", "to_c")
    n.do("ip route add default via 10.1.0.2")
    c.do("ip route add default via 10.2.0.2")
    r.sysctl("net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
    beside(n)
    return stack, n, r, c


def case_mtu_of_a_router_falls():
    """Large messages go on both ways, over the same connections, and between nodes."""
    stack, n, r, c = routed()
    with stack:
        server = "10.1.0.1:%d" % n.port
        c.node("10.2.0.1", "--join", server)
        s = subscribed(c, server, "to.client")
        back = subscribed(n, n.local, "to.node")
        over = subscribed(c, c.listen, "over.there")
        here = subscribed(n, n.local, "over.here")
        until("patterns", lambda: n.metric("interest_pages_received_total") > 0 and c.metric("interest_pages_received_total") > 0)
        pubs = [h.macula(at, "pub", topic, BIG, "--count", "100000", "--interval", "100ms")
                for h, at, topic in ((n, n.local, "to.client"), (c, server, "to.node"), (n, n.local, "over.there"), (c, c.listen, "over.here"))]

        def all_hear(more):
            wanted = [(p, p.out.count(b"\n") + more) for p in (s, back, over, here)]
            for p, lines in wanted:
                assert len(p.lines(lines)) >= lines, p.err

        all_hear(10)
        before = [n.metric(m) for m in ("clients_admitted_total", "mesh_dials_total", "mesh_accepted_total")]
        for way, dev in (("10.1.0.0/24", "to_n"), ("10.2.0.0/24", "to_c")):
            r.do("ip route change %s dev %s mtu lock 1300" % (way, dev))
        until("the node noticed it towards the client and the other node", lambda: n.metric("quic_path_mtu_falls_total") > 1)
        until("the other node noticed it", lambda: c.metric("quic_path_mtu_falls_total") > 0)
        all_hear(20)
        assert all(p.p.poll() is None for p in pubs), [p.err for p in pubs]
        after = [n.metric(m) for m in ("clients_admitted_total", "mesh_dials_total", "mesh_accepted_total")]
        assert after == before, "somebody had to come back: %s, before %s" % (after, before)


def case_route_is_away_for_2_s():
    """A router that says that the network cannot be reached ends no connection, and costs no message."""
    stack, n, r, c = routed()
    with stack:
        subs = [subscribed(c, "10.1.0.1:%d" % n.port, "t", "--count", "100") for _ in range(4)]
        before = n.metric("clients_admitted_total")
        pub = n.macula(n.local, "pub", "t", "1", "--count", "100", "--interval", "40ms")
        subs[0].lines(10)
        r.do("ip route del 10.2.0.0/24 dev to_c")
        until("the router says so", lambda: n.metric("udp_icmp_errors_total") > 0)
        time.sleep(2)  # so long it is away
        r.do("ip route add 10.2.0.0/24 dev to_c")
        for s in subs:
            assert s.wait() == 0, s.err
        assert pub.wait() == 0
        assert n.metric("clients_admitted_total") == before + 1, "a subscriber had to come back"


def node_and_client(h):
    h.node("127.0.0.1")
    h.local = h.listen
    s = subscribed(h, h.listen, "t", "--count", "20")
    h.ok(h.listen, "pub", "t", BIG, "--count", "20", "--qos", "1")
    assert s.wait() == 0
    calls(h, 3)


def case_without_ipv6():
    with hosts(1) as (h,):
        h.sysctl("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        node_and_client(h)
        h.ok("localhost:%d" % h.port, "status")
        done(*h.inside(os.path.join(build, "tests", "t_unit_io_udp")))


def case_loopback_with_mtu_1280():
    with hosts(1) as (h,):
        h.do("ip link set lo mtu 1280")
        node_and_client(h)
        done(*h.inside(os.path.join(build, "tests", "t_unit_io_udp")))


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
