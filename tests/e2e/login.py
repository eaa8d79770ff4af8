"""Who logs in at the page, by a link or as a user, and what a cookie is good for: login.py BUILD_FOLDER [CASE...]."""
import base64
import hashlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess

from _cases import main
from _node import MACULA, Node, plain, until
from _process import token_file


def hashed(password):
    salt = b"salt of test"
    return "$7$101$%s$%s" % tuple(base64.b64encode(b).decode() for b in (salt, hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)))


class Browser:
    """With a cookie, once it was given one, and as a page of the node's own, unless it is told otherwise."""

    def __init__(self, node, tls=None):
        self.node, self.tls, self.cookie, self.given = node, tls, None, None
        self.own = "http%s://%s" % ("s" if tls else "", node.http)

    def once(self, method, path, body=None, origin=True, **headers):
        kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
        c = kind(self.node.http, timeout=60, **({"context": self.tls} if self.tls else {}))
        try:
            if origin:
                headers["Origin"] = self.own if origin is True else origin
            if self.cookie:
                headers["Cookie"] = self.cookie
            c.request(method, path, body if body is None or isinstance(body, str) else json.dumps(body), headers)
            r = c.getresponse()
            self.given = r.headers["Set-Cookie"] or self.given
            text = r.read().decode()
            return r.status, json.loads(text) if r.headers["Content-Type"] == "application/json" else text
        finally:
            c.close()

    def ask(self, *args, **kw):
        """Again while it is told to ask later."""
        return until("an answer", lambda: (lambda r: r if r[0] != 429 else None)(self.once(*args, **kw)), pause=0.2)

    def get(self, path, **kw):
        return self.ask("GET", path, origin=None, **kw)

    def log_in(self, **how):
        status, answer = self.ask("POST", "/api/login", how)
        if status == 200:
            self.cookie = self.given.split(";")[0]
        return status, answer


def link(n, *args, **kw):
    j = json.loads(n.ok(*args, "dashboard", "--json", **kw))
    return j["url"], re.search("#login=([0-9a-f]{64})$", j["url"]).group(1)


def guarded(folder, *args, users="  alice: {password: '%s', grant: ops}\n  bob: {password: '%s', grant: some}\n" % (hashed("secret of alice"), hashed("secret of bob"))):
    token = token_file(os.path.join(folder, "token"))
    with open(os.path.join(folder, "access.yaml"), "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write("grants:\n  all: {pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}\n  ops: {role: operator, pub: ['**'], sub: ['**'], call: ['**']}\n"
                "  some: {pub: ['a.**'], sub: ['a.**']}\ntokens:\n  - {file: '%s', grant: all, role: operator}\nusers:\n%s" % (token, users))
    n = Node(folder, "--access", f.name, *args)
    n.env["MACULA_TOKEN_FILE"] = token
    return n


def by_link(folder):
    with guarded(folder) as n:
        b, other = Browser(n), Browser(n)
        assert b.get("/api/session")[0] == 401 and b.get("/api/status")[0] == 401
        url, word = link(n)
        assert url.startswith("http://127.0.0.1:") and n.http in url, url
        assert b.log_in(link=word[:-1] + ("0" if word[-1] != "0" else "1"))[0] == 401
        status, who = b.log_in(link=word)
        assert status == 200 and who["role"] == "operator" and who["user"] is None and who["id"] == n.id and who["cookie"] is True, who
        parts = b.given.split("; ")
        assert {"Path=/", "HttpOnly", "SameSite=Strict"} <= set(parts) and "Secure" not in parts and parts[0].startswith("macula_"), parts
        assert other.log_in(link=word)[0] == 401  # once
        assert b.get("/api/session") == (200, who)
        assert b.get("/api/clients")[0] == 200 and other.get("/api/clients")[0] == 401
        assert b.ask("POST", "/api/logout", {})[0] == 200 and "Max-Age=0" in b.given, b.given
        assert b.get("/api/clients")[0] == 401 and b.get("/api/session")[0] == 401
        assert word not in n.process.out + n.process.err


def by_password(folder):
    with guarded(folder) as n:
        alice, bob = Browser(n), Browser(n)
        wrong = [alice.log_in(user=u, password=p) for u, p in (("alice", "no"), ("nobody", "secret of alice"), ("", ""), ("alice", ""), ("x" * 300, "y"))]
        assert [w[0] for w in wrong] == [401] * 5 and "is wrong" in wrong[0][1]["message"], wrong
        status, who = alice.log_in(user="alice", password="secret of alice")
        assert status == 200 and (who["role"], who["user"]) == ("operator", "alice"), who
        assert alice.get("/api/status")[0] == 200 and alice.get("/api/session")[1]["user"] == "alice"
        status, who = bob.log_in(user="bob", password="secret of bob")
        assert status == 200 and (who["role"], who["user"]) == ("client", "bob"), who
        assert bob.get("/api/status")[0] == 403 and bob.get("/api/session")[1]["role"] == "client"
        for body in ("", "{", "[]", '{"user":1,"password":2}', '{"user":"alice"}', '{"link":[]}'):
            assert alice.ask("POST", "/api/login", body)[0] == 400, body
        assert alice.ask("POST", "/api/login", "x" * 5000)[0] == 413


def wrong_links(folder):
    """Links that are wrong keep nobody from logging in, as nobody can guess one."""
    with guarded(folder) as n:
        b = Browser(n)
        assert [b.once("POST", "/api/login", {"link": "0" * 64})[0] for _ in range(50)].count(401) > 20
        assert b.once("POST", "/api/login", {"user": "alice", "password": "secret of alice"})[0] == 200


def rights(folder):
    """By a cookie somebody may do what the grant says, and only from pages of the node's own."""
    with guarded(folder, "--http-origins", "http://127.0.0.1:2") as n:
        bob = Browser(n)
        assert bob.log_in(user="bob", password="secret of bob")[0] == 200
        assert bob.get("/last/a.x") == (200, []) and bob.get("/last/b.x")[0] == 403
        op = Browser(n)
        assert op.log_in(link=link(n)[1])[0] == 200
        assert op.get("/last/b.x") == (200, []) and op.ask("HEAD", "/sub/b.x", origin=None)[0] == 200
        s = n.sub("**", "--count", "1", "--json")
        assert bob.ask("POST", "/pub/b.x", "1")[0] == 403
        assert bob.ask("POST", "/pub/a.x", "1", origin=None)[0] == 403 and bob.ask("POST", "/pub/a.x", "1", origin="http://127.0.0.1:1")[0] == 403
        status, why = bob.ask("POST", "/pub/a.x", "1", origin="http://127.0.0.1:2")
        assert status == 403 and "http_origins" in why["message"], why  # a listed one may ask, but not by the cookie
        assert bob.ask("POST", "/pub/a.x", "2")[0] == 200
        got = json.loads(s.lines(1)[0])
        assert got["payload"] == 2 and got["publisher"]["kind"] == "user" and got["publisher"]["name"] == "bob", got


def ends(folder):
    """An operator ends a client, which reads why."""
    with guarded(folder) as n:
        b, bob = Browser(n), Browser(n)
        b.log_in(link=link(n)[1])
        bob.log_in(user="bob", password="secret of bob")
        s = n.sub("a", "--name", "victim", "--identity", os.path.join(folder, "other.pem"))
        row = [c for c in b.get("/api/clients")[1]["clients"] if c["name"] == "victim"][0]
        assert bob.ask("POST", "/api/end", {"client": row["id"]})[0] == 403
        assert b.ask("POST", "/api/end", {"client": row["id"]}, origin=None)[0] == 403
        assert b.ask("POST", "/api/end", {"client": row["id"]}, origin="http://evil.example")[0] == 403
        assert b.ask("POST", "/api/end", {})[0] == 400 and b.ask("POST", "/api/end", {"client": "ab" * 32})[0] == 404
        assert b.ask("POST", "/api/end", {"client": row["id"]}) == (200, {"ended": 1})
        s.expect("err", "an operator ended this connection")
        n.process.expect("err", "an operator ended this connection")


def reloaded(folder):
    """Whoever is gone from the access file, or has another password, is logged out; and so are those who came by a link."""
    n = guarded(folder)
    with n:
        alice, bob, op = Browser(n), Browser(n), Browser(n)
        assert alice.log_in(user="alice", password="secret of alice")[0] == bob.log_in(user="bob", password="secret of bob")[0] == 200
        assert op.log_in(link=link(n)[1])[0] == 200
        later = link(n)[1]
        path = os.path.join(folder, "access.yaml")
        with open(path) as f:
            text = f.read()
        with open(path, "w") as f:
            f.write(re.sub("  alice: .*\n", "", text))
        n.process.p.send_signal(signal.SIGHUP)
        n.process.expect("err", "event=reloaded")
        assert alice.get("/api/session")[0] == 401 and alice.get("/api/status")[0] == 401
        assert op.get("/api/status")[0] == 401 and op.log_in(link=later)[0] == 401
        assert bob.get("/api/session")[1]["user"] == "bob"


def pass_revoked(folder):
    """Whoever came by a link of an operator with a pass is out as soon as that pass counts no more, and so is a link of his."""
    key, revoked = os.path.join(folder, "realm.key"), os.path.join(folder, "revoked")

    def tool(*args, of="config"):
        p = subprocess.run([MACULA, *args], env=plain(XDG_CONFIG_HOME=os.path.join(folder, of)), stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        return p.stdout.strip()

    def given(who, role):
        path = os.path.join(folder, who[:8])
        with open(path, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
            f.write(tool("pass", "new", "--key", key, "--id", who, "--role", role) + "\n")
        return path

    realm = tool("realm", "new", key)
    one, two = given(tool("id"), "operator"), given(tool("id", of="other"), "operator")
    os.mkdir(os.path.join(folder, "state"))
    own = given(tool("id", "new", "--identity", os.path.join(folder, "state", "identity.pem")), "node")
    with Node(folder, "--realm-keys", realm, "--pass", own) as n:
        b, late, stays = Browser(n), Browser(n), Browser(n)
        assert b.log_in(link=link(n, "--pass", one)[1])[0] == 200 and b.get("/api/clients")[0] == 200
        other = {"XDG_CONFIG_HOME": os.path.join(folder, "other")}
        assert stays.log_in(link=link(n, "--pass", two, env=other)[1])[0] == 200
        word = link(n, "--pass", one)[1]
        serial = re.search('"serial": *"([0-9a-f]{32})"', tool("pass", "show", "--json", one)).group(1)
        tool("pass", "revoke", "--key", key, "--list", revoked, serial)
        n.ok("--pass", two, "realm", "push", revoked, env=other)
        assert b.get("/api/clients")[0] == 401 and b.get("/api/session")[0] == 401
        assert late.log_in(link=word)[0] == 401
        assert stays.get("/api/clients")[0] == 200


def no_more_links(folder):
    """By a cookie nobody gets a link, as his time would have no end."""
    with guarded(folder) as n:
        op, alice = Browser(n), Browser(n)
        shown = "Basic " + base64.b64encode(b"alice:secret of alice").decode()
        word = op.ask("POST", "/call/com.macula.node.login", {}, Authorization=shown)[1]["login"]
        assert op.log_in(link=word)[0] == alice.log_in(user="alice", password="secret of alice")[0] == 200
        for b in op, alice:
            assert b.ask("POST", "/call/com.macula.node.status", {})[0] == 200
            status, why = b.ask("POST", "/call/com.macula.node.login", {})
            assert status in (401, 403) and "login" not in why and "macula dashboard" in why["message"], (status, why)


def open_to_all(folder):
    """On this machine the page needs no login where all is open; a link works there, too."""
    with Node(folder) as n:
        b = Browser(n)
        status, who = b.get("/api/session")
        assert status == 200 and who["role"] == "operator" and who["open"] is True, who
        assert b.log_in(user="a", password="b")[0] == 401
        assert b.log_in(link=link(n)[1])[0] == 200
        assert b.get("/api/session")[1]["cookie"] is True and b.get("/api/status")[0] == 200
        n.process.p.send_signal(signal.SIGHUP)
        n.process.expect("err", "event=reloaded")
        assert b.get("/api/session")[1]["cookie"] is True  # nothing has changed


def over_tls(folder):
    with guarded(folder, "--http-tls") as n:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        b = Browser(n, context)
        url, word = link(n)
        assert url.startswith("https://"), url
        assert b.log_in(link=word)[0] == 200
        assert b.given.startswith("__Host-macula_") and "; Secure" in b.given, b.given
        assert b.get("/api/status")[0] == 200


def no_page(folder):
    with Node(folder, http="off") as n:
        code, _, err = n.run("dashboard")
        assert code == 1 and "HTTP is off" in err, (code, err)


def for_operators(folder):
    with guarded(folder) as n:
        some = token_file(os.path.join(folder, "client-token"))
        with open(os.path.join(folder, "access.yaml")) as f:
            text = f.read()
        with open(f.name, "w") as g:
            g.write(text.replace("users:\n", "  - {file: '%s', grant: some}\nusers:\n" % some))
        n.process.p.send_signal(signal.SIGHUP)
        n.process.expect("err", "event=reloaded")
        code, _, err = n.run("dashboard", env={"MACULA_TOKEN_FILE": some})
        assert code != 0 and "not_authorized" in err, (code, err)


if __name__ == "__main__":
    main("login", by_link, by_password, wrong_links, rights, ends, reloaded, pass_revoked, no_more_links, open_to_all, over_tls, no_page, for_operators)
