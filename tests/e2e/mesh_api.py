#!/usr/bin/env python3
"""What two nodes of a mesh show, over HTTP and on the command line: tests/e2e/mesh_api.py BUILD_FOLDER."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

build = os.path.abspath(sys.argv[1])
top = tempfile.mkdtemp()
everything = []


def start(name, *extra):
    p = subprocess.Popen([build + "/maculad", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--name", name, "--state",
                          os.path.join(top, name), *extra], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    everything.append(p)
    text = ""
    while "Try in" not in text:
        line = p.stdout.readline().decode()
        assert line, "%s did not start: %s" % (name, text)
        text += line
    return (re.search(r"^node id +(\S+)", text, re.M).group(1), re.search(r"^listen +(\S+)", text, re.M).group(1),
            re.search(r"^http +(\S+)/health", text, re.M).group(1))


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def macula(at, *args, code=0):
    r = subprocess.run([build + "/macula", "-s", at, "--insecure", "--identity", os.path.join(top, "id.pem"), *args],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert r.returncode == code, "%s: exit %d: %s" % (args, r.returncode, r.stderr.decode())
    return r.stdout.decode(), r.stderr.decode()


def until(what, name):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, name
        time.sleep(0.05)


def main():
    a_id, a, a_http = start("a")
    b_id, b, b_http = start("b", "--join", a)
    until(lambda: json.loads(get(a_http + "/api/status")[1])["mesh"]["members"]["alive"] == 1, "no member")
    p = subprocess.Popen([build + "/macula", "-s", b, "--insecure", "--identity", os.path.join(top, "id.pem"), "serve", "x.y",
                          "--echo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    everything.append(p)
    until(lambda: json.loads(get(a_http + "/api/dht/get?key=x.y")[1])["records"], "no record")
    found = json.loads(get(a_http + "/api/dht/get?key=x.y")[1])["records"][0]
    assert found["id"] == b_id and found["address"] == b, found
    assert get(a_http + "/api/dht/get?key=" + json.loads(get(a_http + "/api/dht/get?key=x.y")[1])["key"])[0] == 200
    near = json.loads(get(a_http + "/api/dht/lookup?node=" + b_id)[1])["nodes"]
    assert near[0]["id"] == b_id, near
    assert get(a_http + "/api/dht/lookup?node=12")[0] == 400
    assert get(a_http + "/api/dht/get")[0] == 400
    assert get(a_http + "/api/dht/other?key=x.y")[0] == 404
    peers = json.loads(get(a_http + "/api/peers")[1])["peers"]
    assert [(q["id"], q["name"], q["address"], q["state"], q["in_pool"]) for q in peers] == [(b_id, "b", b, "connected", True)]
    metrics = get(a_http + "/metrics")[1]
    for name in ("mesh_links", "members_alive", "swim_pings_total", "dht_records", "dht_lookups_total", "dht_lookup_hops_total",
                 "dht_lookup_microseconds_total", "mesh_evictions_total", "call_failovers_total"):
        assert re.search(r"^macula_%s \d+$" % name, metrics, re.M), name
    print("ok mesh_api http")
    out, err = macula(a, "dht", "get", "x.y")
    assert out.startswith(b_id + "  " + b) and "1 found" in err, (out, err)
    out, err = macula(b, "dht", "lookup", a_id)
    assert out.startswith(a_id + "  " + a), out
    assert macula(a, "dht", "get", "no.such", code=1)[0] == ""
    assert macula(a, "dht", "find", "x", code=2)[1].startswith("macula: invalid_argument: say `dht get KEY`")
    assert macula(a, "dht", "lookup", "12", code=1)[1].startswith("macula: invalid_argument: give a node's id of 64 digits")
    assert "connected" in macula(a, "peers")[0]
    assert "1 alive" in macula(a, "status")[0]
    print("ok mesh_api cli")
    # A question that is open when the node ends is answered, and the node does not wait for it.
    os.kill(everything[1].pid, 19)
    asked = subprocess.Popen(["curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}",
                              a_http + "/api/dht/get?key=not.there"], stdout=subprocess.PIPE)
    everything.append(asked)
    everything[0].terminate()
    assert everything[0].wait(15) == 0
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
