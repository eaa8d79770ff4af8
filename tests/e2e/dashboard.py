#!/usr/bin/env python3
"""The page at / as people see it, in headless Chromium and Firefox: tests/e2e/dashboard.py BUILD_FOLDER [CASE...].

puppeteer-core and axe-core are installed into a temporary folder. The cases that need a browser run with LOAD_FULL, or when they are
named; what cannot be had is said, and nothing is judged of it. What each does is in dashboard.js.
"""
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import threading
import time
import urllib.parse

from _cases import FULL, Missing, main
from _interop import npm
from _node import MACULA, Node, plain, until
from _process import DEADLINE, Process

here = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(here, "dashboard.js")
WEB = os.path.join(here, "..", "..", "web")
BROWSERS = {"chrome": ("chromium", "chromium-browser"), "firefox": ("firefox-esr", "firefox")}
HOSTILE = "<img src=x onerror=hacked=1>\"'`&amp;</p><script>hacked=1"
modules = None


def tools(folder):
    global modules
    modules = modules or npm(os.path.join(os.path.dirname(folder), "npm"), "puppeteer-core@24", "axe-core@4")
    return modules


class Play:
    """One scenario of dashboard.js in one browser; it prints "ok" or what is wrong, and waits for lines of ours in between."""

    def __init__(self, folder, browser, case, url, **args):
        program = next((p for p in map(shutil.which, BROWSERS[browser]) if p), None)
        if not program:
            raise Missing("there is no %s" % browser)
        home, short = os.path.join(folder, browser), os.path.join(os.path.dirname(folder), "t")  # Chromium's socket needs a short path
        os.makedirs(home)
        os.makedirs(short, exist_ok=True)
        tools(folder)
        self.p = Process(["node", SCRIPT, json.dumps(dict(args, browser=browser, program=program, case=case, url=url, profile=os.path.join(home, "profile")))],
                         plain(NODE_PATH=modules, HOME=home, TMPDIR=short), text=True)

    def says(self, line):
        self.p.expect("out", "^%s$" % line)

    def ok(self):
        self.p.expect("out", r"^(ok|failed: .*)$", ended=True)
        assert self.p.out.endswith("ok\n"), (self.p.out[-1500:], self.p.err[-600:])
        self.p.end(signal.SIGTERM)


class Front:
    """Stands before a node, and says in its place what `say` gives for a path: (status, type, body or an iterator of pieces)."""

    def __init__(self, at, say):
        front = self
        self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def reply(self, status, kind, body, headers=()):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                for k, v in headers:
                    self.send_header(k, v)
                if isinstance(body, bytes):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    for piece in [body] if isinstance(body, bytes) else body:
                        self.wfile.write(piece)
                except OSError:
                    pass

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                front.seen.append((self.command, self.path, body))
                said = say(self.command, urllib.parse.urlsplit(self.path), body)
                if said:
                    return self.reply(*said)
                c = http.client.HTTPConnection(at, timeout=DEADLINE)
                try:
                    c.request(self.command, self.path, body)
                    r = c.getresponse()
                    kept = [(k, v) for k, v in r.headers.items() if k in ("Content-Security-Policy", "Retry-After")]
                    return self.reply(r.status, r.headers["Content-Type"], r.read(), kept)
                except OSError:
                    return self.close_connection
                finally:
                    c.close()

            do_GET = do_POST = handle_any

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def as_json(j, status=200):
    return status, "application/json", json.dumps(j).encode()


class Mesh:
    """Four nodes that know each other, and clients that publish, subscribe, serve and call all the time."""

    def __init__(self, folder):
        self.nodes, self.busy = [], []
        names = ("hall-1", "hall-2", "press", "office")
        for name in names:
            home = os.path.join(folder, name)
            os.mkdir(home)
            join = ["--join", self.nodes[0].address] if self.nodes else []
            self.nodes.append(Node(home, "--name", name, *join))
        until("four nodes", lambda: all(len(json.loads(n.ok("--json", "peers"))["peers"]) == 3 for n in self.nodes))
        for n, name in zip(self.nodes, names):
            self.busy.append(n.sub("plant.**"))
            self.busy.append(n.macula("pub", "plant.%s.temp" % name, "21.5", "--count", "1000000", "--interval", "20ms"))
        described = os.path.join(folder, "add.json")
        with open(described, "w") as f:
            json.dump({"type": "object", "description": "Adds two numbers.", "required": ["a"],
                       "properties": {"a": {"type": "integer", "default": 2}, "b": {"type": "number"}, "how": {"enum": ["exact", "rounded"]}}}, f)
        serve = self.nodes[1].macula("serve", "math.add", "--reply", '{"sum":5}', "--describe", described)
        serve.expect("err", r"^serving math\.add")
        self.busy.append(serve)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in self.busy:
            p.end()
        for n in self.nodes:
            n.process.end()


def sources(_):
    """No markup is made of text, nothing is loaded from elsewhere, and nothing needs what the policy forbids."""
    forbidden = [r"innerHTML", r"outerHTML", r"insertAdjacentHTML", r"document\.write", r"\beval\b", r"new Function", r"srcdoc", r"DOMParser",
                 r"createContextualFragment", r"setHTML", r"import\(", r"https?://(?!www\.w3\.org/2000/svg)"]
    for name in os.listdir(WEB):
        with open(os.path.join(WEB, name), encoding="utf-8") as f:
            text = f.read()
        for pattern in forbidden:
            found = re.search(pattern, text)
            assert not found, "%s: %s" % (name, found.group())
        assert name == "dom.js" or "createElement" not in text, "%s makes elements itself" % name
        assert not name.endswith(".css") or not re.search(r"url\(|@import", text), name
        if name.endswith(".html"):
            assert not re.search(r"\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|<style", text), name


def each_view(folder, browser):
    """In both themes, wide and 360 px: it shows what is there, nothing is cut off at the side, and axe finds nothing."""
    with Mesh(folder) as m:
        Play(folder, browser, "views", "http://" + m.nodes[0].http).ok()


def keyboard(folder, browser):
    """Every view, a list, one client and the theme, without a mouse."""
    with Mesh(folder) as m:
        Play(folder, browser, "keyboard", "http://" + m.nodes[0].http).ok()


def a_node_dies(folder, browser):
    """One of the mesh, and the one that serves the page: both are said, and the page goes on by itself when they are back."""
    with Mesh(folder) as m:
        p = Play(folder, browser, "dies", "http://" + m.nodes[0].http, other="press")
        p.says("looking")
        m.nodes[2].process.end()
        p.says("other gone")
        m.nodes[0].process.end()
        p.says("gone")
        m.nodes[0].wanted_http = m.nodes[0].http
        m.nodes[0].start()
        p.ok()


def login(folder, browser):
    """By user and password, and by a link that works once and leaves the address; a login that expires is said."""
    state = {"in": False, "links": {"once-0123456789"}}

    def say(method, url, body):
        if url.path == "/api/session":
            return as_json({"role": "operator", "user": "ann", "id": "", "node": "", "version": "1"}) if state["in"] else as_json({"error": "not_authorized"}, 401)
        if url.path == "/api/login":
            j = json.loads(body)
            state["in"] = j.get("link") in state["links"] or (j.get("user"), j.get("password")) == ("ann", "right")
            state["links"].discard(j.get("link"))
            return as_json({}) if state["in"] else as_json({"error": "not_authorized", "message": "no"}, 401)
        if url.path == "/api/logout":
            state["in"] = False
            return as_json({})
        if url.path.startswith("/api/") and not state["in"]:
            return as_json({"error": "not_authorized", "message": "log in"}, 401)
        return None

    with Node(folder) as n, Front(n.http, say) as front:
        p = Play(folder, browser, "login", front.url)
        p.says("in")
        state["in"] = False
        p.ok()


def hostile_names(folder, browser):
    """Of a node, a client, a topic, a service, a description, an event and an error: they are text wherever they are shown."""
    segment = HOSTILE.replace("/", "|")

    def say(_, url, __):
        if url.path.startswith("/sub/"):
            event = {"topic": "plant." + segment, "payload": HOSTILE, "publisher": HOSTILE, "id": HOSTILE}
            return 200, "text/event-stream", iter([("event: message\ndata: %s\n\n" % json.dumps(event)).encode(), b": end\n\n"])
        if url.path.startswith("/call/"):
            about = url.path.endswith(".describe")
            return as_json({"type": "object", "description": HOSTILE, "properties": {HOSTILE: {"type": "string", "title": HOSTILE, "description": HOSTILE,
                                                                                                 "enum": [HOSTILE]}}} if about else {"said": HOSTILE})
        if url.path == "/api/services":
            row = {"id": "ab" * 32, "instance": "cd" * 16, "name": HOSTILE, "age_s": 1, "ttl_s": 300, "expires_s": 1, "pending_calls": 0}
            return as_json({"total": 2, "offset": 0, "services": [dict(row, procedure=HOSTILE), dict(row, procedure=HOSTILE + ".describe")]})
        if url.path == "/api/events":
            event = {"n": 1, "ms": 1700000000000, "level": "warn", "event": "forbidden", "fields": {"name": HOSTILE, HOSTILE: HOSTILE, "text": HOSTILE}}
            return as_json({"total": 1, "offset": 0, "events": [event]})
        if url.path == "/api/topics":
            row = {"topic": segment, "messages": 1, "bytes": 1, "dropped": 1, "refused": 0, "per_s": 1.0, "bytes_per_s": 1.0, "dropped_per_s": 0.0, "age_s": 1}
            return as_json({"total": 1, "offset": 0, "topics": [row]})
        if url.path == "/api/end":
            return as_json({"error": HOSTILE, "message": HOSTILE}, 400)
        return None

    with Node(folder, "--name", HOSTILE) as n, Front(n.http, say) as front:
        p = Process([MACULA, "--name", HOSTILE, "sub", "a.**"], n.env, True)
        p.expect("err", r"^subscribed ")
        served = n.macula("serve", "any.thing", "--reply", "1")  # so that services are asked for
        served.expect("err", r"^serving ")
        Play(folder, browser, "hostile", front.url, name=HOSTILE, segment=segment).ok()
        p.end()
        served.end()


def many_clients(folder, browser):
    """10,000: only what is seen is asked for and drawn; a search reads them all, page by page."""

    def say(_, url, __):
        if url.path != "/api/clients":
            return None
        q = dict(urllib.parse.parse_qsl(url.query))
        offset = int(q.get("offset", 0))
        rows = [{"id": "%064x" % i, "instance": "%032x" % i, "name": "device-%05d" % i, "address": "127.0.0.1:%d" % i, "door": "mqtt", "protocol": "5.0",
                 "connected": True, "role": "client", "grant": None, "user": None, "verified": False, "operator": False, "since_s": i, "subscriptions": 1,
                 "services": 0, "pending_calls": 0, "inflight": 0, "queued_messages": 0, "queued_bytes": 0, "dropped": 0, "memory_bytes": 3000,
                 "memory_peak_bytes": 3000} for i in range(offset, min(offset + 64, 10000))]
        return as_json({"total": 10000, "offset": offset, "clients": rows})

    with Node(folder) as n, Front(n.http, say) as front:
        Play(folder, browser, "many", front.url).ok()
        asked = sum("/api/clients" in path for _, path, _ in front.seen)
        assert asked < 10000 / 64 * 3, "%d pages were asked for" % asked


def long_open(folder, browser):
    """300,000 messages of 60,000 topics, and 5,000 events: what the page keeps and draws stays as large as after a tenth of that."""
    state = {"events": 0}

    def messages():
        for k in range(100):
            rows = [{"topic": "t%d.a%d.b%d" % (i % 30, (i // 30) % 40, (k * 3000 + i) % 60000), "payload": "x" * 100, "id": str(k * 3000 + i)} for i in range(3000)]
            yield "".join("event: message\nid: %s\ndata: %s\n\n" % (r["id"], json.dumps(r)) for r in rows).encode()
        yield b"event: dropped\ndata: {\"count\": 77}\n\n"
        while True:  # until the page goes
            time.sleep(1)
            yield b": still here\n\n"

    def say(_, url, __):
        if url.path.startswith("/sub/"):
            return 200, "text/event-stream", messages()
        if url.path == "/api/events":
            q = dict(urllib.parse.parse_qsl(url.query))
            offset = int(q.get("offset", 0))
            state["events"] += 250 if not offset else 0
            last = state["events"]
            rows = [{"n": last - offset - i, "ms": 1700000000000 + last - offset - i, "level": "info", "event": "member_up", "fields": {"peer": "p"}} for i in range(64)]
            return as_json({"total": 256, "offset": offset, "events": rows if offset < 256 else []})
        return None

    with Node(folder) as n, Front(n.http, say) as front:
        Play(folder, browser, "long", front.url).ok()


def in_browsers(case):
    """The case in Chromium, and in Firefox."""
    both = []
    for browser in BROWSERS:
        def run(folder, browser=browser):
            case(folder, browser)
        run.__name__ = case.__name__ + ("" if browser == "chrome" else "_in_firefox")
        both.append(run)
    return both


if __name__ == "__main__":
    seen = [run for case in (each_view, keyboard, a_node_dies, login, hostile_names, many_clients, long_open) for run in in_browsers(case)]
    main("dashboard", sources, *(seen if FULL else []), named=[] if FULL else seen, strict=FULL)
