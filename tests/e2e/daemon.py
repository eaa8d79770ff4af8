#!/usr/bin/env python3
"""maculad as its operator sees it: tests/e2e/daemon.py BUILD_FOLDER.

Each case starts real processes on free loopback ports with a state folder of its own, and waits for output or answers with a
deadline. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import base64
import contextlib
import errno
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request

from _node import but_first_contact, plain, serving, with_hosts
from _process import DEADLINE, Process, access_file, end_all, started, token_file
from _still import tried

build = os.path.abspath(sys.argv[1])
maculad = os.path.join(build, "maculad")
live = []
HERE = "192.0.2.7"  # this machine as others know it: an address that is not of loopback
if os.environ.get("MACULA_TEST_INSIDE") != "1":  # a network of its own: no other program has 8080 there, and it has that address
    os.environ["MACULA_TEST_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", 'ip link set lo up && ip addr add %s/32 dev lo && exec "$@"' % HERE, "sh",
                          sys.executable, os.path.abspath(__file__), build, *sys.argv[2:]])


def environment(extra=None):
    return plain(**(extra or {}))


class Node:
    """A running maculad; listen and http are None for its defaults. hosts: a file that it sees as /etc/hosts."""

    def __init__(self, folder, *args, listen="127.0.0.1:0", http="127.0.0.1:0", env=None, hosts=None, home="state"):
        self.said = serving("--state", os.path.join(folder, home), *args, listen=listen, http=http, env=environment(env),
                            before=with_hosts(hosts) if hosts else (), cwd=folder)
        self.process, self.id, self.listen, self.http = self.said.p, self.said.id, self.said.address, self.said.http

    def get(self, path, method="GET", headers=None, body=None):
        c = http.client.HTTPConnection(self.http, timeout=DEADLINE)
        c.request(method, path, headers=headers or {}, body=body)
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return r.status, r.getheader("Content-Type"), text

    def stop(self, number=signal.SIGTERM):
        return self.said.end(number)


def fails(folder, *args, env=None, code=1):
    """Runs a maculad that must not start; returns its one line."""
    p = subprocess.run([maculad, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(env),
                       cwd=folder, timeout=DEADLINE)
    err = p.stderr.decode()
    assert p.returncode == code, "exit %d instead of %d: %s" % (p.returncode, code, err)
    assert re.fullmatch(r"maculad: [a-z_]+: [^\n]+\n", err), "not one line: %r" % err
    return err


def write(folder, name, text, mode=0o644):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def state(folder, name="state"):
    return os.path.join(folder, name)


OWN = ["--listen", "127.0.0.1:0", "--http", "off", "--mqtt", "off"]


def macula(folder, n, *args, server=None):
    """Starts the command line against a node, with an identity and known nodes of its own."""
    p = subprocess.Popen([os.path.join(build, "macula"), "-s", server or n.listen, *args], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({"XDG_CONFIG_HOME": state(folder, "user")}))
    live.append(p)
    return p


def ended(p):
    out, err = p.communicate(timeout=DEADLINE)
    live.remove(p)
    return p.returncode, out.decode(), err.decode()


def case_start_says_what_to_do(folder):
    n, found = started([maculad, "--state", state(folder), *OWN], environment(), r"^node id +([0-9a-f]{64})\nlisten +(127\S+)$", text=True,
                       cwd=folder)
    node_id, listen = found.groups()
    program = re.escape(os.path.join(build, "macula"))
    n.expect("out", r"^http +off\nstate +%s$" % re.escape(state(folder)))
    n.expect("out", r"^  %s -s %s sub 'sensor\.\*\*'$" % (program, re.escape(listen)))
    n.expect("out", r"^  %s -s %s pub sensor\.kitchen\.temp 21\.5$" % (program, re.escape(listen)))
    n.expect("out", r"^  %s -s %s status$" % (program, re.escape(listen)))
    n.expect("err", r"^time=\S+Z level=info event=started node=%s realm=default$" % node_id)
    assert n.end(signal.SIGINT) == 0
    n.expect("err", r"event=stopped")


def case_start_says_what_to_show(folder):
    """Where an access file asks for something, the commands of the start name it."""
    token = os.path.join(folder, "token")
    with open(token, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:
        f.write("0123456789abcdef\n")
    grants = "grants: {a: {pub: ['**'], sub: ['**']}}\n"
    for i, (text, heading, options) in enumerate((
            ("tokens: [{file: '%s', grant: a}]\n" % token, ", with a token of the access file, as far as its grant allows it", " --token-file FILE"),
            ("realm_keys: [%s]\n" % ("ab" * 32), r", with a pass \('macula pass new' makes one\), as far as it allows it", " --pass FILE"),
            ("keys: {%s: a}\n" % ("ab" * 32), r", once the access file has your key \('macula id' prints it\)", ""),
            ("default: a\n", ", as far as the access file allows it", ""))):
        path = write(folder, "access.yaml", grants + text, 0o600)
        n, _ = started([maculad, "--state", state(folder) + str(i), "--access", path, *OWN], environment(),
                       r"^Try in another terminal%s:\n  \S+macula -s \S+%s sub 'sensor\.\*\*'$" % (heading, options), text=True)
        assert n.end(signal.SIGINT) == 0


def case_start_says_what_to_do_in_json(folder):
    """All in one line, for programs that start a node; the ports are those that it was given."""
    for at in "127.0.0.1:0", "off":
        p = Process([maculad, "--json", "--state", state(folder), "--listen", "127.0.0.1:0,127.0.0.2:0", "--http", at], environment(), text=True)
        p.expect("out", r"\n")
        said = json.loads(p.out)
        assert sorted(said) == ["event", "http", "id", "listen", "mqtt", "state"] and said["event"] == "ready" and said["state"] == state(folder), said
        assert re.fullmatch(r"[0-9a-f]{64}", said["id"]) and [a.split(":")[0] for a in said["listen"]] == ["127.0.0.1", "127.0.0.2"], said
        assert not any(a.endswith(":0") for a in said["listen"]), said
        if at == "off":
            assert said["http"] is None, said
        else:
            with urllib.request.urlopen("http://%s/ready" % said["http"], timeout=DEADLINE) as r:
                assert r.status == 200
        assert p.end(signal.SIGTERM) == 0 and p.out.count("\n") == 1, p.out
    assert "--json goes with" in fails(folder, "--check", "--json", code=2)


def case_http_paths(folder):
    n = Node(folder)
    status, kind, text = n.get("/health?x=1")
    assert (status, kind) == (200, "application/json"), (status, kind)
    assert re.fullmatch(r'\{"status":"healthy","ready":true,"uptime":\d+\}', text), text
    assert n.get("/ready") == (200, "text/plain", "Ready")
    assert n.get("/live") == (200, "text/plain", "Live")
    status, kind, text = n.get("/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4")
    assert re.search(r"^macula_\w+(\{[^}]*\})? [0-9.e+-]+$", text, re.M), text[:500]
    assert n.get("/health", "POST", body="x") == (405, "text/plain", "Only GET, HEAD")
    for query in "limit=abc", "limit=-1", "offset=", "limit=5x":
        assert n.get("/api/clients?" + query)[0] == 400, query
    assert n.get("/api/clients?limit=5&offset=0")[0] == n.get("/")[0] == 200
    for path, method in [("/healthy", "GET"), ("/healthy", "POST"), ("/healthy", "DELETE"), ("/api/nothing", "GET")]:
        got = n.get(path, method, body="x" if method == "POST" else None)
        assert got == (404, "text/plain", "Not found"), (path, method, got)
    assert n.stop() == 0


def wrong_metrics(text):
    """What `promtool check metrics` says of them, by the rules of Prometheus for names, units and types."""
    units = "(nano|micro|milli)seconds|minutes|hours|days|weeks|(kilo|mega|giga|kibi|mibi|gibi)?bits|(kilo|mega|giga|kibi|mebi|gibi)bytes"
    kinds, helped, seen, wrong = {}, set(), set(), []
    for line in text.splitlines():
        word = line.split(" ", 3)
        if word[0] == "#":
            if word[2] in (helped if word[1] == "HELP" else kinds) or (word[1] == "HELP" and not word[3:]):
                wrong.append(line)
            helped.add(word[2]) if word[1] == "HELP" else kinds.update({word[2]: word[3]})
            continue
        series, _, value = line.rpartition(" ")
        name = series.partition("{")[0]
        labels = re.findall(r'(\w+)="', series)
        whole = re.sub(r"_(bucket|sum|count)$", "", name)
        if kinds.get(whole) == "histogram":  # its three kinds of series
            name, labels = whole, [label for label in labels if label != "le"]
        float(value)
        if (series in seen or name not in kinds or name not in helped or not re.fullmatch(r"[a-z][a-z0-9_]*", name) or
                any(label != label.lower() for label in labels) or (kinds[name] == "counter") != name.endswith("_total") or
                re.search(r"_(count|sum|bucket|info)$", name) or "le" in labels or "quantile" in labels or
                re.search(r"_(gauge|counter|histogram|summary|untyped)(_|$)", name) or re.search(r"_(s|ms|us|ns|b|kb|mb|gb)(_|$)", name) or
                re.search(r"(^|_)(%s)(_|$)" % units, name)):
            wrong.append(line)
        seen.add(series)
    return wrong


def case_metrics_keep_the_rules(folder):
    n = Node(folder)
    assert ended(macula(folder, n, "pub", "a", "1"))[0] == 0
    assert wrong_metrics("# HELP a_total x\n# TYPE a_total gauge\na_total 1") and wrong_metrics("# HELP a x\n# TYPE a gauge\nb 1")
    text = n.get("/metrics")[2]
    assert text.count("\n") > 100 and not wrong_metrics(text), wrong_metrics(text)


def case_api(folder):
    n = Node(folder, "--realm", "r.1", "--name", "kitchen", "--max-clients", "7")
    status, kind, text = n.get("/api/status")
    s = json.loads(text)
    assert (status, kind) == (200, "application/json")
    assert s["node_id"] == n.id and s["realm"] == "r.1" and s["name"] == "kitchen", s
    assert s["clients"] == {"count": 0, "limit": 7}, s["clients"]
    assert s["memory"]["rss_bytes"] > 1 << 20 and s["uptime_s"] >= 0, s
    for key in ("services", "subscriptions", "pending_calls"):
        assert s[key]["count"] == 0 and s[key]["limit"] > 0, s
    for what in ("clients", "services", "subs", "peers"):
        status, kind, text = n.get("/api/%s?offset=0&limit=5" % what)
        assert status == 200 and json.loads(text)["total"] == 0, (what, status, text)
    assert n.get("/api/memory")[0] == 200
    assert n.get("/api/status", headers={"Host": "evil.example"})[0] == 403
    assert n.stop() == 0


def case_http_token(folder):
    n = Node(folder, "--http-token", write(folder, "token", "  sesame\n", 0o600))
    assert n.get("/api/status")[0] == 401
    assert n.get("/api/status", headers={"Authorization": "Bearer sesamo"})[0] == 401
    assert n.get("/api/status", headers={"Authorization": "Bearer sesame"})[0] == 200
    assert n.get("/health")[0] == 200
    assert n.stop() == 0


def case_http_from_other_machines(folder):
    n = Node(folder, http="0.0.0.0:0")
    n.http = HERE + n.http[n.http.rindex(":"):]
    assert n.get("/health")[0] == 200 and n.get("/metrics")[0] == 200
    status, kind, text = n.get("/api/status")
    assert status == 403 and "http_token" in text, (status, text)
    assert n.stop() == 0


def case_http_bounded(folder):
    n = Node(folder)
    host, port = n.http.split(":")
    # As many as there may be, all let go at once: nothing else wakes the server then.
    for count, bytes in ((32, b"GET /health"), (40, b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100000)):
        idle = [socket.create_connection((host, int(port)), DEADLINE) for _ in range(count)]
        idle[0].sendall(bytes)
        began = time.monotonic()
        while True:  # idle ones are let go after 5 s, so a new one is served soon
            try:
                assert n.get("/live")[0] == 200
                break
            except (OSError, http.client.HTTPException):
                assert time.monotonic() - began < DEADLINE, "HTTP never came back"
        for s in idle:
            s.close()
    assert n.stop() == 0


def case_http_port_taken(folder):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        at = "127.0.0.1:%d" % s.getsockname()[1]
        err = fails(folder, "--state", state(folder), "--listen", "127.0.0.1:0", "--http", at)
        assert "busy" in err and at in err and "--http off" in err, err


def case_mqtt_by_default(folder):
    """On loopback it is on; what is in its way is a warning, unless somebody has asked for it."""
    own, at = ["--listen", "127.0.0.1:0", "--http", "off"], "127.0.0.1:1883"

    def said(*args, before=()):
        n = serving("--state", state(folder, "other"), *own, *args, listen=None, http=None, env=environment(), before=before)
        warned = re.search(r"level=warn event=mqtt_off text=\"([^\n]*)\"", n.err)
        assert n.end(signal.SIGTERM) == 0
        ready = n.ready  # the line of JSON says it, too
        assert "mqtt" in ready and ready.get("mqtt_off") == (warned.group(1).replace("\\\"", "\"") if warned else None), (ready, warned)
        return ready["mqtt"], warned and warned.group(1)
    n = serving("--state", state(folder), *own, listen=None, http=None, env=environment())
    assert n.mqtt == [at], n.ready
    with socket.create_connection(("127.0.0.1", 1883), DEADLINE) as s:
        s.sendall(b"\x10\x0d\0\4MQTT\4\2\0\0\0\1a")
        assert s.recv(4) == b"\x20\2\0\0"
    mqtt, warned = said()
    assert mqtt is None and at in warned, (mqtt, warned)
    err = fails(folder, "--state", state(folder, "other"), *own, "--mqtt", at)
    assert "busy" in err and at in err, err
    p = Process([maculad, "--state", state(folder, "other"), *own], environment(), text=True)
    p.expect("out", r"^mqtt +off: .*in use")
    assert p.end(signal.SIGTERM) == 0
    assert n.end(signal.SIGTERM) == 0
    assert said("--mqtt", "off") == (None, None)
    mqtt, warned = said(before=["sh", "-c", 'ulimit -n 4096; exec "$@"', "sh"])
    assert mqtt is None and "file descriptors" in warned, (mqtt, warned)
    least = int(re.search(r"total (\d+)", subprocess.run([maculad, "--plan", "--mqtt", "off"], stdout=subprocess.PIPE, text=True, check=True,
                                                         env=environment({"HOME": folder})).stdout).group(1))
    mqtt, warned = said("--memory-max", "%dMiB" % least)
    assert mqtt is None and "memory_max" in warned, (mqtt, warned)
    assert said("--memory-max", "%dMiB" % (least + 2)) == ([at], None)


def case_default_http_port_taken_is_a_warning(folder):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", 8080))
            s.listen(1)
        except OSError:
            pass  # another program has it: as good
        n = Node(folder, http=None)
        assert n.http is None, n.said.out
        n.said.expect("err", r"level=warn event=http_off text=\".*127\.0\.0\.1:8080")
        assert n.stop() == 0


def case_udp_port_taken(folder):
    n = Node(folder)
    err = fails(folder, "--state", state(folder, "other"), "--listen", n.listen, "--http", "off")
    assert err.startswith("maculad: busy: ") and n.listen in err and "--listen" in err, err
    assert n.stop() == 0


def case_state_folder_in_use(folder):
    n = Node(folder)
    err = fails(folder, "--state", state(folder), *OWN)
    assert err.startswith("maculad: busy: ") and "in use by another maculad" in err and "--state" in err, err
    assert n.stop() == 0


def case_state_folder_not_writable(folder):
    path = write(folder, "file", "")
    err = fails(folder, "--state", os.path.join(path, "state"), *OWN)
    assert "--state" in err and path in err, err


def case_disk_full(folder):
    def no_space():  # a file may not grow: the write fails as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    p = subprocess.run([maculad, "--state", state(folder), *OWN], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, env=environment(), timeout=DEADLINE, preexec_fn=no_space)
    err = p.stderr.decode()
    assert p.returncode == 1 and re.fullmatch(r"maculad: [a-z_]+: [^\n]*identity\.pem[^\n]*\n", err), (p.returncode, err)
    assert not os.path.exists(os.path.join(state(folder), "identity.pem")), "half an identity was left"
    n = Node(folder)  # and once there is room again, it starts
    assert n.stop() == 0


def case_identity_is_kept(folder):
    n = Node(folder)
    path = os.path.join(state(folder), "identity.pem")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert n.stop() == 0
    again = Node(folder)
    assert again.id == n.id
    assert again.stop() == 0
    os.chmod(path, 0o644)
    err = fails(folder, "--state", state(folder), *OWN)
    assert "chmod 600" in err, err


P384 = """-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDDj2zBcVLLsuXvRlwQM
X+rDOrCTgV39Iyzim/hr4spK6vxJP7JPEkcWcbbBjIvfpJehZANiAATF6pQ0J2YS
JryzSvUPZeUDzae0AKiEtSL0olBnlUY0GYKuJU8ARHnKbx0Kj0V4uxIVUYHhO5Vh
pXXhx74wEvRqq3IsiZ1gtaPS5ebRMrQ89kN5fymeBH/GYjX1bJkZ10Q=
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBrDCCATKgAwIBAgIUGztXGxjv2pPfr9c6XFb0GVHK1kEwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMzAwMDMzNDVaGA8yMTI2MTEwNjAwMzM0NVow
DDEKMAgGA1UEAwwBeDB2MBAGByqGSM49AgEGBSuBBAAiA2IABMXqlDQnZhImvLNK
9Q9l5QPNp7QAqIS1IvSiUGeVRjQZgq4lTwBEecpvHQqPRXi7EhVRgeE7lWGldeHH
vjAS9GqrciyJnWC1o9Ll5tEytDz2Q3l/KZ4Ef8ZiNfVsmRnXRKNTMFEwHQYDVR0O
BBYEFCoLHtHfsd5lvG5PpNGhNXZItRAWMB8GA1UdIwQYMBaAFCoLHtHfsd5lvG5P
pNGhNXZItRAWMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDaAAwZQIxALmn
kJr/MbZeBbmqYNkXI2s1r057C6ggAVotcm6YUDXONmjTvRhVyKLDpzpgM7fN4QIw
GduJ4rO/h7CmtC5sP5Wdu5IuXWhd5rXH/p7tQ4AEdWnkvbP4AD1QrbUtpXPcF4Tg
-----END CERTIFICATE-----
"""


def case_own_certificate(folder):
    n = Node(folder)
    assert n.stop() == 0
    pem = shutil.copy(os.path.join(state(folder), "identity.pem"), os.path.join(folder, "own.pem"))
    for args in (["--cert", pem], ["--cert", pem, "--key", pem]):
        own = Node(folder, "--state", state(folder, "second"), *args)
        assert own.id == n.id
        assert own.stop() == 0
    bad = write(folder, "bad.pem", "not a certificate\n")
    err = fails(folder, "--state", state(folder), "--cert", bad, *OWN)
    assert err.startswith("maculad: certificate_invalid: --cert: ") and bad in err, err
    err = fails(folder, "--state", state(folder), "--cert", os.path.join(folder, "none.pem"), *OWN)
    assert "none.pem" in err, err
    other = write(folder, "p384.pem", P384, 0o600)
    err = fails(folder, "--state", state(folder), "--cert", other, *OWN)
    assert err.startswith("maculad: certificate_invalid: --cert: a node's key must be Ed25519 or P-256; ") and "openssl req" in err, err
    write(state(folder), "identity.pem", "rubbish", 0o600)
    err = fails(folder, "--state", state(folder), *OWN)
    assert "identity.pem" in err, err


def case_usage(folder):
    assert "did you mean --max-clients?" in fails(folder, "--max-client", "3", code=2)
    for words in [], ["--access", "open"]:
        assert "0.0.0.0:0 can be reached by others" in fails(folder, "--listen", "0.0.0.0:0", *words, code=2)
    assert "tokens: [{file: /x, grant: " in fails(folder, "--access", "token:/x", code=2)
    assert "MACULA_MAX_CLIENTS" in fails(folder, "--check", env={"MACULA_MAX_CLIENTS": "none"}, code=2)
    path = write(folder, "m.yaml", "realm: a\nmax_client: 3\n")
    err = fails(folder, "-c", path, code=2)
    assert err == "maculad: invalid_argument: %s:2: unknown key 'max_client'; did you mean 'max_clients'?\n" % path, err


def case_output_without_a_place(folder):
    for words in ["--plan"], ["--plan", "--json"], ["--check"], ["--help"]:
        with open("/dev/full", "w") as full:
            p = subprocess.run([maculad, *words, "--state", state(folder)], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=DEADLINE)
        assert p.returncode == 1 and p.stderr.startswith(b"maculad: io_error: not all of the output"), (words, p)


def case_check(folder):
    def check(*args):
        return subprocess.run([maculad, "--check", "--state", state(folder), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=environment(), timeout=DEADLINE)
    example = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "maculad.example.yaml")
    p = check("-c", example)
    assert (p.returncode, p.stdout, p.stderr) == (0, b"ok\n", b""), p
    assert not os.path.exists(state(folder)), "--check made the state folder"
    path = write(folder, "m.yaml", "realm: a\naccess: %s/none\n" % folder)
    err = fails(folder, "--check", "--state", state(folder), "-c", path, code=2)
    assert "%s:2: access: " % path in err, err
    short, files = write(folder, "short", "sesame\n", 0o600), ["-c", path]
    for text, said in (("gratns: {}\n", "access.yaml:1: unknown key 'gratns'"), ("grants: {a: {pub: ['a..b']}}\n", "access.yaml:1: pub: 'a..b'"),
                       ("grants: {a: }\ntokens: [{file: %s, grant: a}]\n" % short, "access.yaml:2: "),
                       ("realm_keys: [xyz]\n", "access.yaml:1: realm_keys: an id of 64 hexadecimal digits")):
        write(folder, "m.yaml", "access: %s\n" % write(folder, "access.yaml", text))
        err = fails(folder, "--check", "--state", state(folder), *files, code=2)
        assert said in err, err
    write(folder, "m.yaml", "access: %s\n" % write(folder, "access.yaml", "grants: {a: }\ntokens: [{token: 0123456789abcdef, grant: a}]\n", 0o644))
    assert "chmod 600" in fails(folder, "--check", "--state", state(folder), *files, code=2)
    write(folder, "m.yaml", "realm_keys: [xyz]\n")
    assert "realm_keys: " in fails(folder, "--check", "--state", state(folder), *files, code=2)
    made = subprocess.run([os.path.join(build, "macula"), "realm", "new", state(folder, "realm.key")], stdout=subprocess.PIPE, check=True,
                          env=environment(), timeout=DEADLINE)
    node = subprocess.run([os.path.join(build, "macula"), "id", "--identity", make_identity(folder, "node")], stdout=subprocess.PIPE, check=True,
                          env=environment(), timeout=DEADLINE)
    for role, wrong in ("node", None), ("client", "is for the role client: a node's is made with --role node"):
        given = subprocess.run([os.path.join(build, "macula"), "pass", "new", "--key", state(folder, "realm.key"), "--role", role, "--id",
                                node.stdout.decode().strip()], stdout=subprocess.PIPE, check=True, env=environment(), timeout=DEADLINE)
        words = ["--listen", "0.0.0.0:0", "--realm-keys", re.search(r"[0-9a-f]{64}", made.stdout.decode()).group(), "--cert",
                 state(folder, "node.pem"), "--pass", write(folder, "pass", given.stdout.decode())]
        if wrong:
            assert wrong in fails(folder, "--check", "--state", state(folder), *words, code=2)
        else:
            p = check(*words)
            assert (p.returncode, p.stdout, p.stderr) == (0, b"ok\n", b""), p
    p = subprocess.run([maculad, "--help"], stdout=subprocess.PIPE, timeout=DEADLINE)
    assert p.returncode == 0 and b"--max-clients N" in p.stdout
    p = subprocess.run([maculad, "--version"], stdout=subprocess.PIPE, timeout=DEADLINE)
    assert p.returncode == 0 and p.stdout.startswith(b"maculad ")


def case_precedence(folder):
    path = write(folder, "m.yaml", "max_clients: 1\nmax_services: 1\nmax_calls: 1\nlog_format: json\n")
    n = Node(folder, "--max-calls", "3", env={"MACULA_MAX_CALLS": "2", "MACULA_MAX_SERVICES": "2", "MACULA_CONFIG": path})
    s = json.loads(n.get("/api/status")[2])
    assert [s[k]["limit"] for k in ("clients", "services", "pending_calls")] == [1, 2, 3], s
    line = n.said.expect("err", r"^\{.*\"started\".*\}$").group(0)
    assert json.loads(line)["node"] == n.id, line
    assert n.stop() == 0


def case_reload(folder):
    token = write(folder, "token", "one\n", 0o600)
    path = write(folder, "m.yaml", "max_clients: 5\nhttp_token: %s\nrealm: a\n" % token)
    n = Node(folder, "-c", path)
    said = "max_clients: 6\nhttp_token: %s\nrealm: %%s\nlog_level: debug\n" % token

    def get(word):
        return n.get("/api/status", headers={"Authorization": "Bearer " + word})
    assert get("one")[0] == 200
    write(folder, "token", "two\n", 0o600)
    write(folder, "m.yaml", said % "b")  # the realm cannot change, so nothing does
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"level=error event=reload_failed code=invalid_argument text=\"realm: changed, [^\"]*restart")
    assert json.loads(get("one")[2])["clients"]["limit"] == 5 and get("two")[0] == 401
    write(folder, "m.yaml", said % "a")
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"event=reloaded")
    assert get("one")[0] == 401
    s = json.loads(get("two")[2])
    assert s["clients"]["limit"] == 6 and s["realm"] == "a", s
    write(folder, "m.yaml", "max_clients: 7\nreaml: a\n")
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"level=error event=reload_failed .*m\.yaml:2: unknown key 'reaml'; did you mean 'realm'\?")
    assert json.loads(get("two")[2])["clients"]["limit"] == 6
    assert n.stop() == 0


def case_reload_within_memory_max(folder):
    conf = write(folder, "m.yaml", "memory_max: 2GiB\nmax_clients: 100\n")
    n = Node(folder, "-c", conf)
    before = json.loads(n.get("/api/memory")[2])
    assert 0 < before["plan_bytes"] <= before["memory_max_bytes"] == 2 << 30, before
    write(folder, "m.yaml", "memory_max: 64GiB\nmax_clients: 900000\n")
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"level=error event=reload_failed code=out_of_memory .*memory_max 2048 MiB")
    assert json.loads(n.get("/api/memory")[2])["plan_bytes"] == before["plan_bytes"]
    write(folder, "m.yaml", "memory_max: 2GiB\nmax_clients: 200\n")
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"event=reloaded")
    assert json.loads(n.get("/api/memory")[2])["plan_bytes"] > before["plan_bytes"]
    assert n.stop() == 0


def case_reload_certificate(folder):
    n = Node(folder, "--cert", shutil.copy(make_identity(folder, "one"), state(folder, "node.pem")))
    assert ended(macula(folder, n, "pub", "a", "1"))[0] == 0
    shutil.copy(make_identity(folder, "two"), state(folder, "node.pem"))
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"event=reloaded")
    code, _, err = ended(macula(folder, n, "pub", "a", "1"))
    assert code == 3 and err.startswith("macula: identity_mismatch: "), (code, err)
    code, out, err = ended(macula(folder, n, "--insecure", "--json", "status"))
    assert code == 0 and json.loads(out)["node_id"] != n.id, (code, out, err)
    write(folder, "node.pem", "rubbish")
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"event=reload_failed .*node\.pem")
    assert ended(macula(folder, n, "--insecure", "pub", "a", "1"))[0] == 0
    assert n.stop() == 0


def make_identity(folder, name):
    path = os.path.join(folder, name + ".pem")
    subprocess.run([os.path.join(build, "macula"), "id", "new", "--identity", path], stdout=subprocess.DEVNULL, check=True, env=environment(),
                   timeout=DEADLINE)
    return path


def case_access_token(folder):
    token, wrong = (token_file(os.path.join(folder, name)) for name in ("token", "wrong"))
    n = Node(folder, "--access", access_file(os.path.join(folder, "access.yaml"), client=token))
    for args in ([], ["--token-file", wrong]):
        code, _, err = ended(macula(folder, n, *args, "pub", "a", "1"))
        assert code == 3 and re.fullmatch(r"macula: not_authorized: [^\n]*token[^\n]*\n", err), (code, err)
    assert ended(macula(folder, n, "--token-file", token, "pub", "a", "1"))[0] == 0
    shutil.copy(wrong, token)
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"event=reloaded")
    assert ended(macula(folder, n, "--token-file", wrong, "pub", "a", "1"))[0] == 0
    assert n.stop() == 0
    n = Node(folder)  # open to everybody, so that it knows no token: who has one is not to take it for the other
    code, _, err = ended(macula(folder, n, "--token-file", wrong, "pub", "a", "1"))
    assert code == 3 and re.fullmatch(r"macula: not_authorized: [^\n]*without proving that it knows the access token[^\n]*\n", err), (code, err)
    assert ended(macula(folder, n, "pub", "a", "1"))[0] == 0
    assert n.stop() == 0


def ipv6_here():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def case_both_families(folder):
    if not ipv6_here():
        why = fails(folder, "--state", state(folder), "--http", "off", "--listen", "127.0.0.1:0,[::1]:0")
        assert "[::1]:0" in why or "IPv6" in why, why
        return
    n = Node(folder, listen="127.0.0.1:0,[::1]:0")
    six = n.said.listen[1]
    assert ended(macula(folder, n, "pub", "kept", "four", "--retain"))[0] == 0
    code, out, err = ended(macula(folder, n, "sub", "kept", "--count", "1", server=six))
    assert (code, out) == (0, "kept four\n"), (code, out, err)
    assert n.stop() == 0


def case_drain(folder):
    """SIGTERM with a call in flight: not ready any more, nobody new, the call is answered, then all are told and it ends."""
    for left in reversed(range(5)):
        own = tempfile.mkdtemp(dir=folder)
        stopped = []
        try:
            return drained(own, stopped)
        except (AssertionError, OSError, ValueError, http.client.HTTPException):
            # A node waits for 5 s at most. On an idle machine the call is let go within some 0.1 s, and its failure is the node's.
            if not left or not stopped or stopped[1] - stopped[0] < 1:
                raise


def answer(go):
    """False while no handler reads there."""
    try:
        opened = os.open(go, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    os.write(opened, b'"done"')
    os.close(opened)
    return True


def drained(folder, stopped):
    """stopped: when the node was told to end, and when its call in flight was let go."""
    n = Node(folder)
    go = os.path.join(folder, "go")
    os.mkfifo(go)
    server = Process([os.path.join(build, "macula"), "-s", n.listen, "serve", "slow", "--exec", "echo running >&2; cat %s" % go],
                     environment({"XDG_CONFIG_HOME": state(folder, "user")}), text=True)
    server.expect("err", r"^serving ")
    caller = macula(folder, n, "call", "slow", "--timeout", "%ds" % DEADLINE)
    until(lambda: json.loads(n.get("/api/status")[2])["pending_calls"]["count"], lambda: "no call is pending")
    stopped += [time.monotonic(), float("inf")]
    n.process.send_signal(signal.SIGTERM)
    n.said.expect("err", r"event=stopping")
    assert n.get("/ready") == (503, "text/plain", "Not ready")
    assert json.loads(n.get("/health")[2])["ready"] is False and n.get("/live")[0] == 200
    code, _, err = ended(macula(folder, n, "pub", "a", "1"))
    assert code == 3 and "shutting_down" in err, (code, err)
    until(lambda: answer(go) or n.process.poll() is not None, lambda: "nobody reads " + go)
    stopped[1] = time.monotonic()
    assert ended(caller)[:2] == (0, '"done"\n')
    assert n.said.wait() == 0
    server.expect("err", r"shutting")
    assert server.end(signal.SIGTERM) == 0


def case_second_start_after_kill(folder):
    n = Node(folder)
    n.stop(signal.SIGKILL)
    again = Node(folder)
    assert again.id == n.id
    assert again.stop() == 0


def case_reader_that_stops_does_not_stop_the_node(folder):
    read, write_end = os.pipe()
    p = subprocess.Popen([maculad, "--json", "--state", state(folder), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-level", "debug"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=write_end, env=environment())
    live.append(p)
    os.close(write_end)
    at = json.loads(p.stdout.readline())["http"]
    for _ in range(60):  # reloads write lines that nobody reads: more than the pipe holds is not needed to show that it goes on
        p.send_signal(signal.SIGHUP)
    c = http.client.HTTPConnection(at, timeout=DEADLINE)
    c.request("GET", "/live")
    assert c.getresponse().status == 200
    c.close()
    p.terminate()
    assert p.wait(DEADLINE) == 0
    live.remove(p)
    os.close(read)


def case_ready_is_told(folder):
    path = os.path.join(folder, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(DEADLINE)
        n = Node(folder, env={"NOTIFY_SOCKET": path})
        assert b"READY=1" in s.recv(4096)
        assert n.stop() == 0
        assert b"STOPPING=1" in s.recv(4096)


def redated(path, begins=b"200101000000Z", ends=b"99991231235959Z"):
    """The certificate that a maculad or macula made, with other times. That nobody signed them shows only where a CA counts."""
    text = open(path).read()
    head, body, tail = re.search(r"(.*-----BEGIN CERTIFICATE-----)(.*)(-----END CERTIFICATE-----.*)", text, re.S).groups()
    der = base64.b64decode(body)
    for tag, time_of in (b"\x17\x0d", begins), (b"\x18\x0f", ends):
        at = der.index(tag) + 2
        der = der[:at] + time_of + der[at + len(time_of):]
    with open(path, "w") as f:
        f.write(head + "\n" + base64.encodebytes(der).decode() + tail)


def case_certificate_begins_after_now(folder):
    """As it is for a machine without a clock of its own, which begins in 1970: what one made oneself is taken whatever the clock says."""
    n = Node(folder)
    code, mine, err = ended(macula(folder, n, "id"))
    assert code == 0, err
    was = n.id
    assert n.stop() == 0
    redated(os.path.join(state(folder), "identity.pem"), begins=b"480101000000Z")
    redated(os.path.join(state(folder, "user"), "macula", "identity.pem"), begins=b"480101000000Z")
    n = Node(folder)
    assert n.id == was
    code, out, err = ended(macula(folder, n, "id"))
    assert (code, out) == (0, mine), err
    code, _, err = ended(macula(folder, n, "pub", "a", "x"))
    assert (code, but_first_contact(err)) == (0, ""), err


def case_certificate_ends(folder):
    """Neither a node nor a client comes to the end of its certificate without a word."""
    soon = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 10 * 86400 + 3600)).encode()
    n = Node(folder)
    assert ended(macula(folder, n, "id"))[0] == 0
    assert n.get("/ready")[2] == "Ready"
    assert re.search(r"^macula_certificate_remaining_seconds \+Inf$", n.get("/metrics")[2], re.M)
    own = os.path.join(state(folder), "identity.pem")
    redated(own, ends=soon)
    redated(os.path.join(state(folder, "user"), "macula", "identity.pem"), ends=soon)
    n.process.send_signal(signal.SIGHUP)
    n.said.expect("err", r"level=warn event=certificate_ends text=\"this node's certificate ends in 10 days: renew it and send SIGHUP\"")
    code, _, text = n.get("/ready")
    assert code == 200 and text == "Ready: this node's certificate ends in 10 days: renew it and send SIGHUP", text
    left = float(re.search(r"^macula_certificate_remaining_seconds (\d+)$", n.get("/metrics")[2], re.M).group(1))
    assert 9 * 86400 < left < 11 * 86400, left
    code, _, err = ended(macula(folder, n, "pub", "a", "x"))
    assert (code, but_first_contact(err)) == (0, "macula: warning: this client's certificate ends in 10 days: renew it\n"), err
    redated(own)
    n.process.send_signal(signal.SIGHUP)
    until(lambda: n.get("/ready")[2] == "Ready", lambda: n.get("/ready"))


def own_hosts(folder):
    """A file for the `hosts` of a node."""
    return write(folder, "hosts", "127.0.0.1 localhost\n")


def name_leads_to(path, *addresses):
    """In its place: it is what a node has mounted."""
    with open(path, "w") as f:
        f.write("127.0.0.1 localhost\n" + "".join("%s mesh.test\n" % a for a in addresses))


def until(what, why):
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, why()
        time.sleep(0.05)


def linked(n):
    peers = json.loads(n.get("/api/peers")[2])["peers"]
    return sorted(p["id"] for p in peers if p["state"] == "connected")


def case_join_by_a_name_of_several_addresses(folder):
    """Of its addresses one refuses, one is silent, one is the node's own, and at the others are nodes."""
    hosts = own_hosts(folder)
    for left in reversed(range(10)):
        a = Node(folder, "--name", "a", listen="127.0.0.14:0", home="a")
        port = a.listen.split(":")[1]
        with contextlib.ExitStack() as free:  # but where another program has this port on all addresses
            try:
                for last in 12, 13, 15:
                    s = free.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    s.bind(("127.0.0.%d" % last, int(port)))
                break
            except OSError as e:
                assert e.errno == errno.EADDRINUSE and left, e
        assert a.stop() == 0
    b = Node(folder, "--name", "b", listen="127.0.0.15:" + port, home="b")
    name_leads_to(hosts, "127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14", "127.0.0.15")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.12", int(port)))
        c = Node(folder, "--join", "mesh.test:" + port, "--name", "c", listen="127.0.0.13:" + port, home="c", hosts=hosts)
        c.said.expect("err", r'event=link_up peer="a"')
        c.said.expect("err", r'event=link_up peer="b"')
        c.said.expect("err", r"event=join_self address=127.0.0.13:%s " % port)
        c.said.expect("err", r"event=join_failed address=127.0.0.11:%s " % port)
        c.said.expect("err", r"event=join_failed address=127.0.0.12:%s " % port)
        until(lambda: linked(c) == sorted([a.id, b.id]), lambda: linked(c))
        d = Node(folder, "--join", "macula://%s@mesh.test:%s" % (b.id, port), home="d", hosts=hosts)
        d.said.expect("err", r'event=link_up peer="b"')
        d.said.expect("err", r"event=join_failed address=127.0.0.14:%s code=identity_mismatch" % port)


def case_join_by_a_name_that_comes_to_lead_elsewhere(folder):
    """A node that is alone looks its name up again."""
    hosts = own_hosts(folder)
    a = Node(folder, "--name", "a", listen="127.0.0.14:0", home="a")
    port = a.listen.split(":")[1]
    b = Node(folder, "--join", "mesh.test:" + port, home="b", hosts=hosts)
    b.said.expect("err", r"event=join_unknown name=mesh.test:" + port)
    name_leads_to(hosts, "127.0.0.11", "127.0.0.14")
    b.said.expect("err", r'event=link_up peer="a"')
    until(lambda: linked(b) == [a.id], lambda: linked(b))


def alone(case):
    folder = tempfile.mkdtemp(prefix="macula-e2e-")
    try:
        case(folder)
    finally:
        for p in list(live):
            p.kill()
            p.wait()
            live.remove(p)
        end_all()
        shutil.rmtree(folder, ignore_errors=True)


failed = 0
wanted = sys.argv[2:]
for name, case in [(k[5:], v) for k, v in list(globals().items()) if k.startswith("case_")]:
    if wanted and name not in wanted:
        continue
    try:
        tried(name, lambda: alone(case))
        print("ok %s" % name, flush=True)
    except Exception as e:  # a case's failure is a line, not the end
        failed += 1
        print("FAIL %s: %s" % (name, " ".join(("%s %s" % (type(e).__name__, e)).split())), flush=True)
sys.exit(1 if failed else 0)
