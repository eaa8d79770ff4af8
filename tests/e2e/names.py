#!/usr/bin/env python3
"""Names that come to lead elsewhere, and addresses as people write them: tests/e2e/names.py BUILD_FOLDER [CASE...]. In a network of its
own, so that its addresses and ports are nobody else's; each node sees a file of hosts of its case alone."""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

from _node import but_first_contact, plain, serving, until, with_hosts
from _process import DEADLINE, Process, access_file, end_all, token_file

build = os.path.abspath(sys.argv[1])
if os.environ.get("MACULA_TEST_INSIDE") != "1":
    probe = subprocess.run(["unshare", "--net", "true"], stderr=subprocess.PIPE)
    if probe.returncode:
        print("FAIL names: no network namespaces here: " + probe.stderr.decode().strip())
        sys.exit(1)
    os.environ["MACULA_TEST_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__), build, *sys.argv[2:]])

LINK = "mv%d" % (os.getpid() % 100000)
for command in ("ip link set lo up", "ip link add %s type veth peer name %sx" % (LINK, LINK), "ip link set %s up" % LINK,
                "ip link set %sx up" % LINK, "ip addr add fe80::a/64 dev %s nodad" % LINK, "ip addr add fe80::b/64 dev %s nodad" % LINK):
    subprocess.run(command.split(), stderr=subprocess.PIPE)  # without IPv6 the last two fail, which its case sees
HAS_IPV6 = os.path.exists("/proc/net/if_inet6")


def environment(folder):
    return plain(XDG_CONFIG_HOME=os.path.join(folder, "user"))


class Case:
    def __init__(self, folder):
        self.folder = folder
        self.hosts = os.path.join(self.folder, "hosts")
        self.access = access_file(os.path.join(self.folder, "access.yaml"), default="operator",
                                  node=token_file(os.path.join(self.folder, "token")))
        self.http_token = token_file(os.path.join(self.folder, "http"))
        self.names()

    def names(self, **names):
        """What each name leads to now; in its place, since it is what the nodes have mounted."""
        with open(self.hosts, "w") as f:
            f.write("127.0.0.1 localhost\n")
            for name, addresses in names.items():
                f.writelines("%s %s.test\n" % (a, name) for a in addresses)

    def command(self, program, *args):
        return [*with_hosts(self.hosts), os.path.join(build, program), *args]

    def node(self, home, listen, *args):
        n = serving("--state", os.path.join(self.folder, home), "--name", home, "--access", self.access, "--http-token", self.http_token,
                    *args, listen=listen, http="127.0.0.1:0", env=environment(self.folder), before=with_hosts(self.hosts))
        n.http_token = self.http_token
        return n

    def client(self, *args):
        return Process(self.command("macula", *args), environment(self.folder), text=True)

    def run(self, *args):
        p = self.client(*args)
        return p.wait(), p.out, p.err

    def refused(self, program, *args):
        p = Process(self.command(program, *args), environment(self.folder), text=True)
        assert p.wait() != 0, args
        return p.err

    def known(self):
        with open(os.path.join(self.folder, "user", "macula", "known_nodes")) as f:
            return f.read().splitlines()


def linked(n):
    with open(n.http_token) as f:
        asked = urllib.request.Request("http://%s/api/peers" % n.http, headers={"Authorization": "Bearer " + f.read().strip()})
    with urllib.request.urlopen(asked, timeout=DEADLINE) as r:
        return sorted(p["id"] for p in json.load(r)["peers"] if p["state"] == "connected")


# ---- cases -----------------------------------------------------------------------------------------------------------------
def unknown_at_the_start(c):
    """One of its names is unknown when a node starts: that another's node is linked is no reason to forget it."""
    a = c.node("a", "127.1.0.1:0")
    other = c.node("other", "127.1.0.2:0")
    c.names(known=["127.1.0.2"])
    b = c.node("b", "127.1.0.3:0", "--join", "known.test:%s,late.test:%s" % (other.port, a.port))
    b.expect("err", r"event=join_unknown name=late\.test:%s " % a.port)
    b.expect("err", r'event=link_up peer="other"')
    c.names(known=["127.1.0.2"], late=["127.1.0.1"])
    b.expect("err", r'event=link_up peer="a"')
    until("both are linked", lambda: linked(b) == sorted([a.id, other.id]))


def seed_is_replaced(c):
    """By a node with another identity at another address, which knows nobody: the mesh finds it by its name, as clients do."""
    c.names(seed=["127.2.0.1"])
    seed = c.node("seed", "127.2.0.1:0")
    where = "seed.test:%d" % seed.port
    b = c.node("b", "127.2.0.2:0", "--join", where)
    d = c.node("d", "127.2.0.3:0", "--join", where)
    until("the mesh stands", lambda: linked(b) == sorted([seed.id, d.id]) and linked(d) == sorted([seed.id, b.id]))
    sub = c.client("-s", where, "--insecure", "sub", "t")
    sub.expect("err", r"^subscribed ")
    seed.end()
    new = c.node("new", "127.2.0.4:%d" % seed.port)
    c.names(seed=["127.2.0.4"])
    until("the new one is found", lambda: linked(new) == sorted([b.id, d.id]))
    b.expect("err", r"event=join_moved name=%s " % re.escape(where))
    sub.expect("err", r"^connected again$")
    until("a subscriber hears", lambda: c.run("-s", where, "--insecure", "pub", "t", "x")[0] == 0 and "t x" in sub.out)


def client_of_a_name_with_many_addresses(c):
    """Only at the last of them is the node that is meant; at one is another, and nobody at the rest."""
    a = c.node("a", "127.3.0.1:0")
    c.node("stranger", "127.3.0.2:%d" % a.port)
    c.names(many=["127.3.0.%d" % i for i in (3, 4, 5, 2, 6, 7, 8, 1)])
    code, _, err = c.run("-s", "macula://%s@many.test:%s" % (a.id, a.port), "pub", "t", "x")
    assert code == 0, err


def own_name_leads_elsewhere(c):
    """A name that is advertised is followed, too."""
    c.names(own=["127.4.0.1"])
    n = c.node("n", "0.0.0.0:0", "--advertise", "own.test:7777")
    c.names(own=["127.4.0.2"])
    n.expect("err", r"event=advertise_moved name=own\.test:7777 address=127\.4\.0\.2:7777$")


def dot_at_the_end(c):
    """host.test. is the same host as host.test, and as HOST.test."""
    a = c.node("a", "127.5.0.1:0")
    c.names(host=["127.5.0.1"])
    for name in "host.test.", "host.test", "HOST.test":
        code, _, err = c.run("-s", "%s:%s" % (name, a.port), "pub", "t", "x")
        assert (code, but_first_contact(err)) == (0, ""), (name, err)
    assert c.known() == ["host.test:%s %s" % (a.port, a.id)], c.known()
    b = c.node("b", "127.5.0.2:0", "--join", "host.test.:%d" % a.port, "--advertise", "host.test.:%d" % a.port)
    b.expect("err", r'event=link_up peer="a"')


def no_file_of_hosts_knows_localhost(c):
    """It is this machine all the same, as in a container without that file."""
    a = c.node("a", "127.0.0.1:0")
    with open(c.hosts, "w"):
        pass
    for name in "localhost", "LocalHost.":
        code, _, err = c.run("-s", "%s:%d" % (name, a.port), "pub", "t", "x")
        assert (code, but_first_contact(err)) == (0, ""), (name, err)


def zones(c):
    """Addresses that are good on one link only are written with the interface to it."""
    assert "no network interface 'nosuch0'" in c.refused("macula", "-s", "fe80::a%nosuch0", "pub", "t", "x")
    assert "no network interface 'nosuch0'" in c.refused("maculad", "--state", c.folder + "/x", "--listen", "[fe80::a%nosuch0]:1")
    assert "as in fe80::a%eth0" in c.refused("macula", "-s", "fe80::a", "pub", "t", "x")
    assert "leads nowhere from beyond its link" in c.refused("maculad", "--state", c.folder + "/x", "--advertise", "fe80::a%" + LINK)
    if not HAS_IPV6:
        print("zones: this machine's kernel has no IPv6, so that nothing is sent to one")
        return
    a = c.node("a", "[fe80::a%%%s]:0" % LINK)
    assert a.address.startswith("[fe80::a%%%s]:" % LINK), a.address
    b = c.node("b", "[fe80::b%%%s]:0" % LINK, "--join", "macula://%s@%s" % (a.id, a.address))
    b.expect("err", r'event=link_up peer="a"')
    every = c.node("every", "[::]:0")
    for at in a.address, "[fe80::a%%%s]:%s" % (LINK, every.port):
        code, _, err = c.run("-s", at, "pub", "t", "x")
        assert (code, but_first_contact(err)) == (0, ""), (at, err)
        assert any(line.startswith(at + " ") for line in c.known()), c.known()


def no_destination(c):
    """0.0.0.0 as a destination: what to write instead."""
    for program, option, more in ("macula", "-s", ["pub", "t", "x"]), ("maculad", "--join", []), ("maculad", "--advertise", []):
        state = ["--state", c.folder + "/x", "--listen", "127.6.0.1:0", "--http", "off", "--mqtt", "off"] if program == "maculad" else []
        for at, instead in ("0.0.0.0:9443", "write 127.0.0.1 for this machine"), ("[::]:9443", "write [::1] for this machine"):
            err = c.refused(program, *state, option, at, *more)
            assert at + " stands for all addresses of a machine" in err and instead in err, err
    c.names(blocked=["0.0.0.0"])
    assert "leads nowhere" in c.refused("macula", "-s", "blocked.test:1", "pub", "t", "x")


def tried(case):
    try:
        case(Case(tempfile.mkdtemp(prefix="%s-" % case.__name__, dir=root)))
        return "ok " + case.__name__
    except Exception as e:  # a case's failure is a line, not the end
        return "FAIL %s: %s" % (case.__name__, " ".join(("%s %s" % (type(e).__name__, e)).split()))


root = tempfile.mkdtemp(prefix="macula-names-")
cases = [own_name_leads_elsewhere, seed_is_replaced, unknown_at_the_start, client_of_a_name_with_many_addresses, dot_at_the_end, zones,
         no_file_of_hosts_knows_localhost, no_destination]
with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:  # most of their time they wait
    results = []
    for result in pool.map(tried, [k for k in cases if not sys.argv[2:] or k.__name__ in sys.argv[2:]]):
        print(result, flush=True)
        results.append(result)
end_all()
shutil.rmtree(root, ignore_errors=True)
sys.exit(any(r.startswith("FAIL") for r in results))
