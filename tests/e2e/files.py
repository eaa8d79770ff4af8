#!/usr/bin/env python3
"""Both programs on machines as they are: secrets and other files, a home that cannot be written, variables, descriptors, HTTP's
methods: tests/e2e/files.py BUILD_FOLDER [CASE...]. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import _node
from _cases import main
from _node import own_mounts
from _process import DEADLINE, Process, access_file

build = os.path.abspath(sys.argv[1])
maculad, macula = os.path.join(build, "maculad"), os.path.join(build, "macula")
OTHER = 54321  # a user that is nobody here
PLAIN = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_") and k not in ("NOTIFY_SOCKET", "XDG_CONFIG_HOME")}


class Node(_node.Node):
    def run(self, *args, **kw):
        return super().run(*args, program=self.for_all() if "user" in kw else macula, **kw)

    def for_all(self):
        """The program where every user can start it; the build folder may be root's."""
        os.chmod(self.folder, 0o755)
        path = os.path.join(self.folder, "macula")
        return path if os.path.exists(path) else shutil.copy(macula, path)

    def ok(self, *args, **kw):
        code, out, err = self.run(*args, **kw)
        assert code == 0, (args, code, err)
        return out, err

    def bad(self, want_code, pattern, *args, **kw):
        code, out, err = self.run(*args, **kw)
        assert code == want_code and re.fullmatch(r"macula: [^\n]*(%s)[^\n]*\n" % pattern, err), (args, code, err)
        return err


def write(folder, name, data, mode=0o600):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(path, mode)
    return path


def refused(*args, code=1, env=None):
    """A maculad that does not start; returns what it says."""
    p = subprocess.run([maculad, "--listen", "127.0.0.1:0", "--http", "off", "--mqtt", "off", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, env=dict(PLAIN, **(env or {})), timeout=DEADLINE)
    err = p.stderr.decode()
    assert p.returncode == code and re.fullmatch(r"maculad: [a-z_]+: [^\n]+\n", err), (p.returncode, err)
    return err


WRONG = [  # a token file, its mode, what is said of it
    ("s\xe9same\n".encode("utf-16"), 0o600, "UTF-16"),
    ("sesame\n".encode("utf-16-le"), 0o600, "UTF-16"),
    (b"ses\0ame\n", 0o600, "NUL"),
    (b"\xef\xbb\xbfsesame\n", 0o600, "byte order mark"),
    (b"sesame\nsesamo\n", 0o600, "more than one line"),
    (b" \n", 0o600, "holds no token"),
    (b" fifteen bytes.. \n", 0o600, "at least 16 bytes"),
    (b"sesame sesame sesame\n", 0o644, "chmod 600"),
]


def token_files(folder):
    """One reader: what the node refuses macula refuses, and what one takes the other means."""
    state = os.path.join(folder, "other")
    for data, mode, why in WRONG:
        path = write(folder, "wrong", data, mode)
        access = access_file(os.path.join(folder, "access.yaml"), client=path)
        for option, where in (["--access", access], access + ":6"), (["--http-token", path], "--http-token"):
            if "16 bytes" in why and "--http-token" in option:  # which is sent, not proved
                continue
            err = refused("--state", state, *option)
            assert why in err and path in err and err.split(": ")[2] == where, err
            err = refused("--check", "--state", state, *option, code=2)
            assert why in err, err
    token = write(folder, "token", "  open sesame to me \r\n")
    n = Node(folder, "--access", access_file(os.path.join(folder, "access.yaml"), client=token))
    for data, mode, why in WRONG:
        n.bad(2, why, "--token-file", write(folder, "wrong", data, mode), "pub", "a", "1")
    n.ok("--token-file", token, "pub", "a", "1")
    n.ok("--token-file", "/dev/stdin", "pub", "a", "1", stdin=os.open(token, os.O_RDONLY))
    p = subprocess.run(["bash", "-c", '"$0" --token-file <(echo "open sesame to me") pub a 1', macula], env=n.env, timeout=DEADLINE)
    assert p.returncode == 0
    fifo = os.path.join(folder, "fifo")
    os.mkfifo(fifo, 0o600)
    n.bad(2, "no regular file", "--token-file", fifo, "pub", "a", "1")  # and does not wait for who would write it
    n.bad(3, "not_authorized", "--token-file", write(folder, "other-token", "open sesame to him"), "pub", "a", "1")


def files_of_others(folder):
    path = write(folder, "token", "sesame")
    os.chown(path, OTHER, OTHER)
    for option in (["--access", access_file(os.path.join(folder, "access.yaml"), client=path)], ["--http-token", path]):
        assert "belongs to user %d" % OTHER in refused("--state", os.path.join(folder, "other"), *option)
    n = Node(folder)
    n.bad(2, "belongs to user %d" % OTHER, "--token-file", path, "pub", "a", "1")
    key = os.path.join(folder, "key.pem")
    n.ok("--identity", key, "id", "new")
    os.chown(key, OTHER, OTHER)
    n.bad(2, "belongs to user %d" % OTHER, "--identity", key, "id")
    os.chown(key, 0, OTHER)
    os.chmod(key, 0o440)  # root's, for a group: as clusters hand out secrets
    n.ok("--identity", key, "id", user=OTHER, group=OTHER, extra_groups=[])
    os.chmod(key, 0o444)
    n.bad(2, "defaultMode", "--identity", key, "id", user=OTHER, group=OTHER, extra_groups=[])


def no_key(folder):
    """A file that was named by mistake is not to be changed."""
    n = Node(folder)
    for path in ("/etc/passwd", write(folder, "note", "nothing\n", 0o666)):
        err = n.bad(2, "holds no private key", "--identity", path, "id")
        assert "chmod" not in err, err
        assert "chmod" not in refused("--state", os.path.join(folder, "other"), "--cert", path)
    key = os.path.join(folder, "key.pem")
    n.ok("--identity", key, "id", "new")
    with open(key, encoding="ascii") as f:
        wide = write(folder, "wide.pem", f.read().encode("utf-16"))
    n.bad(2, "UTF-16", "--identity", wide, "id")
    broken = os.path.join(folder, "broken")
    os.mkdir(broken)
    write(broken, "identity.pem", b"\0" * 400)
    err = refused("--state", broken)
    assert "NUL" in err and "restore it" in err, err


def known_nodes(folder):
    """After a power cut: refused, and nothing is added at each contact."""
    n = Node(folder)
    n.ok("pub", "a", "1")
    path = os.path.join(folder, "config", "macula", "known_nodes")
    with open(path, "rb") as f:
        good = f.read()
    for data, line in ((b"\0" * len(good), 1), (good + b"\0" * 100, 2), (good[:40], 1), (b"# mine\n" + good[:40] + b"\0\n" + good, 2)):
        write(folder, path, data)
        err = n.bad(3, "line %d of " % line, "pub", "a", "1")
        assert path in err and "delete" in err, err
        with open(path, "rb") as f:
            assert f.read() == data
    write(folder, path, good)
    n.ok("pub", "a", "1")


def known(folder):
    """Listed, and forgotten one by one; what else stands in the file stays."""
    n = Node(folder)
    assert "no node is known" in n.ok("known")[1]
    n.ok("pub", "a", "1")
    assert n.ok("known") == ("%s  %s\n" % (n.id, n.address), "")
    path = os.path.join(folder, "config", "macula", "known_nodes")
    with open(path, "a") as f:
        f.write("# mine\ngw.example:9443 %s\nother:1 %s\n" % ("ab" * 32, "ac" * 32))
    assert [r["address"] for r in json.loads(n.ok("--json", "known")[0])] == [n.address, "gw.example:9443", "other:1"]
    assert n.ok("known", "forget", "GW.example")[0].startswith("forgotten  abab")
    assert n.ok("known", "forget", ("ac" * 32)[:8])[0].endswith("  other:1\n")
    n.bad(1, "not_found: 'other:1' is not among them", "known", "forget", "other:1")
    n.bad(1, "not_found", "known", "forget", "ac")  # too few digits
    with open(path) as f:
        assert f.read() == "%s %s\n# mine\n" % (n.address, n.id)
    peers = write(folder, "peers", "macula://%s@10.0.0.1:9443\nmacula://%s@[fe80::1]:9443\nrubbish\n" % ("ab" * 32, "ac" * 32))
    out, err = n.ok("known", "--state", folder)
    assert out == "%s  10.0.0.1:9443\n%s  [fe80::1]:9443\n" % ("ab" * 32, "ac" * 32) and "line 3 of %s names no node" % peers in err, (out, err)
    n.ok("known", "forget", "10.0.0.1", "--state", folder)
    with open(peers) as f:
        assert f.read() == "macula://%s@[fe80::1]:9443\nrubbish\n" % ("ac" * 32)
    n.bad(2, "it is `known` or `known forget ADDR.ID`", "known", "forget")


def state_files(folder):
    n = Node(folder)
    assert n.process.end(signal.SIGTERM) == 0
    write(os.path.join(folder, "state"), "peers", b"macula://\n\0\0\0\0")
    write(os.path.join(folder, "state"), "sequence", b"\0\0\0\0\0\0\0\0")
    n = Node(folder)
    n.process.expect("err", r"event=peers_not_read [^\n]*state/peers[^\n]*NUL")
    n.process.expect("err", r"event=sequence_not_read [^\n]*state/sequence[^\n]*NUL")
    assert n.process.end(signal.SIGTERM) == 0
    write(os.path.join(folder, "state"), "peers", b"rubbish\nmore\n")
    write(os.path.join(folder, "state"), "sequence", b"12x\n")
    n = Node(folder)
    n.process.expect("err", r"event=peers_not_read [^\n]*2 lines")
    n.process.expect("err", r"event=sequence_not_read [^\n]*no number")


def nobody(n, *args, home):
    """As a user without a home of its own; returns what it printed and its one warning, "" for none."""
    env = {k: v for k, v in n.env.items() if k not in ("XDG_CONFIG_HOME", "HOME")}
    env.update({"HOME": home} if home is not None else {})
    p = subprocess.run([n.for_all(), *args], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE,
                       user=OTHER, group=OTHER, extra_groups=[])
    err = re.sub(r"^(subscribed|serving|\d+ found)[ ,][^\n]*\n", "", p.stderr.decode(), flags=re.M)
    assert p.returncode == 0 and re.fullmatch(r"(macula: warning: [^\n]+\n)?", err), (args, home, p.returncode, err)
    return p.stdout.decode(), err


def homeless(folder):
    n = Node(folder)
    key = os.path.join(folder, "key.pem")
    mine = n.ok("--identity", key, "id", "new")[0]
    os.chown(key, OTHER, OTHER)
    n.ok("pub", "kept", "1", "--retain")
    node_id = n.id
    echo = Process([macula, "serve", "echo", "--echo"], n.env)
    echo.expect("err", rb"^serving ")
    os.mkdir(os.path.join(folder, "empty"), 0o755)
    os.makedirs(os.path.join(folder, "half", ".config", "macula"), 0o755)
    write(os.path.join(folder, "half", ".config", "macula"), "identity.pem", "root's\n")
    commands = [["pub", "a", "1"], ["sub", "kept", "--count", "1"], ["call", "echo", "1"], ["status"], ["peers"], ["clients"], ["services"],
                ["subs"], ["dht", "get", "echo"], ["bench", "idle", "--clients", "2", "--hold", "1ms"]]
    for home in (os.path.join(folder, "empty"), None, "/nonexistent", "/proc/none", os.path.join(folder, "half")):
        for args in commands if home and home.endswith("empty") else commands[:1]:
            _, warned = nobody(n, *args, home=home)
            assert "whoever answers where none is known is trusted" in warned and "identity that ends" in warned, (args, home, warned)
            _, warned = nobody(n, "--identity", key, *args, home=home)
            assert "is trusted" in warned and "ends with this command" not in warned, (args, home, warned)
        named = nobody(n, "-s", "macula://%s@%s" % (node_id, n.address), "--identity", key, "pub", "a", "1", home=home)
        assert named == ("", ""), named
        shown, warned = nobody(n, "id", home=home)
        assert re.fullmatch(r"[0-9a-f]{64}\n", shown) and "identity that ends" in warned, (shown, warned)
        shown, warned = nobody(n, "--identity", key, "id", home=home)
        assert shown == mine and not warned, (shown, warned)
    # What can be read is read: a known node is checked there, whoever may not write.
    known = write(os.path.join(folder, "half", ".config", "macula"), "known_nodes", "%s %s\n" % (n.address, "0" * 64), 0o644)
    p = subprocess.run([n.for_all(), "pub", "a", "1"], env=dict(n.env, XDG_CONFIG_HOME=os.path.join(folder, "half", ".config")), timeout=DEADLINE,
                       stderr=subprocess.PIPE, user=OTHER, group=OTHER, extra_groups=[])
    assert p.returncode == 3 and ("delete line 1 of %s" % known).encode() in p.stderr, p
    p = subprocess.run(own_mounts('mount -t tmpfs -o ro none "$0" && HOME="$0" exec "$@"', os.path.join(folder, "empty"), macula, "pub", "a", "1"),
                       env={k: v for k, v in n.env.items() if k != "XDG_CONFIG_HOME"}, stderr=subprocess.PIPE,
                       timeout=DEADLINE)
    assert p.returncode == 0 and p.stderr.count(b"\n") == 1 and b"macula: warning: " in p.stderr, p


# What Kubernetes and Docker make of services named macula and macula-http.
SERVICES = {"MACULA_PORT": "udp://10.0.0.1:9443", "MACULA_SERVICE_HOST": "10.0.0.1", "MACULA_SERVICE_PORT": "9443",
            "MACULA_SERVICE_PORT_QUIC": "9443", "MACULA_PORT_9443_UDP": "udp://10.0.0.1:9443", "MACULA_PORT_9443_UDP_PROTO": "udp",
            "MACULA_PORT_9443_UDP_PORT": "9443", "MACULA_PORT_9443_UDP_ADDR": "10.0.0.1", "MACULA_HTTP_PORT": "tcp://10.0.0.2:8080",
            "MACULA_HTTP_SERVICE_HOST": "10.0.0.2", "MACULA_HTTP_SERVICE_PORT": "8080", "MACULA_HTTP_PORT_8080_TCP_ADDR": "10.0.0.2"}


def variables(folder):
    state = ["--state", os.path.join(folder, "other")]
    for name, near in (("MACULA_MAX_CLIENT", "MACULA_MAX_CLIENTS"), ("MACULA_LISTN", "MACULA_LISTEN"), ("MACULA_SERVR", "MACULA_SERVER")):
        for args in (state, [*state, "--check"], [*state, "--plan"]):
            err = refused(*args, env={name: "5"}, code=2)
            assert err == "maculad: invalid_argument: unknown variable %s; did you mean %s?\n" % (name, near), err
    p = subprocess.run([maculad, *state, "--check"], env=dict(PLAIN, MACULA_HOME="/opt", MACULA_SERVER="x", MACULA_MAX_CLIENTS="5", **SERVICES),
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert p.returncode == 0 and p.stdout == b"ok\n" and re.fullmatch(rb"maculad: warning: [^\n]*MACULA_HOME [^\n]*\n", p.stderr), p
    n = Node(folder, env=SERVICES)
    assert "unknown_variable" not in n.process.err, n.process.err
    other = os.path.join(folder, "second")
    os.mkdir(other)
    Node(other, env={"MACULA_HOME": "/opt"}).process.expect("err", r"level=warn event=unknown_variable name=MACULA_HOME nearest=MACULA_NAME")
    assert "macula: warning: first contact with 127.0.0.1:" in n.ok("pub", "a", "1")[1]  # and from then on nothing
    _, err = n.ok("pub", "a", "1", env={"MACULA_MAX_CLIENT": "5"})
    assert err == "macula: warning: unknown variable MACULA_MAX_CLIENT; did you mean MACULA_MAX_CLIENTS?\n", err
    assert n.ok("pub", "a", "1", env=dict(SERVICES, MACULA_MAX_CLIENTS="5", MACULA_HOME="/opt", MACULA_NODE=""))[1] == ""


def second_document(folder):
    for text, line in (("realm: a\n---\nmax_clients: 5\n", 2), ("---\nrealm: a\n...\n---\n", 4), ("realm: a\n...\nmax_clients: 5\n", 3)):
        path = write(folder, "m.yaml", text)
        for args in ([], ["--check"]):
            err = refused("--state", os.path.join(folder, "other"), "-c", path, *args, code=2)
            assert "%s:%d: " % (path, line) in err and ("second document" in err or "document's end" in err), err
    path = write(folder, "m.yaml", "realm: a\n...\n]\n")
    assert "%s:3: " % path in refused("-c", path, "--check", code=2)
    path = write(folder, "m.yaml", "---\nrealm: a\n...\n")
    p = subprocess.run([maculad, "-c", path, "--check"], env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert (p.returncode, p.stdout) == (0, b"ok\n"), p


def http_methods(folder):
    n = Node(folder)

    def ask(method, path, **headers):
        with contextlib.closing(http.client.HTTPConnection(n.http, timeout=DEADLINE)) as c:
            c.request(method, path, headers=headers)
            r = c.getresponse()
            return r.status, r.getheader("Content-Type"), r.getheader("Allow"), int(r.getheader("Content-Length")), r.read()
    for path in ("/health", "/ready", "/live", "/metrics", "/api/status"):
        got, head, absolute = ask("GET", path), ask("HEAD", path), ask("GET", "http://%s%s" % (n.http, path))
        assert head[:3] == got[:3] == absolute[:3] == (200, got[1], None), (path, got, head, absolute)
        assert head[4] == b"" and head[3] > 0 and len(absolute[4]) == absolute[3] > 0, (path, head)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert ask(method, path)[:3] == (405, "text/plain", "GET, HEAD"), (method, path)
    for method in ("GET", "HEAD", "POST"):
        assert ask(method, "/nothing")[0] == 404 and ask(method, "http://%s/nothing" % n.http)[0] == 404
    assert ask("GET", "http://%s" % n.http)[0] == 200  # that is the page
    assert ask("GET", "http://localhost/api/status")[0] == 200
    for url in ("http://evil.example/api/status", "http:///api/status", "http://%s/api/status" % ("x" * 300)):
        assert ask("GET", url, Host="localhost")[0] in (400, 403), url
    assert ask("GET", "http://evil.example/health")[0] == 403


def reader_gone(folder):
    """What idles notices that nobody reads it, before there is anything to print."""
    n = Node(folder)
    for args, said, code in ((["sub", "a"], b"^subscribed a$", 0), (["--json", "sub", "a.**", "b"], b"^subscribed b$", 0),
                             (["bench", "idle", "--clients", "2", "--hold", "1h"], None, 1)):
        r, w = os.pipe()
        p = subprocess.Popen([macula, *args], env=n.env, stdin=subprocess.DEVNULL, stdout=w, stderr=subprocess.PIPE)
        os.close(w)
        try:
            while said and not re.search(said, p.stderr.readline().rstrip(b"\n")):
                pass
            os.close(r)
            assert p.wait(DEADLINE) == code, (args, p.returncode)
        finally:
            p.kill()
            p.wait()
            p.stderr.close()


def closed_descriptors(folder):
    """Started without descriptors 0 to 2, by whoever closes what is not needed."""
    state = os.path.join(folder, "state")
    for closed in ("<&-", "<&- >&-", "<&- >&- 2>&-", "2>&-"):
        http_at = os.path.join(folder, "at")
        p = subprocess.Popen(["sh", "-c", 'exec "$@" ' + closed, "sh", maculad, "--listen", "127.0.0.1:0", "--http", "off", "--mqtt", "off", "--state", state],
                             env=PLAIN, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            served = threading.Event()
            while p.poll() is None and not listening(p.pid):
                served.wait(0.05)
            assert p.poll() is None, (closed, p.returncode)
            for fd in ("0", "1", "2"):
                at = os.readlink("/proc/%d/fd/%s" % (p.pid, fd))
                assert at == "/dev/null", (closed, fd, at, http_at)
            p.send_signal(signal.SIGTERM)
            assert p.wait(DEADLINE) == 0, (closed, p.returncode)
        finally:
            p.kill()
            p.wait()
    n = Node(folder)
    for closed, code in (("<&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)):
        p = subprocess.run(["sh", "-c", '"$@" ' + closed, "sh", macula, "pub", "a", "1"], env=n.env, timeout=DEADLINE)
        assert p.returncode == code, (closed, p)
    p = subprocess.run(["sh", "-c", '"$@" >&-', "sh", macula, "status"], env=n.env, stderr=subprocess.PIPE, timeout=DEADLINE)
    assert p.returncode == 1 and b"not all of the output" in p.stderr, p


def listening(pid):
    """It is past its start when it catches SIGTERM and has a UDP socket."""
    with open("/proc/%d/status" % pid) as f:
        caught = int(re.search(r"^SigCgt:\s*(\w+)", f.read(), re.M).group(1), 16) >> (signal.SIGTERM - 1) & 1
    with contextlib.suppress(OSError):
        sockets = {os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)}
        with open("/proc/net/udp") as f:
            return caught and any("socket:[%s]" % line.split()[9] in sockets for line in f.readlines()[1:])
    return False


if __name__ == "__main__":
    main("files", token_files, files_of_others, no_key, known_nodes, known, state_files, homeless, variables, second_document, http_methods, reader_gone,
         closed_descriptors)
