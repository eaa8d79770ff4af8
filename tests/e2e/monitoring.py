#!/usr/bin/env python3
"""What watches nodes: the alert rules, the dashboards, `macula check`: tests/e2e/monitoring.py BUILD_FOLDER [CASE...].

Prints "ok NAME" or "FAIL NAME: why" a case. With LOAD_FULL=1 (./test --full), or when they are named, Debian's Prometheus tests the rules,
judges a scrape, and answers every query of every panel of the dashboards on scrapes of two nodes with some traffic.
"""
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from _node import MACULA, Node, until
from _process import DEADLINE, Process, end_all

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = os.path.join(root, "deploy/prometheus/macula.rules.yml")
DASHBOARDS = sorted(glob.glob(os.path.join(root, "deploy/grafana/*.json")))


def read(path):
    with open(path) as f:
        return f.read()


def queries():
    """(dashboard, panel, expression) of all."""
    for path in DASHBOARDS:
        for panel in json.loads(read(path))["panels"]:
            assert panel["targets"], "%s: %s shows nothing" % (path, panel["title"])
            for target in panel["targets"]:
                yield os.path.basename(path), panel["title"], target["expr"]


def with_mesh(case):
    """Two nodes, one joined to the other, between which messages and a call went."""
    def run():
        with tempfile.TemporaryDirectory() as t, Node(t + "/a") as a:
            with Node(t + "/b", "--join", a.address) as b:
                until("both know each other", lambda: "connected" in a.states().values() and "connected" in b.states().values())
                s = b.sub("plant.**", "-n", "1")
                p = a.macula("serve", "plant.echo", "--echo")
                p.expect("err", r"^serving ")
                a.ok("pub", "plant.temp", "21", "--qos", "1")
                b.ok("call", "plant.echo", '{"a":1}')
                assert s.wait() == 0
                case(t, a, b)
    run.__name__ = case.__name__
    return run


# ---- cases -----------------------------------------------------------------------------------------------------------------
@with_mesh
def names(t, a, b):
    """Each metric that rules and dashboards name is one of a node's."""
    have = set(re.findall(r"^# TYPE (macula_\w+) ", a.get("/metrics"), re.M))
    used = {(os.path.basename(path), n) for path in [RULES, *DASHBOARDS] for n in re.findall(r"\bmacula_\w+", read(path))}
    missing = sorted((path, n) for path, n in used if n not in have and re.sub(r"_(bucket|sum|count)$", "", n) not in have)
    assert not missing, missing
    uids = [json.loads(read(path))["uid"] for path in DASHBOARDS]
    assert len(set(uids)) == len(uids) == 2


def checks():
    """`macula check`: one line and an exit code each, for what is well, not well and not there."""
    line = r"^MACULA (\w+) (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \|( \w+=[\d.e+-]+(s|B|c)?(;[\d.e+-]*)*)+)?\n$"
    with tempfile.TemporaryDirectory() as t:
        cert = ["--cert", t + "/cert.pem", "--key", t + "/key.pem"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=n", "-days", "100", "-keyout", cert[3], "-out", cert[1]],
                       check=True, stderr=subprocess.DEVNULL)
        with Node(t + "/own") as n:
            assert n.ok("check", "cert") == "MACULA CERT OK - the certificate has no end\n"
        checks_of(Node(t + "/n", *cert), line)


def checks_of(node, line):
    with node as n:
        p = n.macula("serve", "a.echo", "--echo")
        p.expect("err", r"^serving ")
        n.ok("pub", "a.kept", "1", "--retain", "--qos", "1")
        for code, args in ((0, "node"), (0, "mesh"), (0, "memory"), (0, "cert"), (0, "call a.echo"), (0, "call a.echo [1] -w 100"), (0, "topic a.kept"), (0, "topic b.c --probe"),
                           (1, "call a.echo -w 0.000001 -c 100"), (2, "call a.echo -c 0"), (2, "call a.nobody"), (2, "topic a.silent -t 0.3"),
                           (2, "mesh --members 2"), (1, "node -w 0"), (2, "node -w 0 -c 0"), (1, "cert -w 1000000d"), (2, "cert -c 1000000d"), (2, "memory -c 0.001"),
                           (3, "all"), (3, "call"), (3, "node a"), (3, "call a..b"), (3, "node -w 3d"), (3, "call a.echo {")):
            got, out, err = n.run("check", *args.split())
            found = re.match(line, out)
            assert got == code and found, "check %s: %d, %r, %r" % (args, got, out, err)
            assert found[2] == ("OK", "WARNING", "CRITICAL", "UNKNOWN")[code] and bool(found[3]) == (code < 3), out
        for args in "node --nonsense", "", "node --members 2", "node -t never", "node a b c d":
            got, out, err = n.run("check", *args.split())
            assert got == 3 and err and re.match("MACULA [A-Z]+ UNKNOWN - [a-z_]+: .+\\n$", out), "check %s: %d, %r, %r" % (args, got, out, err)
        told = json.loads(n.ok("--json", "check", "node"))
        assert told["state"] == "OK" and told["figures"].startswith("answer="), told
        where = n.address
    p = Process([MACULA, "check", "node", "-s", where], n.env, True)
    assert p.wait() == 2 and re.match(r"MACULA NODE CRITICAL - not_connected: ", p.out), (p.out, p.err)


def programs(folder):
    """Where prometheus and promtool are: installed, or out of Debian's package, whose service is not wanted here."""
    if shutil.which("promtool") and shutil.which("prometheus"):
        return ""
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["apt-get", "download", "prometheus"], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run(["dpkg-deb", "-x", glob.glob(folder + "/prometheus_*.deb")[0], folder], check=True)
    return folder + "/usr/bin/"


def tool(at, *args, stdin=None):
    p = subprocess.run([at + "promtool", *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return p.returncode, p.stdout


def rules():
    with tempfile.TemporaryDirectory() as t:
        at = programs(t)
        code, out = tool(at, "check", "rules", RULES)
        assert code == 0, out
        code, out = tool(at, "test", "rules", os.path.join(root, "deploy/prometheus/macula.test.yml"))
        assert code == 0 and "SUCCESS" in out, out
        shutil.copytree(os.path.join(root, "deploy/prometheus"), t + "/rules")
        code, out = tool(at, "check", "config", t + "/rules/prometheus.yml")
        assert code == 0, out


@with_mesh
def scrape(t, a, b):
    code, out = tool(programs(t + "/prometheus"), "check", "metrics", stdin=a.get("/metrics"))
    assert code == 0 and not out.strip(), out


@with_mesh
def panels(t, a, b):
    at = programs(t + "/prometheus")
    ended = a.sub("any.thing")  # so that there is a connection that a node has ended
    a.ok("clients", "end", next(c["id"] for c in json.loads(a.ok("--json", "clients"))["clients"] if c["subscriptions"]))
    ended.end()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    shutil.copy(RULES, t)
    with open(t + "/prometheus.yml", "w") as f:
        json.dump({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["macula.rules.yml"],
                   "scrape_configs": [{"job_name": "macula", "static_configs": [{"targets": [a.http, b.http]}]}]}, f)
    server = Process([at + "prometheus", "--config.file=" + t + "/prometheus.yml", "--storage.tsdb.path=" + t + "/data", "--web.listen-address=127.0.0.1:%d" % port],
                     os.environ, text=True)

    def ask(what, **args):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/api/v1/%s?%s" % (port, what, urllib.parse.urlencode(args)), timeout=DEADLINE) as r:
                return json.load(r)["data"]
        except urllib.error.HTTPError as e:
            if e.code == 503:  # it starts
                return None
            raise AssertionError("%s: %s" % (args, e.read().decode()[:500]))
        except urllib.error.URLError:
            assert server.p.poll() is None, server.err[-1500:]
            return None

    def scraped():
        found = ask("query", query="count(count_over_time(macula_gateway_ready[5m]) >= 3)")
        return found and found["result"] and found["result"][0]["value"][1] == "2"
    until("three scrapes of both", scraped)
    empty = []
    for dashboard, panel, query in queries():
        query = query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
        assert "$" not in query, query
        if not ask("query", query=query)["result"]:
            empty.append("%s: %s: %s" % (dashboard, panel, query))
    assert not empty, "these show nothing: %s" % empty
    for rule in ask("rules")["groups"][0]["rules"]:
        assert rule["health"] == "ok", "%s: %s" % (rule["name"], rule.get("lastError"))
        assert rule["state"] == "inactive", "two nodes that are well: %s" % rule
    server.end()


CASES, FULL = (names, checks), (rules, scrape, panels)


def main():
    failed = 0
    words = sys.argv[2:]
    for case in CASES + FULL:
        if case.__name__ not in words if words else case in FULL and os.environ.get("LOAD_FULL") != "1":
            continue
        try:
            case()
            print("ok monitoring " + case.__name__, flush=True)
        except (AssertionError, OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as e:
            failed += 1
            print("FAIL monitoring %s: %s" % (case.__name__, str(e).replace("\n", "; ")[-3000:]), flush=True)
        finally:
            end_all()
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
