#!/usr/bin/env python3
"""maculad's HTTP against those who would take it, read it or use it from a web page: tests/e2e/web.py BUILD_FOLDER.

In a network of its own, where this machine has several addresses. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import concurrent.futures
import contextlib
import http.client
import os
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from _node import build, plain, serving, until
from _process import DEADLINE, end_all
from _still import tried

HERE, THERE = "192.0.2.7", "192.0.2.8"
if os.environ.get("MACULA_TEST_INSIDE") != "1":
    os.environ["MACULA_TEST_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", 'ip link set lo up && ip addr add %s/32 dev lo && ip addr add %s/32 dev lo && exec "$@"' %
                          (HERE, THERE), "sh", sys.executable, os.path.abspath(__file__), build, *sys.argv[2:]])


def node(folder, *args, at="127.0.0.1:0"):
    return serving("--state", os.path.join(folder, "state"), *args, http=at, env=plain(), cwd=folder)


def address(n, host=None):
    own, port = n.http.rsplit(":", 1)
    return host or own, int(port)


def opened(n, source, host=None):
    """A TCP connection from one of this machine's addresses."""
    return socket.create_connection(address(n, host), DEADLINE, source_address=(source, 0))


def ask(n, path, method="GET", source="127.0.0.1", host=None, tls=None, **headers):
    """Status, headers and text. Headers by keyword: Sec_Fetch_Site for Sec-Fetch-Site."""
    s = opened(n, source, host)
    c = http.client.HTTPConnection(*address(n, host), timeout=DEADLINE)
    c.sock = tls.wrap_socket(s, server_hostname="127.0.0.1") if tls else s
    try:
        c.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        r = c.getresponse()
        return r.status, r.headers, r.read().decode()
    finally:
        c.close()


def answered(n, path, **headers):
    """The status, or None when this address has asked for as much as it may at once: the node says to ask again."""
    status, answer, text = ask(n, path, **headers)
    if status != 429:
        return status
    assert answer["Retry-After"] and "rate_limited" in text, text
    return None


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o600)
    return path


def case_probes_among_idle_connections(folder):
    """However many connections one address holds, and even its own probes, are answered at once; nobody keeps a place."""
    n = node(folder, at="0.0.0.0:0")
    with contextlib.ExitStack() as held:
        idle = [held.enter_context(opened(n, HERE, HERE)) for _ in range(100)]
        for source in "127.0.0.1", THERE, HERE:
            for path in "/live", "/ready", "/health", "/live":
                assert ask(n, path, source=source, host=HERE)[0] == 200, (source, path)
        for s in idle[:60]:  # most of them made room
            assert s.recv(1) == b""
        n.expect("err", r"event=http_displaced address=%s:\d+ text=" % HERE)
        # by one byte now and then none keeps its place
        slow = held.enter_context(opened(n, THERE, HERE))
        slow.setblocking(False)
        end, at = time.monotonic() + DEADLINE, 0
        while not select.select([slow], [], [], 0.3)[0]:
            assert time.monotonic() < end, "it is still there"
            with contextlib.suppress(OSError):
                slow.send(b"GET /live HTTP/1.1\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"[at:at + 1])
            at += 1
        n.expect("err", r"event=http_too_slow address=%s:\d+ " % THERE)
        for s in idle:
            assert s.recv(1) == b""


def case_names_of_ours(folder):
    n = node(folder, "--http-hosts", "node.test, other.test:99")
    for path in "/live", "/health", "/ready", "/metrics", "/api/status", "/nothing":
        for host in "evil.test", "127.0.0.1.evil.test", "localhost.evil.test:80", "other.test", "other.test:98", "node.test.":
            status, _, text = ask(n, path, Host=host)
            assert status == 403 and "http_hosts" in text, (path, host, status, text)
        for host in "127.0.0.1:1", "localhost", "LOCALHOST:80", "[::1]:5", "node.test", "Node.Test:7", "other.test:99":
            status = until("an answer", lambda: answered(n, path, Host=host))
            assert status == (404 if path == "/nothing" else 200), (path, host, status)


def case_pages_of_other_origins(folder):
    """Those that a browser says not to be of the node itself are refused, whatever they ask and how."""
    n = node(folder, "--http-origins", "https://panel.test")
    own = "http://" + n.http
    for path in "/live", "/metrics", "/api/status", "/api/dht/get?key=a.b", "/nothing":
        for method in "GET", "HEAD", "POST", "OPTIONS", "DELETE":
            for headers in ({"Origin": "http://evil.test"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Sec_Fetch_Site": "cross-site"},
                            {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://panel.test.evil.test"}, {"Origin": own.replace("http", "https")}):
                status, answer, text = ask(n, path, method, **headers)
                assert status == 403 and not answer["Access-Control-Allow-Origin"], (path, method, headers, status)
                assert method == "HEAD" or "http_origins" in text, text
    for headers in {"Sec_Fetch_Site": "none"}, {"Sec_Fetch_Site": "same-origin", "Origin": own}, {"Origin": own}:
        assert ask(n, "/api/status", **headers)[0] == 200, headers
    asked = {"Origin": "https://panel.test", "Sec_Fetch_Site": "cross-site"}
    for method in "GET", "OPTIONS":
        status, answer, _ = ask(n, "/api/status", method, **asked)
        assert status == (200 if method == "GET" else 204) and answer["Access-Control-Allow-Origin"] == "https://panel.test", (method, status)
    assert ask(n, "/api/status", "POST", **asked)[0] == 405


def certificate(folder, name):
    path = os.path.join(folder, name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name, "-days", "2",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path + ".key", "-out", path + ".pem"], check=True, stderr=subprocess.DEVNULL,
                   timeout=DEADLINE)
    os.chmod(path + ".key", 0o600)
    return path


def trusting(path):
    return ssl.create_default_context(cafile=path)


def works(n, tls, path="/live"):
    try:
        return ask(n, path, tls=tls)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def case_without_descriptors(folder):
    """Where none is left, who waits to be accepted is, once there is one again; it is said, and the loop does not spin."""
    n = node(folder)
    assert works(n, None)
    had = resource.prlimit(n.p.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(n.p.pid, resource.RLIMIT_NOFILE, (8, had[1]))
    with opened(n, "127.0.0.1") as s:
        s.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        n.expect("err", r"event=http_cannot_accept text=.*LimitNOFILE")
        resource.prlimit(n.p.pid, resource.RLIMIT_NOFILE, had)
        assert b" 200 " in s.recv(65536)
    assert len(re.findall("event=http_cannot_accept", n.err)) == 1, n.err
    assert n.end(signal.SIGTERM) == 0


def case_https(folder):
    """With a certificate of its own, which SIGHUP changes; curl verifies it; in clear nobody is answered."""
    one, two = certificate(folder, "one"), certificate(folder, "two")
    for end in ".pem", ".key":
        shutil.copy(one + end, os.path.join(folder, "http" + end))
    n = node(folder, "--http-cert", "http.pem", "--http-key", "http.key")
    first, second = trusting(one + ".pem"), trusting(two + ".pem")
    assert works(n, first) and works(n, first, "/api/status") and not works(n, second) and not works(n, None)
    said = subprocess.run(["curl", "--silent", "--show-error", "--cacert", one + ".pem", "https://%s/health" % n.http], stdout=subprocess.PIPE,
                          timeout=DEADLINE, check=True).stdout
    assert b'"status":"healthy"' in said, said
    assert works(n, first, "https://%s/live" % n.http) and ask(n, "https://evil.test/live", tls=first)[0] == 403
    status, _, _ = ask(n, "/api/status", tls=first, Origin="https://" + n.http)
    assert status == 200, status
    for end in ".pem", ".key":
        shutil.copy(two + end, os.path.join(folder, "http" + end))
    n.p.send_signal(signal.SIGHUP)
    n.expect("err", r"event=reloaded")
    until("the other certificate", lambda: works(n, second) and not works(n, first))
    write(folder, "http.pem", "rubbish")
    n.p.send_signal(signal.SIGHUP)
    n.expect("err", r"event=reload_failed .*http\.pem")
    assert works(n, second)
    with opened(n, "127.0.0.2") as part:  # of a TLS record, of which the rest does not come
        part.send(b"\x16")
        assert works(n, second) and not select.select([part], [], [], 0)[0], "nobody was served before it was given up"

    def refused():
        return int(re.search(r"macula_http_refused_total (\d+)", ask(n, "/metrics", tls=second)[2])[1])

    with contextlib.ExitStack() as held:  # many at once cost more than the address's share; others have theirs
        n.p.send_signal(signal.SIGSTOP)
        many = [held.enter_context(opened(n, "127.0.0.2")) for _ in range(60)]
        for s in many:
            s.send(b"\x16")  # what says nothing at all the kernel keeps to itself
        n.p.send_signal(signal.SIGCONT)
        until("those beyond the rate are refused", lambda: refused() > 20)
        until("most are closed", lambda: sum(select.select([s], [], [], 0)[0] != [] for s in many) > 40)
        until("another is served", lambda: works(n, second))

        def greets():
            held.enter_context(opened(n, "127.0.0.3")).send(b"\x16")
            return re.search(r'event=http_displaced address=127\.0\.0\.3:\d+ text="its address has 8', n.err)

        until("the oldest of those that could finish at once makes room", greets)
    assert n.end(signal.SIGTERM) == 0


def case_https_with_the_node_s_certificate(folder):
    n = node(folder, "--http-tls")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    s = tls.wrap_socket(opened(n, "127.0.0.1"))
    with open(os.path.join(folder, "state", "identity.pem")) as f:
        assert ssl.DER_cert_to_PEM_cert(s.getpeercert(True)).strip() in f.read()
    s.close()
    assert works(n, tls) and not works(n, None)
    n.p.send_signal(signal.SIGHUP)
    n.expect("err", r"event=reloaded")
    assert works(n, tls) and n.end(signal.SIGTERM) == 0


def case_https_as_a_browser_asks(folder):
    """Connections that a page opens at once are all answered, time after time."""
    n = node(folder, "--http-tls")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            said = list(pool.map(lambda _: ask(n, "/", tls=tls)[0], range(6)))
        assert said == [200] * 6, said
    assert n.end(signal.SIGTERM) == 0


def case_token_in_clear_is_warned_of(folder):
    token = write(folder, "token", "s" * 32)
    n = node(folder, "--http-token", token, at=HERE + ":0")
    n.expect("err", r"event=http_token_in_clear address=%s:\d+ text=.*http_tls" % HERE)
    for more, at in (["--http-tls"], HERE + ":0"), ([], "127.0.0.1:0"):
        n.end()
        n = node(folder, "--http-token", token, *more, at=at)
        n.end(signal.SIGTERM)
        assert "http_token_in_clear" not in n.err, n.err
    said = subprocess.run([os.path.join(build, "maculad"), "--http-key", token, "--check"], stderr=subprocess.PIPE, env=plain(), timeout=DEADLINE,
                          check=False)
    assert said.returncode == 2 and b"--http-cert" in said.stderr, said


def alone(case):
    folder = tempfile.mkdtemp(prefix="macula-http-")
    try:
        case(folder)
    finally:
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
