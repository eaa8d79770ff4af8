#!/usr/bin/env python3
"""What two nodes of a mesh show, over HTTP and on the command line: tests/e2e/mesh_api.py BUILD_FOLDER."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import urllib.error
import urllib.request

from _node import serving, until

build = os.path.abspath(sys.argv[1])
DEADLINE = 300  # only what never comes waits so long
top = tempfile.mkdtemp()
everything = []


def start(name, *extra):
    p = serving("--name", name, "--state", os.path.join(top, name), *extra, http="127.0.0.1:0")
    everything.append(p.p)
    return p.id, p.address, "http://" + p.http


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def macula(at, *args, code=0):
    r = subprocess.run([build + "/macula", "-s", at, "--insecure", "--identity", os.path.join(top, "id.pem"), *args],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert code is None or r.returncode == code, "%s: exit %d: %s" % (args, r.returncode, r.stderr.decode())
    return r.stdout.decode(), r.stderr.decode()


def found_by(at, *args):
    """None while nothing is found."""
    out, err = macula(at, *args, code=None)
    return (out, err) if out else None


def ask_other(http, other):
    """Of another node, through the one that is reached; again where it stood still for longer than it is waited for."""
    def asked(query):
        return until("it answers", lambda: (r := get(http + "/api/" + query))[0] not in (503, 504) and r)

    for spelled in (other, other[:16]):
        code, text = asked("status?node=" + spelled)
        assert code == 200 and json.loads(text)["node_id"] == other, (code, text)
    code, text = asked("clients?limit=5&node=" + other)
    assert code == 200 and json.loads(text)["total"] >= 0, (code, text)
    for query, want, name in (("status?node=" + "0f" * 32, 404, "unknown_node"), ("status?node=0f", 400, "invalid_argument"),
                              ("nothing?node=" + other, 404, "no_such_procedure"), ("end?node=" + other, 405, "invalid_argument")):
        code, text = asked(query)
        assert code == want and json.loads(text)["error"] == name, (query, code, text)


def main():
    a_id, a, a_http = start("a")
    b_id, b, b_http = start("b", "--join", a)
    until("there is a member", lambda: json.loads(get(a_http + "/api/status")[1])["mesh"]["members"]["alive"] == 1)
    p = subprocess.Popen([build + "/macula", "-s", b, "--insecure", "--identity", os.path.join(top, "id.pem"), "serve", "x.y",
                          "--echo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    everything.append(p)
    ask_other(a_http, b_id)
    found = until("there is a record", lambda: json.loads(get(a_http + "/api/dht/get?key=x.y")[1])["records"])[0]
    assert found["id"] == b_id and found["address"] == b, found
    assert get(a_http + "/api/dht/get?key=" + json.loads(get(a_http + "/api/dht/get?key=x.y")[1])["key"])[0] == 200
    # A question to a node that stands still for 2 s fails: it is asked again.
    near = until("there is a node", lambda: json.loads(get(a_http + "/api/dht/lookup?node=" + b_id)[1])["nodes"])
    assert near[0]["id"] == b_id, near
    assert get(a_http + "/api/dht/lookup?node=12")[0] == 400
    assert get(a_http + "/api/dht/get")[0] == 400
    assert get(a_http + "/api/dht/other?key=x.y")[0] == 404
    until("b is a peer", lambda: [(q["id"], q["name"], q["address"], q["state"], q["in_pool"]) for q in
                                  json.loads(get(a_http + "/api/peers")[1])["peers"]] == [(b_id, "b", b, "connected", True)])
    metrics = get(a_http + "/metrics")[1]
    for name in ("mesh_links", "members_alive", "swim_pings_total", "dht_records", "dht_lookups_total", "dht_lookup_hops_total",
                 "dht_lookup_seconds_total", "mesh_evictions_total", "call_failovers_total"):
        assert re.search(r"^macula_%s [\d.]+$" % name, metrics, re.M), name
    print("ok mesh_api http")
    out, err = until("something is found", lambda: found_by(a, "dht", "get", "x.y"))
    assert out.startswith(b_id + "  " + b) and "1 found" in err, (out, err)
    out, err = until("something is found", lambda: found_by(b, "dht", "lookup", a_id))
    assert out.startswith(a_id + "  " + a), out
    assert macula(a, "dht", "get", "no.such", code=1)[0] == ""
    assert macula(a, "dht", "find", "x", code=2)[1].startswith("macula: invalid_argument: say `dht get KEY`")
    assert macula(a, "dht", "lookup", "12", code=1)[1].startswith("macula: invalid_argument: give a node's id of 64 digits")
    until("b is connected", lambda: "connected" in macula(a, "peers")[0])
    until("b is alive", lambda: "1 alive" in macula(a, "status")[0])
    print("ok mesh_api cli")
    # Who publishes at one node is told at the other, and which node says so.
    s = subprocess.Popen([build + "/macula", "-s", b, "--insecure", "--identity", os.path.join(top, "id.pem"), "sub", "o.x", "--count", "1", "--json"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    everything.append(s)
    until("a message came", lambda: s.poll() is not None or macula(a, "pub", "o.x", "1", "--qos", "1", code=None) and s.poll() is not None)
    me = macula(a, "--identity", os.path.join(top, "id.pem"), "id")[0].split()[0]
    assert json.loads(s.communicate()[0])["publisher"] == {"kind": "key", "name": me, "node": a_id}
    print("ok mesh_api origin")
    # A question that is open when the node ends is answered, and the node does not wait for it.
    os.kill(everything[1].pid, 19)
    asked = subprocess.Popen(["curl", "-s", "-m", str(DEADLINE), "-o", "/dev/null", "-w", "%{http_code}",
                              a_http + "/api/dht/get?key=not.there"], stdout=subprocess.PIPE)
    everything.append(asked)
    everything[0].terminate()
    assert everything[0].wait(DEADLINE) == 0
    assert asked.communicate()[0].decode() in ("000", "200", "503"), "no answer"
    print("ok mesh_api end")


try:
    main()
except BaseException as e:  # noqa: B902
    print("FAIL mesh_api: %s" % e)
    traceback.print_exc()
    sys.exit(1)
finally:
    for p in everything:
        if p.poll() is None:
            p.kill()
            p.wait()
    shutil.rmtree(top)
