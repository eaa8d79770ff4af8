#!/usr/bin/env python3
"""mqtt.js from npm against a real node, over WebSocket: tests/e2e/mqtt_js.py BUILD_FOLDER [CASE...]. In Node, and in headless Chromium
(with LOAD_FULL, or when it is named).

Installs mqtt.js into a temporary folder. What cannot be had is said, and nothing is judged of it.
"""
import http.server
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

from _cases import FULL, Missing, main
from _interop import npm
from _node import Node, metric_of, plain
from _process import DEADLINE

here = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(here, "mqtt_js.js")
PACKAGE = "mqtt@5"
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
modules = None


def js(folder):
    """The folder in which mqtt.js is."""
    global modules
    modules = modules or npm(os.path.join(os.path.dirname(folder), "npm"), PACKAGE)
    return modules


class Pages:
    """A web page that plays the scenario, at an origin of its own."""

    def __init__(self):
        results = self.results = queue.Queue()
        files = {"/mqtt.js": os.path.join(modules, "mqtt", "dist", "mqtt.min.js"), "/scenario.js": SCRIPT}

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body, kind):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                path = self.path.split("?")[0]
                if path in files:
                    with open(files[path], "rb") as f:
                        return self.answer(f.read(), "text/javascript")
                return self.answer(b"<!doctype html><meta charset=utf-8><script src=/mqtt.js></script><script src=/scenario.js></script>", "text/html")

            def do_POST(self):
                results.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer(b"", "text/plain")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def browse(self, folder, url, name):
        """What the page says that came of it."""
        argv = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                "--user-data-dir=" + os.path.join(folder, "profile-" + name),
                "%s/?%s" % (self.origin, urllib.parse.urlencode({"url": url, "name": name}))]
        with tempfile.TemporaryFile() as said:
            p = subprocess.Popen(argv, env=plain(HOME=folder), stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            try:
                return self.results.get(timeout=DEADLINE)
            except queue.Empty:
                said.seek(0)
                return "nothing in time: " + said.read().decode(errors="replace")[-300:]
            finally:
                p.kill()
                p.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def node(folder, *more):
    n = Node(folder, "--mqtt-ws", "127.0.0.1:0", "--mqtt-wss", "127.0.0.1:0", *more)
    n.ws = "ws://%s/mqtt" % n.process.ready["mqtt_ws"][0]
    n.wss = "wss://%s/mqtt" % n.process.ready["mqtt_wss"][0]
    return n


def play(url, name):
    p = subprocess.run(["node", SCRIPT, url, name], env=plain(NODE_PATH=modules), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert p.stdout.decode().strip() == "ok", (p.stdout[-500:], p.stderr[-500:])


def in_node(folder):
    """Messages of each QoS, long ones and many, in both versions, over WebSocket with TLS and without; a native client hears them."""
    js(folder)
    with node(folder) as n:
        native = n.sub("js.**")
        play(n.ws, "js")
        play(n.wss, "tls")
        native.expect("out", r"js\.many.*299")
        text = n.get("/metrics")
        assert metric_of(text, "mqtt_websocket_refused_total") == 0 and metric_of(text, "mqtt_connections_refused_total") == 0


def in_browser(folder):
    """From a page of an origin that is listed; one that is not is refused, and the log says which."""
    if not CHROMIUM:
        raise Missing("there is no chromium")
    js(folder)
    with Pages() as listed, Pages() as other, node(folder, "--mqtt-origins", listed.origin) as n:
        said = listed.browse(folder, n.ws, "page")
        assert said == "ok", said
        said = other.browse(folder, n.ws, "other")
        assert said.startswith("failed"), said
        n.process.expect("err", r"websocket_refused .*status=403 .*origin=\"%s\"" % other.origin)


if __name__ == "__main__":
    main("mqtt-js", in_node, *([in_browser] if FULL else []), named=[in_browser], strict=False)
