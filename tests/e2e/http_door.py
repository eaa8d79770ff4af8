#!/usr/bin/env python3
"""Publish, subscribe, call and the last retained over HTTP, with curl and sockets: tests/e2e/http_door.py BUILD_FOLDER [CASE...].

Prints "ok NAME" or "FAIL NAME: why" a case. What docs/openapi.json promises is held against the node: each status of each path is met.
"""
import base64
import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from _node import Node, build, until
from _process import DEADLINE, end_all, token_file

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
with open(os.path.join(ROOT, "docs", "openapi.json")) as f:
    PROMISED = json.load(f)
wanted = sys.argv[2:]
met = set()  # (path of the description, method, status)


def matching(path):
    """The path of the description that this one is of."""
    path = path.split("?")[0]
    for p in PROMISED["paths"]:
        if re.fullmatch(re.sub(r"\{[^}]*\}", ".*", p), path):
            return p
    return None


def judged(method, path, status, headers, body):
    """Holds an answer against the description; that of another method is in none."""
    at = matching(path)
    if not at or method.lower() not in PROMISED["paths"][at]:
        return
    said = PROMISED["paths"][at][method.lower()]["responses"].get(str(status))
    assert said, "docs/openapi.json: %s %s does not have the status %d" % (method, at, status)
    said = PROMISED["components"]["responses"][said["$ref"].rsplit("/", 1)[1]] if "$ref" in said else said
    kind = (headers.get("Content-Type") or "").split(";")[0]
    assert not body or kind in said.get("content", {}), (method, at, status, kind)
    if kind == "application/json" and body and status >= 400 and at.split("/")[1] in ("pub", "sub", "call", "last"):
        answer = json.loads(body)
        assert set(answer) >= {"error", "message"} and answer["error"] and answer["message"], answer
    met.add((at, method.lower(), str(status)))


def ask(n, method, path, body=None, user=None, token=None, source="127.0.0.1", **headers):
    """Status, headers and bytes. Headers by keyword: Last_Event_ID for Last-Event-ID."""
    host, port = n.http.rsplit(":", 1)
    c = http.client.HTTPConnection(host, int(port), timeout=DEADLINE, source_address=(source, 0))
    sent = {k.replace("_", "-"): v for k, v in headers.items()}
    if user:
        sent["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    if token:
        sent["Authorization"] = "Bearer " + token
    try:
        c.request(method, path, body, sent)
        r = c.getresponse()
        text = r.read()
        judged(method, path, r.status, r.headers, text)
        return r.status, r.headers, text
    finally:
        c.close()


def fails(n, method, path, status, error, *args, **more):
    got, headers, body = ask(n, method, path, *args, **more)
    assert got == status, (path, got, body)
    answer = json.loads(body)
    assert answer["error"] == error, answer
    return answer["message"]


class Events:
    """A stream of events, read by curl: what comes is a list of (event, data)."""

    def __init__(self, n, path, *more):
        self.p = subprocess.Popen(["curl", "--silent", "--no-buffer", "--include", "--max-time", str(DEADLINE), *more, "http://%s%s" % (n.http, path)],
                                  stdout=subprocess.PIPE)
        head = self.p.stdout.readline()
        assert b" 200 " in head, head
        judged("GET", path, 200, {}, b"")
        while self.p.stdout.readline().strip():
            pass

    def next(self):
        event = data = None
        while line := self.p.stdout.readline().decode():
            if line.startswith("event: "):
                event = line[7:].strip()
            elif line.startswith("data: "):
                data = json.loads(line[6:])
            elif not line.strip() and event:
                return event, data
        return None

    def message(self):
        event, data = self.next()
        assert event == "message", (event, data)
        return data

    def end(self):
        self.p.kill()
        self.p.wait()
        self.p.stdout.close()


def curl(*args, stdin=None):
    return subprocess.run(["curl", "--silent", "--show-error", "--max-time", str(DEADLINE), *args], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False).stdout


def stay(n, path, source="127.0.0.1"):
    """A request that is sent and not read."""
    host, port = n.http.rsplit(":", 1)
    s = socket.create_connection((host, int(port)), DEADLINE, source_address=(source, 0))
    s.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
    return s


# ---- cases -----------------------------------------------------------------------------------------------------------------
def case_five_lines(folder):
    """Those that a newcomer tries."""
    with Node(folder) as n:
        where = n.http
        e = Events(n, "/sub/plant.**")
        assert curl("-d", "21.5", where + "/pub/plant.press.temp") == b"{}\n"
        m = e.message()
        assert m["topic"] == "plant.press.temp" and m["payload"] == "21.5" and m["publisher"]["node"] == n.id, m
        assert "headers" not in m and len(m["id"]) == 32, m  # curl -d says of itself that it is a form
        serve = n.macula("serve", "math.add", "--exec", "jq .a+.b") if shutil.which("jq") else n.macula("serve", "math.add", "--reply", "5")
        serve.expect("err", r"^serving ")
        assert json.loads(curl("-d", '{"a":2,"b":3}', where + "/call/math.add")) == 5
        assert curl(where + "/last/plant.**") == b"[]\n"
        assert curl("-d", "on", where + "/pub/plant/lamp?retain&qos=1") == b"{}\n"
        last = json.loads(curl(where + "/last/plant.**"))
        assert [(x["topic"], x["payload"], x["retain"]) for x in last] == [("plant.lamp", "on", True)], last
        e.end()
        until("the session of a reader that is gone ends", lambda: n.metric("http_streams") == 0)


def case_publish(folder):
    with Node(folder) as n:
        e = Events(n, "/sub/a.**", "-H", "Last-Event-ID: 00")
        assert e.next()[0] == "gap"
        sub = n.sub("--json", "a.**")
        for path, body, more in (("/pub/a.1?qos=1", b"x", {}), ("/pub/a/2?qos=2&expires=1h", b"\xff\x00", {"Content_Type": "application/octet-stream"}),
                                 ("/pub/a.3?retain=1", b"r", {"Macula_Header_Unit": "C"}), ("/pub/a.%C3%A4", b"", {})):
            status, _, text = ask(n, "POST", path, body, **more)
            assert (status, text) == (200, b"{}\n"), (path, status, text)
        got = [e.message() for _ in range(4)]
        assert [m["topic"] for m in got] == ["a.1", "a.2", "a.3", "a.\u00e4"], got
        assert got[0]["qos"] == 1 and got[1]["payload_base64"] == "/wA=" and 3590000 < got[1]["expires_ms"] <= 3600000, got
        assert got[1]["headers"] == [{"name": "macula.content-type", "value": "application/octet-stream"}], got[1]
        assert got[2]["headers"] == [{"name": "unit", "value": "C"}], got[2]
        sub.expect("out", r'"topic":"a\.3".*"name":"unit"')  # as a native client sees it
        assert "expected" in fails(n, "POST", "/pub/a?qos=3", 400, "invalid_argument", b"x")
        assert "500ms" in fails(n, "POST", "/pub/a?expires=soon", 400, "invalid_argument", b"x")
        assert "%00" in fails(n, "POST", "/pub/a..b", 400, "invalid_topic", b"x")
        for hostile in "/pub/a%00b", "/pub/" + "a" * 256, "/pub/" + ".a" * 40, "/pub/a.%2A", "/pub/%2e%2e/%2e%2e/etc", "/pub/":
            fails(n, "POST", hostile, 400, "invalid_topic", b"x")
        assert "larger" in fails(n, "POST", "/pub/a", 413, "payload_too_large", b"x" * (1 << 20 | 1))
        fails(n, "POST", "/pub/a", 413, "frame_too_large", b"x" * (1 << 20))
        status, _, text = ask(n, "POST", "/pub/a.big", b"y" * 1000000)
        assert status == 200 and len(e.message()["payload"]) == 1000000, (status, text)
        e.end()


def case_methods(folder):
    with Node(folder) as n:
        for path, right in ("/pub/a", "POST"), ("/call/a", "POST"), ("/sub/a", "GET, HEAD"), ("/last/a", "GET, HEAD"), ("/live", "GET, HEAD"):
            for method in "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH":
                if method in right.split(", "):
                    continue
                status, headers, text = ask(n, method, path, b"x" if method in ("POST", "PUT", "PATCH") else None)
                assert status == 405 and headers["Allow"] == right and (method == "HEAD") == (not text), (path, method, status, headers["Allow"])
        for path, kind in ("/sub/a", "text/event-stream"), ("/last/a", "application/json"), ("/live", "text/plain"):
            status, headers, text = ask(n, "HEAD", path)
            assert status == 200 and headers["Content-Type"].startswith(kind) and not text, (path, status)
        until("no stream is left", lambda: n.metric("http_streams") == 0)


def case_calls(folder):
    with Node(folder) as n:
        assert "serves" in fails(n, "POST", "/call/none", 404, "no_such_procedure", b"{}")
        fails(n, "POST", "/call/a..b", 400, "invalid_procedure", b"{}")
        fails(n, "POST", "/call/a?timeout=never", 400, "invalid_argument", b"{}")
        fails(n, "POST", "/call/a", 413, "payload_too_large", b"x" * (1 << 20 | 1))
        for body in b"{", b"a=1", b"{} {}", b"\xff", b"{}\0":
            assert "no JSON" in fails(n, "POST", "/call/a", 400, "invalid_argument", body)
        for path in "/sub/a..b", "/last/a..b":
            fails(n, "GET", path, 400, "invalid_topic")
        serve = n.macula("serve", "echo", "--exec", "cat")
        serve.expect("err", r"^serving ")
        broken = n.macula("serve", "broken", "--exec", "echo why >&2; exit 1")
        broken.expect("err", r"^serving ")
        slow = n.macula("serve", "slow", "--exec", "cat; exec sleep 600")
        slow.expect("err", r"^serving ")
        status, headers, text = ask(n, "POST", "/call/echo", b'{"a": [1, 2]}')
        assert (status, json.loads(text), headers["Content-Type"]) == (200, {"a": [1, 2]}, "application/json"), text
        assert json.loads(ask(n, "POST", "/call/echo")[2]) == {}
        status, _, text = ask(n, "POST", "/call/broken", b"{}")
        assert status == 502 and json.loads(text)["may_have_run"], text
        fails(n, "POST", "/call/slow?timeout=300ms", 504, "timeout", b"{}")
        host, port = n.http.rsplit(":", 1)
        with socket.create_connection((host, int(port)), DEADLINE) as s:  # whoever leaves cancels its call
            s.sendall(b"POST /call/slow?timeout=200s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
            until("the call is pending", lambda: json.loads(n.get("/api/status"))["pending_calls"]["count"] == 1)
        until("it is cancelled", lambda: json.loads(n.get("/api/status"))["pending_calls"]["count"] == 0)
        assert json.loads(ask(n, "POST", "/call/com.macula.node.status")[2])["node_id"] == n.id


def hashed(folder, name, password):
    said = subprocess.run([os.path.join(build, "macula"), "user", "add", name, "--access", os.path.join(folder, "access.yaml"), "--grant", name],
                          input=password + "\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=DEADLINE, check=False)
    assert said.returncode == 0, said


def case_users_and_tokens(folder):
    sent, native = secrets.token_urlsafe(), secrets.token_urlsafe()
    path = os.path.join(folder, "access.yaml")
    with open(path, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write("grants:\n  alice: {pub: ['a.${user}.**'], sub: ['a.**'], call: ['**']}\n"
                "  boss: {role: operator, pub: ['**'], sub: ['**'], call: ['**']}\n"
                "tokens:\n  - {token: %s, grant: boss, door: http}\n  - {token: %s, grant: boss}\n" % (sent, native))
    hashed(folder, "alice", "secret-1")
    hashed(folder, "boss", "secret-2")
    with Node(folder, "--access", path) as n:
        for method, at in ("POST", "/pub/a"), ("GET", "/sub/a"), ("POST", "/call/a"), ("GET", "/last/a"):
            assert "needed" in fails(n, method, at, 401, "not_authorized", b"x" if method == "POST" else None)
            assert "wrong" in fails(n, method, at, 401, "not_authorized", None, user="alice:wrong")
            assert "never sent" in fails(n, method, at, 401, "not_authorized", None, token=native)
            assert "pass" in fails(n, method, at, 401, "not_authorized", None, token="MACULA-PASS-" + "A" * 700)
            fails(n, method, at, 401, "not_authorized", None, Authorization="Digest x")
        for at in "/sub/a", "/last/a":
            wrong = [ask(n, "HEAD", at, **how)[0] for how in ({}, {"token": native}, {"user": "alice:wrong"}, {"token": sent})]
            assert wrong == [401, 401, 401, 200], (at, wrong)
        assert ask(n, "HEAD", "/sub/b", user="alice:secret-1")[0] == 403
        assert ask(n, "GET", "/api/status")[0] == 401 and ask(n, "GET", "/api/status", user="alice:secret-1")[0] == 403
        assert ask(n, "GET", "/api/status", user="boss:secret-2")[0] == 200 and ask(n, "GET", "/api/status", token=sent)[0] == 200
        e = Events(n, "/sub/a.**", "--user", "boss:secret-2")
        assert ask(n, "POST", "/pub/a.alice.1?qos=1", b"x", user="alice:secret-1")[0] == 200
        m = e.message()
        assert m["publisher"]["kind"] == "user" and m["publisher"]["name"] == "alice", m
        for method, at in ("POST", "/pub/b"), ("GET", "/sub/b"), ("GET", "/last/b"):
            assert "not allowed" in fails(n, method, at, 403, "forbidden", b"x" if method == "POST" else None, user="alice:secret-1")
        rows = json.loads(ask(n, "GET", "/api/clients", token=sent)[2])["clients"]
        assert {(r["door"], r["protocol"], r["user"]) for r in rows} >= {("http", "events", "boss"), ("http", "requests", "alice")}, rows
        for probe in "/live", "/ready", "/health", "/metrics":
            assert ask(n, "GET", probe)[0] == 200, probe
        with open(path) as f:
            text = f.read()
        with open(path, "w") as f:  # the boss goes, and so does what he reads
            f.write(re.sub(r"\n +'boss': \{password[^\n]*", "", text))
        n.process.p.send_signal(signal.SIGHUP)
        n.process.expect("err", r"event=reloaded")
        event, data = e.next()
        assert event == "end" and data["code"] == "not_authorized", (event, data)
        assert e.next() is None
        fails(n, "POST", "/pub/a", 401, "not_authorized", b"x", user="boss:secret-2")
        e.end()


def case_logins(folder):
    """What the page asks for: login.py has what it is good for."""
    path = os.path.join(folder, "access.yaml")
    with open(path, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write("default: guest\ngrants:\n  guest: {sub: ['**']}\n  boss: {role: operator, pub: ['**'], sub: ['**'], call: ['**']}\n")
    hashed(folder, "boss", "secret-2")
    with Node(folder, "--access", path) as n:
        own, good = {"Origin": "http://" + n.http}, b'{"user": "boss", "password": "secret-2"}'
        fails(n, "GET", "/api/session", 401, "not_authorized")
        fails(n, "POST", "/api/end", 401, "not_authorized", b"{}")
        fails(n, "POST", "/api/login", 401, "not_authorized", b'{"link": "x"}')
        for at in "/api/login", "/api/logout", "/api/end", "/api/session":
            assert ask(n, "GET" if at == "/api/session" else "POST", at, b"{}", Host="evil.test")[0] == 403
        for at, most in ("/api/login", 4096), ("/api/logout", 1024):
            fails(n, "POST", at, 413, "payload_too_large", b"x" * (most + 1))
        fails(n, "POST", "/api/login", 400, "invalid_argument", b"{}")
        status, headers, text = ask(n, "POST", "/api/login", good, **own)
        assert status == 200 and json.loads(text)["user"] == "boss", (status, text)
        own["Cookie"] = headers["Set-Cookie"].split(";")[0]
        assert ask(n, "GET", "/api/session", **own)[2] == text
        fails(n, "POST", "/api/end", 413, "payload_too_large", b"x" * 1025, **own)
        fails(n, "POST", "/api/end", 400, "invalid_argument", b"{}", **own)
        fails(n, "POST", "/api/end", 404, "not_found", b'{"client": "%s"}' % (b"ab" * 32), **own)
        s = n.sub("a", "--name", "victim")
        row = next(c for c in json.loads(ask(n, "GET", "/api/clients", **own)[2])["clients"] if c["name"] == "victim")
        assert json.loads(ask(n, "POST", "/api/end", json.dumps({"client": row["id"]}).encode(), **own)[2]) == {"ended": 1}
        s.expect("err", "an operator ended this connection")
        assert ask(n, "POST", "/api/logout", b"{}", **own)[0] == 200
        fails(n, "GET", "/api/session", 401, "not_authorized", **own)


def case_http_token(folder):
    """It makes an operator of /api, and no client where there are rules for those."""
    token = secrets.token_urlsafe()
    with Node(folder, "--http-token", token_file(os.path.join(folder, "token"), token)) as n:
        assert ask(n, "GET", "/api/status")[0] == 401 and ask(n, "GET", "/api/status", token=token)[0] == 200
        fails(n, "POST", "/pub/a", 401, "not_authorized", b"x")
        assert ask(n, "POST", "/pub/a", b"x", token=token)[0] == 200


def case_places(folder):
    """Streams take three quarters of the places at most, of one address its share; probes are answered all the same, and who leaves is seen."""
    with Node(folder, "--http-connections", "16", "--http-share", "12") as n, contextlib.ExitStack() as held:
        streams = [held.enter_context(stay(n, "/sub/a.%d" % i)) for i in range(12)]
        until("they are in", lambda: n.metric("http_streams") == 12)
        assert "http_connections" in fails(n, "GET", "/sub/b", 503, "busy")
        idle = [held.enter_context(stay(n, "")) for _ in range(100)]
        for path in "/live", "/ready", "/health", "/metrics":
            assert ask(n, "GET", path)[0] == 200, path
        del idle
        for s in streams[:4]:
            s.close()
        until("it is seen that they are gone", lambda: n.metric("http_streams") == 8)
        Events(n, "/sub/b").end()
    with Node(folder, "--http-connections", "16", "--http-share", "2", state="other") as n, contextlib.ExitStack() as held:
        for i in range(2):
            held.enter_context(stay(n, "/sub/a"))
        until("they are in", lambda: n.metric("http_streams") == 2)
        assert "http_share" in fails(n, "GET", "/sub/b", 503, "busy")
        assert ask(n, "GET", "/last/b", source="127.0.0.2")[0] == 200
    with Node(folder, state="third") as n, contextlib.ExitStack() as held:  # two addresses do not have all, unless they are let
        for i in range(60):
            held.enter_context(stay(n, "/sub/a", source="127.0.0.%d" % (2 + i % 2)))
        until("they have their shares", lambda: n.metric("http_streams") == 32)
        assert ask(n, "POST", "/pub/b?qos=1", b"x", source="127.0.0.4")[0] == 200
        Events(n, "/sub/b").end()


def begun(n, length, sent, source="127.0.0.1"):
    """A publish whose body is sent in part."""
    host, port = n.http.rsplit(":", 1)
    s = socket.create_connection((host, int(port)), DEADLINE, source_address=(source, 0))
    s.sendall(b"POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length + b"x" * sent)
    return s


def case_slow_bodies(folder):
    """What is announced takes no room before it comes, an address has a quarter of all, and who sends too slowly is ended."""
    def kept():
        return [r["bytes"] for r in json.loads(ask(n, "GET", "/api/status", source="127.0.0.3")[2])["memory"]["rows"] if r["name"] == "http"][0]

    with Node(folder) as n, contextlib.ExitStack() as held:
        slow = [held.enter_context(begun(n, 1000000, 1)) for _ in range(9)]
        until("they are in", lambda: n.metric("http_connections") >= 10)
        assert kept() < 1 << 20, kept()
        assert ask(n, "POST", "/pub/a", b"x" * 900000)[0] == 200

        def ended():
            for s in slow:
                with contextlib.suppress(OSError):
                    s.send(b"x")
            return "event=http_too_slow address=127.0.0.1" in n.process.err and n.metric("http_connections") <= 2

        until("they are ended", ended, pause=0.2)
        assert "its body came more slowly" in n.process.err, n.process.err
        many = [held.enter_context(begun(n, 900000, 899999)) for _ in range(2)]
        until("they have come", lambda: kept() > 2 << 20)
        assert "a quarter of http_pool" in fails(n, "POST", "/pub/a", 503, "out_of_memory", b"x" * 20000)
        assert ask(n, "POST", "/pub/a", b"x" * 900000, source="127.0.0.2")[0] == 200
        for s in many:
            s.sendall(b"x")
            assert b" 200 " in s.recv(65536)
        assert ask(n, "POST", "/pub/a", b"x" * 900000)[0] == 200


def case_slow_readers(folder):
    """Who does not read loses its own, and costs nobody anything: others have all of it, and publishers are answered."""
    with Node(folder, "--client-queue", "64KiB") as n, contextlib.ExitStack() as held:
        for _ in range(5):
            s = held.enter_context(stay(n, "/sub/flood"))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        until("they are in", lambda: n.metric("http_streams") == 5)
        e = Events(n, "/sub/flood")
        count = 0
        while n.metric("messages_dropped_total") + n.metric("http_events_lost_total") == 0:
            for _ in range(20):
                assert ask(n, "POST", "/pub/flood?qos=1", b"x" * 60000)[0] == 200
                assert e.message()["payload"] == "x" * 60000
            count += 20
        assert n.metric("http_streams") == 6
        n.process.expect("err", r"event=(http_events_dropped|messages_dropped) ")
        e.end()


def case_large_for_many(folder):
    """Each of many readers has all of a message that grows as it is written, and the list of what is retained has its end."""
    with Node(folder, "--http-share", "32") as n, contextlib.ExitStack() as stack:
        host, port = n.http.rsplit(":", 1)
        payload, answers = "\n\x7f" * 400000, []
        for _ in range(24):
            c = http.client.HTTPConnection(host, int(port), timeout=DEADLINE)
            stack.callback(c.close)
            c.request("GET", "/sub/large")
            answers.append(c.getresponse())
        assert ask(n, "POST", "/pub/large?retain=1", payload.encode())[0] == 200
        for r in answers:
            line = b""
            while not line.startswith(b"data: "):
                line = r.readline()
                assert line
            assert json.loads(line[6:])["payload"] == payload
        assert ask(n, "POST", "/pub/small?retain=1", b"x")[0] == 200
        assert sorted(len(m["payload"]) for m in json.loads(ask(n, "GET", "/last/*")[2])) == [1, len(payload)]
        assert n.metric("http_events_lost_total") == 0


def case_pages(folder):
    """A page of another origin reaches none of it, nor does one under a name that its author controls."""
    with Node(folder) as n:
        for method, at in ("POST", "/pub/a"), ("GET", "/sub/a"), ("POST", "/call/a"), ("GET", "/last/a"):
            body = b"x" if method == "POST" else None
            for headers in {"Origin": "http://127.0.0.1:1"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}, {"Host": "evil.test"}:
                fails(n, method, at, 403, "forbidden", body, **headers)
        assert ask(n, "POST", "/pub/a", b"x", Origin="http://" + n.http, Sec_Fetch_Site="same-origin")[0] == 200


def case_giant_headers(folder):
    with Node(folder) as n:
        host, port = n.http.rsplit(":", 1)
        for head in (b"GET /sub/" + b"a" * 40000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
                     b"POST /pub/a HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40000 + b"\r\nContent-Length: 1\r\n\r\nx",
                     b"POST /pub/a HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"Macula-Header-%d: y\r\n" % i for i in range(65)) +
                     b"Content-Length: 1\r\n\r\nx"):
            with socket.create_connection((host, int(port)), DEADLINE) as s:
                with contextlib.suppress(OSError):
                    s.sendall(head)
                    status = s.recv(65536).split(b" ")
                    assert status[1] in (b"400", b"413", b"414", b"431"), status
        for count, status in (64, b"200"), (65, b"414"), (6000, b"414"):
            with socket.create_connection((host, int(port)), DEADLINE) as s:
                s.sendall(b"GET /last/a?" + b"&".join([b"a=b"] * count) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert s.recv(65536).split(b" ")[1] == status, (count, status)
        assert ask(n, "POST", "/pub/a", b"x")[0] == 200


def case_ends_with_the_node(folder):
    n = Node(folder)
    e = Events(n, "/sub/a")
    n.process.p.send_signal(signal.SIGTERM)
    event = e.next()
    assert event is None or (event[0] == "end" and event[1]["code"] == "shutting_down"), event
    assert n.process.wait() == 0
    e.end()


def case_description(folder):
    """docs/openapi.json is served, is valid where there is a validator, and each of its statuses was met, but those for want of room."""
    with Node(folder) as n:
        assert json.loads(ask(n, "GET", "/openapi.json")[2]) == PROMISED
        for path in "/live", "/ready", "/health", "/metrics":
            assert ask(n, "GET", path, Host="evil.test")[0] == 403
        assert ask(n, "GET", "/api/nothing")[0] == 404 and ask(n, "GET", "/api/status?offset=x")[0] == 400
    with contextlib.suppress(ImportError):
        import openapi_spec_validator
        openapi_spec_validator.validate_spec(PROMISED)
    left = {(p, m, s) for p, methods in PROMISED["paths"].items() for m, o in methods.items() for s in o["responses"]} - met
    left = {x for x in left if x[2] not in ("429", "503", "507")}
    assert wanted or not left, "not met: %s" % sorted(left)


def alone(case):
    folder = tempfile.mkdtemp(prefix="macula-door-")
    try:
        case(folder)
    finally:
        end_all()
        shutil.rmtree(folder, ignore_errors=True)


failed = 0
for name, case in [(k[5:], v) for k, v in list(globals().items()) if k.startswith("case_")]:
    if wanted and name not in wanted:
        continue
    try:
        began = time.monotonic()
        alone(case)
        print("ok %s (%.1f s)" % (name, time.monotonic() - began), flush=True)
    except Exception as e:  # a case's failure is a line, not the end
        failed += 1
        print("FAIL %s: %s" % (name, " ".join(("%s %s" % (type(e).__name__, e)).split())), flush=True)
sys.exit(1 if failed else 0)
