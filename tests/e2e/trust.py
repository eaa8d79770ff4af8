#!/usr/bin/env python3
"""Whom clients and nodes trust: passes, tokens that are proved, first contact: tests/e2e/trust.py BUILD_FOLDER [CASE...]. Prints "ok NAME"
or "FAIL NAME: why" a case.
"""
import json
import os
import re
import shutil
import sys
import tempfile
import traceback

import _node
from _node import until
from _process import end_all


class Node(_node.Node):
    def fails(self, want_code, pattern, *args, **kw):
        code, _, err = self.run(*args, **kw)
        assert code == want_code and re.fullmatch(r"macula: [^\n]*(%s)[^\n]*\n" % pattern, err), (args, code, err)
        return err


class Realm:
    """A realm's key, and passes that it signs, in a folder."""

    def __init__(self, folder, name="realm"):
        self.folder, self.key = folder, os.path.join(folder, name + ".key")
        self.id = self.macula("realm", "new", self.key).strip()

    def macula(self, *args):
        code, out, err = _node.Node.run(self, *args)
        assert code == 0, (args, code, err)
        return out

    text = True

    @property
    def env(self):
        return _node.plain(XDG_CONFIG_HOME=os.path.join(self.folder, "config"))

    def identity(self, name):
        """A state folder with an identity; its id."""
        os.mkdir(os.path.join(self.folder, name))
        return self.macula("id", "new", "--identity", os.path.join(self.folder, name, "identity.pem")).strip()

    def sign(self, name, holder, *args):
        return write(self.folder, name, self.macula("pass", "new", "--key", self.key, "--id", holder, *args))

    def node(self, name, *args):
        """A node with a pass of this realm."""
        node_pass = self.sign(name + ".pass", self.identity(name), "--role", "node")
        return Node(self.folder, "--pass", node_pass, *args, state=name, http="off")


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o600)
    return path


def known(folder):
    return os.path.join(folder, "config", "macula", "known_nodes")


def passes(folder):
    """Client and node show each other their passes, and nothing is remembered."""
    realm = Realm(folder)
    mine = realm.sign("mine", realm.macula("id").strip(), "--pub", "plant.${id}.**", "--sub", "cmd.**")
    with realm.node("one", "--realm-keys", realm.id) as n:
        topic = "plant.%s.temp" % n.ok("id").strip()
        assert n.run("--pass", mine, "pub", topic, "1") == (0, "", "")
        assert n.run("pub", topic, "1", env={"MACULA_PASS_FILE": mine}) == (0, "", "")
        n.fails(1, "forbidden", "--pass", mine, "pub", "plant.x", "1")
        n.fails(3, "not_authorized", "--realm-key", realm.id, "pub", topic, "1")  # the node is right, but wants a pass, too
        other = n.ok("id", "new", "--identity", os.path.join(folder, "other.pem")).strip()
        err = n.fails(2, "pass_invalid: ", "--identity", os.path.join(folder, "other.pem"), "--pass", mine, "pub", topic, "1")
        assert other in err and n.ok("id").strip() in err, err  # whose it is, and who showed it
        n.fails(2, "holds no pass", "--pass", realm.key, "pub", topic, "1")
        assert not os.path.exists(known(folder))
        # One that ends soon is said to, and goes.
        soon = realm.sign("soon", n.ok("id").strip(), "--pub", "**", "--for", "3d")
        code, _, err = n.run("--pass", soon, "pub", topic, "1")
        assert code == 0 and re.fullmatch(r"macula: warning: the pass in [^\n]*soon ends in [23] days: ask for another\n", err), (code, err)


def nodes_without_a_pass(folder):
    """Who knows the realm takes no other node for one of its own; an id in the address says more than the realm."""
    realm, other = Realm(folder), Realm(folder, "other")
    mine = realm.sign("mine", realm.macula("id").strip(), "--pub", "**")
    with Node(folder, "--realm-keys", realm.id, http="off") as n:
        err = n.fails(3, "pass_invalid: ", "--pass", mine, "pub", "a", "1")
        assert "shows no pass of the realm key " + realm.id in err, err
        n.ok("--pass", mine, "-s", "macula://%s@%s" % (n.id, n.address), "pub", "a", "1")
    with other.node("foreign") as n:  # open, and of another realm
        assert other.id in n.fails(3, "pass_invalid: ", "--pass", mine, "pub", "a", "1")
        n.fails(3, "pass_invalid: ", "--realm-key", realm.id, "pub", "a", "1")
        n.ok("--realm-key", other.id, "pub", "a", "1")
    assert not os.path.exists(known(folder))


def first_contact(folder):
    """Whom it trusted is said once, where it is kept."""
    with Node(folder, http="off") as n:
        code, _, err = n.run("pub", "a", "1")
        assert code == 0 and err.count("\n") == 1 and err.startswith("macula: warning: first contact with %s: " % n.address), err
        assert n.id in err and known(folder) in err, err
        assert n.run("pub", "a", "1") == (0, "", "")
    with Node(folder, state="second", http="off") as n:
        assert n.run("-s", "macula://%s@%s" % (n.id, n.address), "pub", "a", "1") == (0, "", "")


ACCESS = """grants: {all: {role: operator, pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}}
tokens: [%s]
"""


def tokens(folder):
    """Several are valid at once; the node proves the one that its client showed, and an open node none."""
    paths = [write(folder, "token%d" % i, _node.Node.run(Realm(folder, "r%d" % i), "token", "new")[1]) for i in range(3)]
    access = write(folder, "access.yaml", ACCESS % ", ".join("{file: %s, grant: all}" % p for p in paths[:2]))
    with Node(folder, "--access", access, http="off") as n:
        for path in paths[:2]:
            n.ok("--token-file", path, "pub", "a", "1")
        n.fails(3, "not_authorized: [^\n]*token is wrong", "--token-file", paths[2], "pub", "a", "1")
        sub, end = n.sub("--token-file", paths[0], "a"), ["--token-file", paths[1], "clients", "end"]
        lines = n.ok("--token-file", paths[1], "--name", "a name of more than 14", "clients").splitlines()
        assert len(lines) == 3 and all(len(line) <= 80 for line in lines), lines
        shown = lines[1].split()[0]
        assert len(shown) == 16 and n.ok("id").startswith(shown), lines
        assert n.ok(*end, shown) == "ended 1\n"  # not the one that asks, which has this id, too
        assert sub.wait() == 3 and "an operator ended this connection" in sub.err, sub.err
        n.fails(1, "not_found: nobody else with this id", *end, n.ok("id").strip())
        n.fails(2, "invalid_argument: ID is hexadecimal digits", *end, "x")
        n.fails(2, "at least 16 bytes", "--token-file", write(folder, "short", "fifteen bytes..\n"), "pub", "a", "1")
    with Node(folder, http="off", state="open") as n:
        n.fails(3, "not_authorized: [^\n]*without proving that it knows the access token", "--token-file", paths[0], "pub", "a", "1")


def mesh(folder):
    """Nodes link by their passes; one without is refused, and both sides say why."""
    realm = Realm(folder)
    keys = ["--realm-keys", realm.id]
    operator = realm.sign("operator", realm.macula("id").strip(), "--role", "operator")
    with realm.node("one", "--name", "one", *keys) as a, realm.node("two", "--name", "two", *keys, "--join", a.address) as b:
        b.process.expect("err", "event=link_up ")
        until("the two are linked", lambda: '"connected"' in b.run("--json", "--pass", operator, "peers")[1])
        with Node(folder, *keys, "--join", a.address, state="none", http="off") as c:
            c.process.expect("err", "event=join_failed [^\n]*(pass|not_authorized)")
            a.process.expect("err", "event=client_refused [^\n]*" + c.id)


def serial(realm, path):
    return re.search(r"[0-9a-f]{32}", realm.macula("pass", "show", path)).group()


def linked(n, operator):
    """The nodes that it has links to, by their ids."""
    peers = json.loads(n.ok("--json", "--pass", operator, "peers"))["peers"]
    return {p["id"] for p in peers if p["state"] == "connected"}


def revoked(folder):
    """A list that one node is given ends a client at another, and all links of a node; a node that starts again still has it."""
    realm = Realm(folder)
    keys = ["--realm-keys", realm.id]
    operator = realm.sign("operator", realm.macula("id").strip(), "--role", "operator", "--sub", "x")
    stolen = os.path.join(folder, "stolen.pem")
    theirs = realm.sign("theirs", realm.macula("id", "new", "--identity", stolen).strip(), "--sub", "**")
    with realm.node("one", *keys) as a, realm.node("two", *keys, "--join", a.address) as b, \
            realm.node("three", *keys, "--join", "%s,%s" % (a.address, b.address)) as c:
        nodes = (a, b, c)
        until("all are linked", lambda: all(len(linked(n, operator)) == 2 for n in nodes))
        thief = c.sub("--identity", stolen, "--pass", theirs, "cmd.**")
        lists = os.path.join(folder, "revoked")
        realm.macula("pass", "revoke", "--key", realm.key, "--list", lists, serial(realm, theirs))
        a.fails(3, "not_authorized: ", "--identity", stolen, "--pass", theirs, "realm", "push", lists)
        a.ok("--pass", operator, "realm", "push", lists)
        assert thief.wait() == 3
        assert "pass_revoked" in thief.err, thief.err
        b.fails(3, "pass_revoked: ", "--identity", stolen, "--pass", theirs, "sub", "cmd.**")
        # A node's pass: nobody keeps a link to it.
        realm.macula("pass", "revoke", "--key", realm.key, "--list", lists, serial(realm, os.path.join(folder, "three.pass")))
        b.ok("--pass", operator, "realm", "push", lists)
        until("it is alone", lambda: linked(a, operator) == {b.id} and linked(b, operator) == {a.id})
        a.process.expect("err", "event=node_ended id=%s [^\n]*code=pass_revoked" % c.id)
        until("it is written", lambda: any(f.startswith("revoked-") and "." not in f for f in os.listdir(os.path.join(folder, "two"))))
        b.process.end()
        a.process.end()
        b.start()
        b.fails(3, "pass_revoked: ", "--identity", stolen, "--pass", theirs, "sub", "cmd.**")
        # Operators end whom they name; who may come back does.
        ended = b.macula("--pass", operator, "sub", "x")
        ended.expect("err", "^subscribed ")
        assert b.ok("--pass", operator, "clients", "end", b.ok("id").strip()).startswith("ended ")
        assert ended.wait() == 3
        b.fails(1, "not_found: ", "--pass", operator, "clients", "end", "ab" * 32)


def another_list(folder):
    """A list that would not replace the one there is is refused, and the node's own can be gone on with."""
    realm = Realm(folder)
    files = {name: realm.sign(name, realm.macula("id").strip(), *more) for name, more in
             (("operator", ["--role", "operator"]), ("first", ["--sub", "a"]), ("second", ["--sub", "a"]))}

    def revoke(into, name):
        return realm.macula("pass", "revoke", "--key", realm.key, "--list", into, serial(realm, files[name]))
    lists = [os.path.join(folder, name) for name in ("list", "another")]
    with realm.node("one", "--realm-keys", realm.id) as a:
        subs = [a.sub("--pass", files[name], "a") for name in ("first", "second")]
        push = ["--pass", files["operator"], "realm", "push"]
        a.fails(1, "invalid_argument: [^\n]*no list of revoked passes", *push, files["first"])
        revoke(lists[0], "first")
        a.ok(*push, lists[0])
        assert subs[0].wait() == 3 and "pass_revoked" in subs[0].err, subs[0].err
        revoke(lists[1], "second")  # made anew: the same number
        err = a.fails(1, "busy: ", *push, lists[1])
        assert "list number 1" in err and "pass revoke" in err, err
        a.ok(*push, lists[0])  # once more does no harm
        kept = os.path.join(folder, "one", "revoked-" + realm.id)
        until("the node keeps its list", lambda: os.path.exists(kept))
        assert ": number 2, 2 revoked" in revoke(kept, "second")
        a.ok(*push, kept)
        assert subs[1].wait() == 3 and "pass_revoked" in subs[1].err, subs[1].err


CASES = (passes, nodes_without_a_pass, first_contact, tokens, mesh, revoked, another_list)


def main():
    failed = 0
    for case in CASES:
        if sys.argv[2:] and case.__name__ not in sys.argv[2:]:
            continue
        folder = tempfile.mkdtemp(prefix="macula-trust-")
        try:
            case(folder)
            print("ok trust " + case.__name__, flush=True)
        except Exception as e:
            failed = 1
            at = traceback.extract_tb(e.__traceback__)
            print("FAIL trust %s: line %s: %s" % (case.__name__, [f.lineno for f in at if f.filename == __file__], e), flush=True)
        finally:
            end_all()
            shutil.rmtree(folder, ignore_errors=True)
    return failed


sys.exit(main())
