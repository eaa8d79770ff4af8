#!/usr/bin/env python3
"""What is typed on the command line: contexts, variables, lines, what is printed of a message, misspelt words, and every example:
tests/e2e/cli_line.py BUILD_FOLDER [CASE...]. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import fcntl
import json
import os
import pty
import re
import signal
import stat
import struct
import subprocess
import termios

import _node
from _cases import main
from _node import MACULA, MACULAD, plain, until
from _process import DEADLINE, Process, access_file, deaf_port, token_file

build = _node.build
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIG = "123456789012345678901234567890"


class Node(_node.Node):
    def run(self, *args, stdin=None, **kw):
        return super().run(*args, stdin=stdin.encode() if isinstance(stdin, str) else stdin, **kw)


def fails(n, want_code, word, *args, **kw):
    code, out, err = n.run(*args, **kw)
    assert code == want_code and word in err, "%r: exit %d and not %d, %r has no %r" % (args, code, want_code, err, word)
    return err


def printed(s):
    """What a subscriber has printed when it has ended well."""
    assert s.wait() == 0, s.err
    return s.out


# ---- contexts --------------------------------------------------------------------------------------------------------------
def contexts(folder):
    with Node(folder, http="off") as n:
        address = n.env.pop("MACULA_SERVER")
        nowhere = "127.0.0.1:1"
        n.ok("context", "add", "plant", "--server", "macula://%s@%s" % (n.id, address), "--name", "kitchen", "--use")
        n.ok("context", "add", "plant-2", "--server", nowhere)
        path = os.path.join(folder, "config", "macula", "contexts")
        assert sorted(os.listdir(path)) == ["plant-2.json", "plant.json"]
        assert {stat.S_IMODE(os.stat(os.path.join(path, f)).st_mode) for f in os.listdir(path)} == {0o600}
        n.ok("pub", "a", "1")  # by the context that is in use
        assert not os.path.exists(os.path.join(folder, "config", "macula", "known_nodes"))
        assert n.ok("context", "list") == "plant  macula://%s@%s  (in use)\nplant-2  %s\n" % (n.id, address, nowhere)
        assert [(c["name"], c["in_use"]) for c in json.loads(n.ok("context", "list", "--json"))] == [("plant", True), ("plant-2", False)]
        assert n.ok("context", "show").split() == ["server", "macula://%s@%s" % (n.id, address), "name", "kitchen"]
        assert json.loads(n.ok("context", "show", "plant-2", "--json")) == {"server": nowhere}
        s = n.sub("a")
        assert "kitchen" in n.ok("--name", "who asks", "clients")
        assert s.end(signal.SIGTERM) == 0
        # An option comes before a variable, a variable before the context; another context for one command.
        fails(n, 3, nowhere, "--context", "plant-2", "pub", "a", "1")
        fails(n, 3, nowhere, "pub", "a", "1", env={"MACULA_CONTEXT": "plant-2"})
        n.ok("--context", "plant", "pub", "a", "1", env={"MACULA_CONTEXT": "plant-2"})
        n.ok("--context", "plant-2", "-s", address, "pub", "a", "1")
        fails(n, 3, nowhere, "pub", "a", "1", env={"MACULA_SERVER": nowhere})
        n.ok("-s", address, "pub", "a", "1", env={"MACULA_SERVER": nowhere})
        fails(n, 3, "realm_mismatch", "pub", "a", "1", env={"MACULA_REALM": "other"})
        n.ok("--context", "none", "pub", "a", "1", env={"MACULA_SERVER": address})
        # An error says who gave what it is about.
        of_all = "of the variable MACULA_"
        fails(n, 3, "(realm %sREALM)" % of_all, "pub", "a", "1", env={"MACULA_REALM": "other"})
        fails(n, 2, "(realm %sREALM)" % of_all, "pub", "a", "1", env={"MACULA_REALM": "a..b"})
        fails(n, 2, "(server %sSERVER)" % of_all, "pub", "a", "1", env={"MACULA_SERVER": "a b"})
        fails(n, 2, "(token_file %sTOKEN_FILE)" % of_all, "pub", "a", "1", env={"MACULA_TOKEN_FILE": "none-there"})
        fails(n, 3, "(server of the context 'plant-2')", "--context", "plant-2", "pub", "a", "1")
        assert "(server" not in fails(n, 3, nowhere, "-s", nowhere, "pub", "a", "1")
        # What is wrong with them.
        assert "did you mean 'plant'?" in fails(n, 2, "there is no context 'plan'", "--context", "plan", "pub", "a", "1")
        fails(n, 2, "there is a context 'plant' already", "context", "add", "plant", "--server", nowhere)
        fails(n, 2, "no name of a context", "context", "add", "../x", "--server", nowhere)
        fails(n, 2, "say which node", "context", "add", "x")
        fails(n, 1, "cannot read no-such-file", "context", "add", "x", "--server", nowhere, "--pass", "no-such-file")
        with open(os.path.join(path, "odd.json"), "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write('{"sever": "a"}')
        assert "did you mean 'server'?" in fails(n, 2, "odd.json: unknown key 'sever'", "--context", "odd", "pub", "a", "1")
        # What is no file keeps nobody waiting; what a file says drives no terminal.
        os.mkfifo(os.path.join(path, "pipe.json"), 0o600)
        os.symlink("nowhere.json", os.path.join(path, "gone.json"))
        assert "pipe.json is no file" in fails(n, 2, "there is no context 'gone'; `macula context list`", "context", "list")
        fails(n, 2, "pipe.json is no file", "--context", "pipe", "pub", "a", "1")
        n.ok("context", "rm", "pipe")
        n.ok("context", "rm", "gone")
        with open(os.path.join(path, "odd.json"), "w") as f:
            f.write('{"server": "a", "name": "\\u001b[31m\\u202ex"}')
        assert n.ok("context", "show", "odd").splitlines()[1].endswith(" \\x1b[31m\\xe2\\x80\\xaex"), n.ok("context", "show", "odd")
        os.chmod(os.path.join(path, "plant.json"), 0o644)
        fails(n, 2, "chmod 600", "pub", "a", "1")
        assert re.fullmatch("[0-9a-f]{64}\n", n.ok("--context", "none", "id"))
        os.chmod(os.path.join(path, "plant.json"), 0o600)
        n.ok("context", "rm", "odd")
        n.ok("context", "use", "plant-2")
        fails(n, 3, nowhere, "pub", "a", "1")
        n.ok("context", "rm", "plant-2")  # then none is in use
        fails(n, 2, "no context is in use", "context", "show")
        n.ok("pub", "a", "1", env={"MACULA_SERVER": address})


def what_is_shown(folder):
    """Identity, token, CA and pass, by variables and by a context, also from another folder."""
    token = os.path.join(folder, "token")
    with open(token, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write("a token of 22 bytes ok\n")
    access = os.path.join(folder, "access.yaml")
    with open(access, "w") as f:
        f.write("grants:\n  all: {role: operator, pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}\n"
                "tokens:\n  - {file: '%s', grant: all}\n" % token)
    with Node(folder, "--access", access, http="off") as n:
        fails(n, 3, "not_authorized", "pub", "a", "1")
        n.ok("pub", "a", "1", env={"MACULA_TOKEN_FILE": token})
        n.ok("context", "add", "here", "--server", n.address, "--token-file", "token", "--identity", "me.pem", "--use", cwd=folder)
        assert json.loads(n.ok("context", "show", "--json")) == {"server": n.address, "identity": os.path.join(folder, "me.pem"), "token_file": token}
        n.ok("pub", "a", "1", cwd="/")
        mine = n.ok("id", "--identity", os.path.join(folder, "me.pem"))
        assert n.ok("id") == mine != n.ok("--context", "none", "id")
        other = os.path.join(folder, "other.pem")
        assert n.ok("id", env={"MACULA_IDENTITY": other}) == n.ok("id", "--identity", other) != mine
        fails(n, 3, "certificate", "--ca", other, "pub", "a", "1")
        fails(n, 3, "certificate", "pub", "a", "1", env={"MACULA_CA": other})
        fails(n, 2, "holds no pass", "pub", "a", "1", env={"MACULA_PASS": token})
        fails(n, 2, "holds no pass", "pub", "a", "1", env={"MACULA_PASS_FILE": token, "MACULA_PASS": other})
        err = n.run("pub", "a", "1", env={"MACULA_CONTEX": "x"})[2]
        assert err == "macula: warning: unknown variable MACULA_CONTEX; did you mean MACULA_CONTEXT?\n", err
        for name in ("MACULA_SERVER", "MACULA_NAME", "MACULA_REALM_KEY", "MACULA_PROCEDURE"):
            assert "unknown variable" not in n.run("id", env={name: "x"})[2], name


def one_ca(folder):
    """Nodes behind one name, each with a key of its own: their certificates are issued by one CA, and nothing is remembered."""
    def at(name):
        return os.path.join(folder, name)

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=" + ca, "-days", "2", "-keyout", at(ca + ".key"), "-out", at(ca + ".pem"))
    for name in ("one", "two"):
        openssl("req", "-new", "-newkey", "ed25519", "-nodes", "-subj", "/CN=" + name, "-keyout", at(name + ".key"), "-out", at(name + ".csr"))
        openssl("x509", "-req", "-in", at(name + ".csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "2", "-out", at(name + ".pem"))
        os.chmod(at(name + ".key"), 0o600)
    with Node(folder, "--cert", at("one.pem"), "--key", at("one.key"), http="off") as n, Node(
            folder, "--cert", at("two.pem"), "--key", at("two.key"), state="state-2", http="off") as other:
        assert n.id != other.id
        for address in (n.address, other.address):
            assert n.run("-s", address, "--ca", at("ca.pem"), "pub", "a", "1") == (0, "", "")
            assert n.run("-s", address, "pub", "a", "1", env={"MACULA_CA": at("ca.pem")}) == (0, "", "")
            fails(n, 3, "certificate", "-s", address, "--ca", at("other.pem"), "pub", "a", "1")
        assert not os.path.exists(os.path.join(folder, "config", "macula", "known_nodes"))


# ---- publishing ------------------------------------------------------------------------------------------------------------
def lines(folder):
    with Node(folder, http="off") as n:
        for qos in ("0", "1"):
            count = 2000
            s = n.sub("log.**", "--count", str(count + 2))
            text = "".join("line %d\n" % i for i in range(count)) + "\nlast"
            assert n.ok("pub", "-l", "log.host1", "--qos", qos, stdin=text) == ""
            assert printed(s).splitlines() == ["log.host1 line %d" % i for i in range(count)] + ["log.host1 ", "log.host1 last"]
        s = n.sub("a.*", "--count", "7", "--json")
        good = [{"topic": "a.b", "payload": "text"}, {"topic": "a.c", "payload": [1, {"x": None}]}, {"topic": "a.d", "payload": {"k": "v"}},
                {"topic": "a.e", "payload": True}]
        given = "\n".join(map(json.dumps, good)) + '\n{"payload": %s, "topic": "a.f"}\n{"topic":"a.g","payload_base64":"/wA="}\n' % BIG
        assert json.loads(n.ok("pub", "-l", "--json", stdin=given + '{"payload":1}', env={}, *["a.h"])) == {"published": 7, "bad": 0, "refused": 0}
        rows = printed(s).splitlines()
        got = [json.loads(row) for row in rows]
        assert [{k: g[k] for k in ("topic", "payload")} for g in got[:4]] == good, got
        assert '"payload":%s,' % BIG in rows[4] and got[5]["payload_base64"] == "/wA=" and got[6]["topic"] == "a.h", rows
        # What was printed can be published again.
        s = n.sub("a.*", "--count", "7", "--json")
        n.ok("pub", "-l", "--json", stdin="\n".join(rows))
        again = printed(s).splitlines()
        assert [r.split(',"qos"')[0] for r in again] == [r.split(',"qos"')[0] for r in rows], again
        # With QoS, retain, headers and time to live; the options hold for all lines.
        s = n.sub("k.*", "--count", "3", "--json")
        how = {"qos": 1, "retain": True, "headers": [{"name": "unit", "value": "C"}, {"name": "b", "value_base64": "/wA="}], "expires_ms": 600000}
        given = [dict(how, topic="k.a", payload="x"), {"topic": "k.b", "payload": "y"}, dict(how, topic="k.c", payload="", retain=False, qos=0)]
        assert json.loads(n.ok("pub", "-l", "--json", "--header", "all=1", stdin="\n".join(map(json.dumps, given)))) == {"published": 3, "bad": 0, "refused": 0}
        rows, all_have = [json.loads(row) for row in printed(s).splitlines()], [{"name": "all", "value": "1"}]
        assert [r["headers"] for r in rows] == [all_have + how["headers"], all_have, all_have + how["headers"]], rows
        assert [r["qos"] for r in rows] == [1, 0, 0] and 0 < rows[0]["expires_ms"] <= 600000 and "expires_ms" not in rows[1], rows
        kept = [json.loads(row) for row in printed(n.macula("sub", "k.*", "--count", "1", "--json")).splitlines()]
        assert kept[0]["topic"] == "k.a" and kept[0]["retain"] is True and kept[0]["headers"] == rows[0]["headers"], kept
        for wrong in ('"qos":3', '"qos":"1"', '"retain":1', '"headers":{}', '"headers":[{"name":"a"}]', '"headers":[{"name":"a","value_base64":"?"}]', '"expires_ms":0'):
            fails(n, 2, ": line 1: its ", "pub", "-l", "--json", stdin='{"topic":"b","payload":1,%s}' % wrong)
        # Lines that are wrong are told by their number and counted, and the others go out.
        s = n.sub("b", "--count", "2")
        bad = '{"topic":"b","payload":1}\nno\n{"payload":1}\n{"topic":"b"}\n{"topic":7,"payload":1}\n{"topic":"x..y","payload":1}\n{"topic":"b","payload":2}\n'
        code, out, err = n.run("pub", "-l", "--json", stdin=bad)
        assert code == 2 and json.loads(out) == {"published": 2, "bad": 5, "refused": 0}, (code, out, err)
        for line in (2, 3, 4, 5, 6):
            assert ": line %d: " % line in err, err
        assert err.endswith("macula: 5 of 7 lines were not published\n"), err
        assert printed(s) == "b 1\nb 2\n"
        code, _, err = n.run("pub", "-l", "--json", stdin="x\n" * 50)
        assert code == 2 and err.count("\n") == 11 and "50 of 50 lines" in err, err
        code, _, err = n.run("pub", "-l", "long", stdin="x" * (1 << 20) + "x\nshort\n")
        assert code == 2 and ": payload_too_large: line 1: " in err and "1 of 2 lines" in err, err
        for args in (["pub", "-l"], ["pub", "-l", "a", "b"], ["pub", "-l", "a", "--count", "2"]):
            fails(n, 2, "macula: invalid_argument: ", *args, stdin="")


def lines_refused(folder):
    access = os.path.join(folder, "access.yaml")
    with open(access, "w") as f:
        f.write("grants:\n  some: {pub: ['yes.**'], sub: ['**']}\ndefault: some\n")
    with Node(folder, "--access", access, http="off") as n:
        given = "".join('{"topic":"%s","payload":%d}\n' % (t, i) for i, t in enumerate(["yes.a", "no.a", "yes.b"]))
        for qos in ("0", "1"):
            code, out, err = n.run("pub", "-l", "--json", "--qos", qos, stdin=given)
            assert code == 1 and json.loads(out) == {"published": 2, "bad": 0, "refused": 1}, (code, out, err)
            assert "macula: forbidden: line 2: " in err, err


def lines_over_a_restart(folder):
    """The node ends and comes again; what is written then goes out."""
    with Node(folder, http="off") as n:
        read, write = os.pipe()
        p = subprocess.Popen([MACULA, "pub", "-l", "a", "--qos", "1"], env=n.env, stdin=read, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        os.close(read)
        try:
            s = n.sub("a")
            os.write(write, b"first\n")
            s.expect("out", "^a first$")
            n.process.end()
            assert any(line.startswith("disconnected") for line in p.stderr)
            n.start()
            assert any(line == "connected again\n" for line in p.stderr)
            s.expect("err", "^connected again$")
            until("its subscription is back", lambda: json.loads(n.ok("--json", "status"))["subscriptions"]["count"] == 1)
            os.write(write, b"second\n")
            s.expect("out", "^a second$")
            os.close(write)
            assert p.wait(DEADLINE) == 0
        finally:
            p.kill()


def standard_input(folder):
    with Node(folder, http="off") as n:
        s = n.sub("a", "--count", "4", "--payload-only", "--raw")
        n.ok("pub", "a", stdin="piped ")
        path = os.path.join(folder, "file")
        with open(path, "w") as f:
            f.write("of a file ")
        with open(path) as f:
            n.ok("pub", "a", stdin=f)
        n.ok("pub", "a", "given ", stdin="not read")
        n.ok("pub", "a")  # of /dev/null: empty
        assert printed(s) == "piped of a file given "
        p = n.macula("serve", "echo", "--echo")
        p.expect("err", "^serving ")
        assert n.ok("call", "echo", stdin='{"a": %s}' % BIG) == '{"a": %s}\n' % BIG  # numbers as they came
        assert n.ok("call", "echo") == "{}\n" and n.ok("call", "echo", stdin="") == "{}\n"
        fails(n, 2, "invalid_json", "call", "echo", stdin="no")


# ---- what is printed -------------------------------------------------------------------------------------------------------
def messages(folder):
    with Node(folder, http="off") as n:
        stamped, alone, js = n.sub("a", "--timestamps", "--count", "3"), n.sub("a", "--payload-only", "--count", "3"), n.sub(
            "a", "--json", "--timestamps", "--count", "3")
        given = ['{"n": %s, "t" : [1, "x y"]}' % BIG, "two\nlines", '"quoted"']
        for text in given:
            n.ok("pub", "a", text, "--header", "unit=C")
        time = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
        assert all(re.match(time + " a ", line) for line in printed(stamped).splitlines())
        assert printed(alone).splitlines() == [given[0], "two\\nlines", given[2]]
        rows = printed(js).splitlines()
        assert '"payload":{"n":%s,"t":[1,"x y"]},' % BIG in rows[0], rows  # its numbers as they came, on one line
        rows = [json.loads(r) for r in rows]
        assert [r["payload"] for r in rows[1:]] == given[1:], rows
        for r in rows:
            assert r["publisher"]["name"] == n.ok("id").strip() and r["headers"] == [{"name": "unit", "value": "C"}] and re.fullmatch(time, r["time"]), r
        fails(n, 2, "--payload-only", "sub", "a", "--payload-only", "--json")


def handlers(folder):
    """A failure is told to the caller and printed by serve, by what the handler said last."""
    with Node(folder, http="off") as n:
        p = n.macula("serve", "bad", "--exec", "echo Traceback >&2; echo 'ValueError: no' >&2; echo >&2; exit 3")
        p.expect("err", "^serving ")
        assert "killed" in p.err  # what a handler may not do
        fails(n, 1, "handler_error: ValueError: no\n", "call", "bad")
        p.expect("err", "^macula: handler_error: bad, called by key %s: ValueError: no$" % n.ok("id").strip())
        p = n.macula("serve", "bytes", "--raw", "--exec", "cat; printf '\\377\\000'")
        p.expect("err", "^serving ")
        out = subprocess.run([MACULA, "call", "bytes", "--raw"], env=n.env, input=b"\xfe no JSON ", stdout=subprocess.PIPE, timeout=DEADLINE)
        assert (out.returncode, out.stdout) == (0, b"\xfe no JSON \xff\x00"), out
        p = n.macula("serve", "who", "--exec", "echo '\"'$MACULA_PROCEDURE $MACULA_CALLER_KIND'\"'")
        p.expect("err", "^serving ")
        assert n.ok("call", "who") == '"who key"\n'


# ---- looking -------------------------------------------------------------------------------------------------------------
def described(folder):
    """JSON Schema of a file is shown by the list of services, and by the procedure beside it."""
    with Node(folder, http="off") as n:
        schema = {"title": "adds", "properties": {"a": {"type": "number"}}}
        path = os.path.join(folder, "add.json")
        with open(path, "w") as f:
            json.dump(schema, f)
        n.macula("serve", "math.add", "--reply", "5", "--describe", path).expect("err", "^serving ")
        n.macula("serve", "plain", "--echo").expect("err", "^serving ")
        rows = json.loads(n.ok("--json", "services", "--describe"))
        assert sorted(rows, key=lambda r: r["procedure"]) == [{"procedure": "math.add", "description": schema}, {"procedure": "plain", "description": None}], rows
        text = n.ok("services", "--describe")
        assert "plain: not described\n" in text and '"title": "adds"' in text, text
        assert json.loads(n.ok("call", "math.add.describe")) == schema and n.ok("call", "math.add") == "5\n"
        with open(path, "w") as f:
            f.write("no")
        fails(n, 2, "invalid_json: --describe", "serve", "a", "--echo", "--describe", path)
        with open(path, "w") as f:
            f.write('"%s"' % ("x" * 65536))
        fails(n, 2, "64 KiB", "serve", "a", "--echo", "--describe", path)
        fails(n, 2, "cannot read", "serve", "a", "--echo", "--describe", path + "x")


def asking(folder):
    with Node(folder, http="off") as n:
        p = json.loads(n.ok("ping", "--count", "3", "--interval", "1ms", "--json"))
        assert p["node"] == n.id and p["sent"] == p["answered"] == 3 and p["min_ms"] <= p["mean_ms"] <= p["max_ms"], p
        assert n.ok("ping", "--count", "1").splitlines()[0].startswith(n.id[:16] + "  ")
        fails(n, 1, "no_route", "ping", "ab" * 32)
        assert n.ok("ping", n.id[:16], "--count", "1").startswith(n.id[:16] + "  ")
        fails(n, 1, "not_found", "ping", ("0" if n.id[0] != "0" else "1") + n.id[1:16])
        for wrong in (["ping", "zz"], ["clients", "end", "zz"]):
            fails(n, 2, "digits", *wrong)
        fails(n, 1, "a node is given as macula://ID@ADDR:PORT", "ping", "macula://zz@127.0.0.1:1")
        s = n.sub("a", "--name", "kitchen")
        t = json.loads(n.ok("top", "--once", "--json", "--sort", "name"))
        assert t["rates"].keys() == {"published", "delivered", "dropped", "refused"} and t["peers"] == [] and t["history"]["step_s"] == 10, t
        row = [c for c in t["clients"] if c["name"] == "kitchen"][0]
        assert row["subscriptions"] == 1 and row["dropped_per_s"] == 0, row
        assert "kitchen" in n.ok("top", "--once")
        wide = n.sub("a", "--name", "日本語日本語日本語")  # 27 bytes, 9 characters
        line = [x for x in n.ok("top", "--once").splitlines() if "日本語" in x][0]
        assert line[18:31] == "日本語日本語日本語" + 4 * " ", line
        assert wide.end(signal.SIGTERM) == 0
        w = n.macula("--watch", "--json", "status")
        w.lines(2)  # a second later again
        assert w.end(signal.SIGINT) == 0 and all(json.loads(line)["node_id"] == n.id for line in w.out.splitlines())
        fails(n, 2, "--watch goes with", "--watch", "pub", "a", "1")
        # What was measured before an interrupt is kept.
        b = n.macula("--json", "bench", "pubsub", "--duration", "10m")
        until("messages flow", lambda: json.loads(n.ok("--json", "status"))["messages"]["published"] > 0)
        assert b.end(signal.SIGINT) == 1, b.err
        figures = json.loads(b.out)
        assert figures["interrupted"] is True and figures["received"] > 0, figures
        assert s.end(signal.SIGTERM) == 0


def doctor(folder):
    token = token_file(os.path.join(folder, "token"))
    access = access_file(os.path.join(folder, "access.yaml"), client=token)
    with Node(folder, "--access", access, http="off") as n, deaf_port() as deaf:
        def steps(want, *args):
            code, out, err = n.run("--json", "doctor", *args)
            d = json.loads(out)
            bad = [s["step"] for s in d["steps"] if s["result"] == "failed"]
            assert bad == want and code == (1 if want else 0) and d["good"] is not want, (code, out, err)
            assert all(s["advice"] for s in d["steps"] if s["result"] == "failed")
            return {s["step"]: s["text"] for s in d["steps"] if s["result"] != "skipped"}

        good = steps([], "--token-file", token)
        assert list(good) == ["name", "udp", "certificate", "realm", "access", "large messages", "clock"] and n.id in good["certificate"], good
        assert "127.0.0.1" in good["name"]
        steps(["access"], n.address)
        steps(["realm"], "--realm", "other", "--token-file", token)
        steps(["certificate"], "macula://%s@%s" % ("ab" * 32, n.address), "--token-file", token)
        assert list(steps(["udp"], deaf)) == ["name", "udp"]
        code, out, _ = n.run("doctor", deaf)
        assert code == 1 and re.search("^failed   udp .*\n(?: .*\n)* +-> does maculad run there", out, re.M), out
        assert "of the variable" not in out, out  # the argument says it
        for text in out, n.ok("doctor", "--token-file", token):
            assert all(len(line) <= 80 for line in text.splitlines()), text
        assert n.id in text, text
        fails(n, 2, "a port is 1 to 65535", "doctor", "127.0.0.1:99999")


def on_a_terminal(folder):
    """Of 80 by 24: each picture begins at the top, and all of it is seen."""
    with Node(folder, http="off") as n:
        for i in range(30):
            n.macula("sub", "a", "--name", "client %02d of a long name" % i)
        until("all are in", lambda: json.loads(n.ok("--json", "status"))["clients"]["count"] >= 30)
        for args in (["top"], ["clients", "--watch"]):
            pid, terminal = pty.fork()
            if pid == 0:
                fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
                os.execve(MACULA, [MACULA, *args], n.env)
            shown = b""
            try:
                while shown.count(b"\x1b[J") < 2:
                    shown += os.read(terminal, 4096)
            finally:
                os.kill(pid, signal.SIGINT)
                code = os.waitpid(pid, 0)[1]
                os.close(terminal)
            assert code == 0, code
            picture = shown.split(b"\x1b[H")[1].split(b"\x1b[J")[0].decode().replace("\x1b[K", "").splitlines()
            assert 20 < len(picture) <= 23 and all(len(line) <= 80 for line in picture), picture
            assert args != ["top"] or any(re.search(r"[0-9] ([KM]i)?B$", line) for line in picture), picture
        text = n.ok("top", "--once")
        assert all(len(line) <= 80 for line in text.splitlines()), text


# ---- words -----------------------------------------------------------------------------------------------------------------
def misspelt(folder):
    n = Alone(folder)
    for args, word in ((["pubb", "a"], "did you mean 'pub'?"), (["pbu", "a"], "did you mean 'pub'?"), (["usb"], "did you mean 'sub'?"), (["pub", "a", "--qso", "1"], "did you mean --qos?"),
                       (["known", "fogret"], "did you mean `macula known forget`?"), (["stauts"], "did you mean 'status'?"), (["comp"], "did you mean 'completion'?"),
                       (["pub", "a", "--retian"], "did you mean --retain?"), (["--sever", "x", "pub", "a"], "did you mean --server?"),
                       (["call", "a", "--strategy", "fist"], "did you mean 'first'?"), (["call", "a", "--strategy", "best"], "random, first, round_robin, closest or least_pending"),
                       (["bench", "fanuot"], "did you mean `macula bench fanout`?"), (["clients", "emd", "1"], "did you mean `macula clients end`?"),
                       (["help", "pubb"], "did you mean 'pub'?"), (["pub", "a", "--qos", "7"], "from 0 to 2"),
                       (["sub", "a", "--timeout", "0"], "a time above 0"), (["call", "a", "--timeout", "0"], "a time above 0"),
                       (["sub", "a", "--timeout", "soon"], "such as 2s"), (["bench", "rpc", "--size", "4q"], "such as 64, 4k or 1MiB")):
        err = fails(n, 2, word, *args)
        assert err.count("\n") == 1, err
    assert "did you mean" not in fails(n, 2, "there is no command 'foo'", "help", "foo")
    assert "did you mean --check?" in n.run("--chekc", program=MACULAD)[2]


def units(folder):
    """The same in both programs."""
    n = Alone(folder)
    for size in ("65536", "64k", "64KiB", "64K", "64kib"):
        fails(n, 3, "not_connected", "-s", "127.0.0.1:1", "bench", "rpc", "--size", size)
        code, _, err = n.run("--check", "--state", folder, "--max-frame", size, program=MACULAD)
        assert code == 0, err
    for time in ("30", "30s", "5m", "5min", "1h", "30000ms"):
        fails(n, 3, "not_connected", "-s", "127.0.0.1:1", "sub", "a", "--timeout", time)
        code, _, err = n.run("--check", "--state", folder, "--idle-timeout", time, program=MACULAD)
        assert code == 0, err


class Alone(Node):
    """Without a node."""

    def __init__(self, folder):
        self.folder, self.env = folder, plain(XDG_CONFIG_HOME=os.path.join(folder, "config"))


# ---- examples --------------------------------------------------------------------------------------------------------------
def texts(n):
    """Of every --help, and the sheets."""
    general = n.ok("--help")
    commands = re.findall(r"^  ([a-z]+) +[a-z]", general.split("Global options")[0], re.M)
    found = re.findall(r"^Example: (.*)$", general, re.M)
    for c in commands:
        text = n.ok("help", c)
        assert text == n.ok(c, "--help") and all(len(line) <= 80 for line in text.splitlines()), c
        own = re.findall(r"^Example: (.*)$", text, re.M)
        assert own, c
        found += own
    sheet = n.ok("cheat")
    assert all(len(line) <= 80 for line in sheet.splitlines()), sheet
    assert set(n.ok("cheat", "calls").splitlines()) < set(sheet.splitlines())
    return found, [line for line in sheet.splitlines() if line and line[0] != "#"]


def stays(line):
    """What its standard error says when a command that stays has begun; None: it ends by itself."""
    if re.match("macula sub (?!.*(--(count|timeout)|&))", line):
        return "^subscribed "
    return "^serving " if line.startswith("macula serve") else None


def examples(folder):
    with Node(folder) as n:
        found, sheet = texts(n)
        n.env["PATH"] = build + ":" + n.env["PATH"]
        with open(os.path.join(folder, "access.yaml"), "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
            f.write("grants:\n  sensors: {pub: ['plant.**'], sub: ['plant.**']}\nusers:\n  bob: {password: '$7$101$AAECAwQFBgcICQoL$%s', grant: sensors}\n" % ("A" * 86 + "=="))
        for name in ("math.add", "test.calculator"):
            n.macula("serve", name, "--reply", "5").expect("err", "^serving ")
        for line in found:
            if not line.startswith("macula load "):  # tests/e2e/load.py runs it
                run_example(n, folder, line)
        folder = os.path.join(folder, "sheet")  # with contexts of its own
        os.mkdir(folder)
        n.env["XDG_CONFIG_HOME"] = os.path.join(folder, "config")
        with open(os.path.join(folder, "logo.png"), "w") as f:
            f.write("an image")
        for line in sheet:
            run_example(n, folder, line)


def run_example(n, folder, line):
    begun = stays(line)
    # What goes on until it is interrupted is, as soon as it has begun; the shell is the program itself then.
    script = "exec " + line if begun else line + "\nkill $!; wait; true" if " & " in line else line
    p = Process(["bash", "-c", script], n.env, True, cwd=folder)
    if begun:
        p.expect("err", begun)
        p.p.send_signal(signal.SIGTERM)
    code = p.wait()
    assert code == 0, "%s: exit %d, %r, %r" % (line, code, p.out[-500:], p.err)


def completion_of_maculad(folder):
    """Its options are those of --help, with their values."""
    n = Alone(folder)
    script = n.ok("completion", "bash")
    ask = script + '\nCOMP_WORDS=(maculad "$@"); COMP_CWORD=$#; %s; echo "${COMPREPLY[*]}"\n'

    def words(function, *typed):
        return subprocess.run(["bash", "--norc", "-c", ask % function, "_", *typed], env=dict(n.env, PATH=build + ":" + n.env["PATH"]), stdout=subprocess.PIPE, text=True,
                              timeout=DEADLINE, check=True).stdout.split()

    n_help = n.run("--help", program=MACULAD)[1]
    wanted = set(re.findall(r"^  .{4}(--[a-z0-9-]+)", n_help, re.M)) | {"--json"}
    assert set(words("_maculad", "--")) == wanted, set(words("_maculad", "--")) ^ wanted
    assert words("_maculad", "--log-level", "") == ["error", "warn", "info", "debug"] and words("_maculad", "--log-format", "j") == ["json"]
    assert words("_maculad", "--http", "") == ["off"] and words("_maculad", "--memory-max", "") == ["auto"]
    for name in ("one", "two"):
        n.ok("context", "add", name, "--server", "a")
    assert words("_macula", "context", "use", "") == ["one", "two"] and words("_macula", "--context", "t") == ["two"]
    assert words("_macula", "call", "a", "--strategy", "l") == ["least_pending"] and words("_macula", "pub", "--qos", "") == ["0", "1", "2"]
    # Each option of each command's --help is completed, and so the other way round.
    commands = re.findall(r"^  ([a-z]+) +[a-z]", n.ok("--help").split("Global options")[0], re.M)
    assert [w for w in words("_macula", "") if w[0] != "-"] == commands
    for c in commands:
        own, rest = n.ok("help", c).split("Global options")
        said = set(re.findall(r"--[a-z-]+[a-z]", own)) | set(re.findall(r"--[a-z-]+[a-z]", rest))
        offered = set(words("_macula", c, "--"))
        assert offered <= said, (c, offered - said)


if __name__ == "__main__":
    main("cli-line", contexts, what_is_shown, one_ca, lines, lines_refused, lines_over_a_restart, standard_input, messages, handlers, described,
         asking, doctor, on_a_terminal, misspelt, units, examples, completion_of_maculad)
