#!/usr/bin/env python3
"""Clients of MQTT that others wrote, against a real node: tests/e2e/mqtt.py BUILD_FOLDER [CASE...]. mosquitto_pub, mosquitto_sub and
paho."""
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.append("/usr/lib/python3/dist-packages")  # where Debian has paho, whichever python3 this is
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import _mqtt_attacks as raw
from _cases import main
from _node import Node, plain, until
from _process import DEADLINE, Process

VERSIONS = {"3.1.1": "mqttv311", "5": "mqttv5"}


def port_of(address):
    return address.rsplit(":", 1)[1]


def node(folder, *args):
    n = Node(folder, "--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0", *args)
    n.mqtt, n.mqtts = port_of(n.process.mqtt[0]), port_of(n.process.mqtts[0])
    return n


def pub(n, *args, version="5", port=None, fails=False):
    p = subprocess.run(["mosquitto_pub", "-p", port or n.mqtt, "-V", VERSIONS[version], *args], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=DEADLINE)
    assert bool(p.returncode) == fails, (args, p.returncode, p.stderr)


def sub(n, *args, version="5", port=None):
    """Subscribed already."""
    p = Process(["stdbuf", "-oL", "mosquitto_sub", "-p", port or n.mqtt, "-V", VERSIONS[version], "-d", "-F", "GOT %t %p %q %r", *args], plain(), text=True)
    p.expect("out", r"^Subscribed \(mid")
    return p


class Client:
    """paho's, with what comes in a queue."""

    def __init__(self, n, name, version="5", clean=True, expiry=0, will=None, login=None):
        five = version == "5"
        self.got, self.acked, self.ended, self.connected, self.subscribed = (queue.Queue() for _ in range(5))
        self.c = paho.Client(name, protocol=paho.MQTTv5 if five else paho.MQTTv311, **({} if five else {"clean_session": clean}))
        self.c.on_message = lambda c, u, m: self.got.put((m.topic, m.payload.decode(), m.qos, m.retain))
        self.c.on_publish = lambda c, u, mid, *more: self.acked.put(mid)
        self.c.on_disconnect = lambda c, u, rc, *more: self.ended.put(rc)
        self.c.on_connect = lambda c, u, flags, rc, *more: self.connected.put((int(getattr(rc, "value", rc)), flags["session present"]))
        self.c.on_subscribe = lambda c, u, mid, codes, *more: self.subscribed.put([int(getattr(q, "value", q)) for q in codes])
        if will:
            self.c.will_set(*will)
        if login:
            self.c.username_pw_set(*login)
        more = {}
        if five:
            more = {"clean_start": clean, "properties": Properties(PacketTypes.CONNECT)}
            more["properties"].SessionExpiryInterval = expiry
        self.c.connect("127.0.0.1", int(n.mqtt), 60, **more)
        self.c.loop_start()
        self.answer = self.connected.get(timeout=DEADLINE)

    def subscribe(self, pattern, qos=0):
        self.c.subscribe(pattern, qos)
        return self.subscribed.get(timeout=DEADLINE)

    def publish(self, topic, payload, qos=0, retain=False):
        self.c.publish(topic, payload, qos, retain)
        self.acked.get(timeout=DEADLINE)

    def next(self):
        return self.got.get(timeout=DEADLINE)

    def leave(self):
        self.c.disconnect()
        self.c.loop_stop()

    def vanish(self):
        """As when its cable is pulled."""
        self.c.loop_stop()
        self.c._sock_close()


def both_ways(folder):
    """Messages of each QoS between mosquitto's clients of both versions and native ones."""
    with node(folder) as n:
        native = n.sub("home.**")
        readers = [sub(n, "-t", "home/#", "-q", "2", version=v) for v in VERSIONS]
        for v in VERSIONS:
            for qos in "012":
                pub(n, "-t", "home/%s/t" % qos, "-m", "from-" + v, "-q", qos, version=v)
                for r in readers:
                    r.expect("out", r"^GOT home/%s/t from-%s %s 0$" % (qos, v, qos))
                native.expect("out", r"home\.%s\.t.*from-%s" % (qos, v))
        n.ok("pub", "home.native", "hello")
        for r in readers:
            r.expect("out", r"^GOT home/native hello 0 0$")
        rows = {(c["door"], c["protocol"]) for c in json.loads(n.ok("--json", "clients"))["clients"]}
        assert {("quic", "native"), ("mqtt", "3.1.1"), ("mqtt", "5.0")} <= rows, rows


def pair(folder, *args):
    """Two nodes of one mesh."""
    a = node(os.path.join(folder, "a"), *args)
    b = node(os.path.join(folder, "b"), "--join", a.address, *args)
    for n in a, b:
        until("they exchange subscriptions", lambda n=n: n.metric("interest_nodes") == 1)
    return a, b


def known(n, count):
    """The node knows so many patterns of the other one's clients."""
    until("patterns of the other node", lambda: n.metric('table_entries{table="interest"}') >= count)


def properties(folder):
    """User properties and expiry between mosquitto's clients at two nodes and native ones; request and response."""
    a, b = pair(folder)
    with a, b:
        native = b.macula("--json", "sub", "p.#")
        native.expect("err", r"^subscribed ")
        reader = Process(["stdbuf", "-oL", "mosquitto_sub", "-p", b.mqtt, "-V", "mqttv5", "-d", "-t", "p/#", "-F", "GOT %t %p %P %E %C"],
                         plain(), text=True)
        reader.expect("out", r"^Subscribed \(mid")
        known(a, 1)
        more = ["-D", "publish", "user-property", "unit", "C", "-D", "publish", "content-type", "text/plain", "-D", "publish",
                "message-expiry-interval", "100"]
        pub(a, "-t", "p/1", "-m", "21", "-q", "1", *more)
        reader.expect("out", r"^GOT p/1 21 unit:C 100 text/plain$")
        line = json.loads(native.expect("out", r"^\{.*p\.1.*\}$").group())
        assert [(h["name"], h["value"]) for h in line["headers"]] == [("macula.content-type", "text/plain"), ("unit", "C")], line
        assert 0 < line["expires_ms"] <= 100000, line
        a.ok("pub", "p.2", "22", "--header", "unit=F", "--header", "macula.content-type=x/y", "--expires", "1m")
        reader.expect("out", r"^GOT p/2 22 unit:F 60 x/y$")
        # an answer finds its way back across nodes
        answerer = Process(["stdbuf", "-oL", "mosquitto_sub", "-p", b.mqtt, "-V", "mqttv5", "-d", "-t", "ask/#", "-F", "GOT %p %R %D"], plain(), text=True)
        answerer.expect("out", r"^Subscribed \(mid")
        known(a, 2)
        asker = Process(["mosquitto_rr", "-p", a.mqtt, "-V", "mqttv5", "-t", "ask/it", "-e", "answers/1", "-m", "why", "-W", str(DEADLINE),
                         "-D", "publish", "correlation-data", "42"], plain(), text=True)
        answerer.expect("out", r"^GOT why answers/1 42$")
        known(b, 1)
        pub(b, "-t", "answers/1", "-m", "because", "-D", "publish", "correlation-data", "42")
        asker.expect("out", r"^because$")
        # what has an end is retained until then
        a.ok("pub", "p.kept", "short", "--retain", "--qos", "1", "--expires", "1s")
        until("it ends", lambda: a.metric('table_entries{table="retained"}') == 0)


def groups(folder):
    """Shared subscriptions and native groups are one: each message goes to one member, at whichever node."""
    a, b = pair(folder)
    with a, b:
        members = [sub(a, "-t", "$share/g/w/#", "-q", "1"), sub(b, "-t", "$share/g/w/#", "-q", "1", version="3.1.1"),
                   b.macula("sub", "w.#", "--group", "g")]
        members[2].expect("err", r"^subscribed ")
        plain_reader = sub(b, "-t", "w/#", "-q", "1")
        known(a, 2)
        for n in a, b:
            for i in range(20):
                n.ok("pub", "w.%d" % i, "job-%s-%d" % (n.id[:4], i), "--qos", "1")
        pub(a, "-t", "w/end", "-m", "job-end", "-q", "1")
        plain_reader.expect("out", r"^GOT w/end job-end 1 0$")
        until("one member got each", lambda: sum(m.out.count("job-") for m in members) == 41)
        assert plain_reader.out.count("job-") == 41
        assert members[0].out.count("job-") == 21, members[0].out  # of its own node's publishers: local members come first


def twins(folder):
    """A native client's will, events for operators, and a session that moves to another node."""
    a, b = pair(folder, "--idle-timeout", "15s")
    with a, b:
        op = a.macula("--json", "sub", "com.macula.event.client.*")
        op.expect("err", r"^subscribed ")
        reader = sub(b, "-t", "state/#", "-q", "1")
        known(a, 1)
        known(b, 1)
        mortal = a.macula("sub", "x", "--will", "state.mortal=gone")
        mortal.expect("err", r"^subscribed ")
        mortal.end()
        reader.expect("out", r"^GOT state/mortal gone 0 0$")
        op.expect("out", r'"topic": ?"com.macula.event.client.ended".*lost')
        first = Client(a, "mover", clean=False, expiry=600)
        second = Client(b, "mover", clean=False, expiry=600)
        assert first.answer == (0, 0) and second.answer == (0, 0), (first.answer, second.answer)
        until("the older session ends", lambda: a.metric("mqtt_sessions_claimed_total") >= 1)
        second.leave()
        first.c.loop_stop()


def exactly_once(folder):
    """QoS 2 in four steps on both sides, at one node and across two, live, retained, as a will and after the client was away."""
    a, b = pair(folder)
    with a, b:
        readers = [sub(n, "-t", "o/#", "-q", "2", version=v) for n in (a, b) for v in VERSIONS]
        less = [sub(n, "-t", "o/#", "-q", "1") for n in (a, b)]
        away = Client(b, "away", clean=False, expiry=1000)
        assert away.subscribe("o/#", 2) == [2]
        known(a, 1)
        known(b, 1)
        away.vanish()
        until("it is away", lambda: b.metric("mqtt_offline") == 1)
        for i, v in enumerate(VERSIONS):
            p = subprocess.run(["mosquitto_pub", "-d", "-p", a.mqtt, "-V", VERSIONS[v], "-t", "o/%d" % i, "-m", "from-" + v, "-q", "2", "-r"],
                               stdout=subprocess.PIPE, timeout=DEADLINE, text=True)
            steps = re.findall(r"(sending|received) (PUBLISH|PUBREC|PUBREL|PUBCOMP)\b", p.stdout)
            assert steps == [("sending", "PUBLISH"), ("received", "PUBREC"), ("sending", "PUBREL"), ("received", "PUBCOMP")], p.stdout
            for r in readers:
                r.expect("out", r"^GOT o/%d from-%s 2 0$" % (i, v))
                until("its four steps", lambda: len(re.findall(r"sending PUBCOMP\b", r.out)) == i + 1)
                steps = re.findall(r"(?:sending|received) (PUBREC|PUBREL|PUBCOMP)\b", r.out)
                assert steps == ["PUBREC", "PUBREL", "PUBCOMP"] * (i + 1), r.out
            for r in less:
                r.expect("out", r"^GOT o/%d from-%s 1 0$" % (i, v))
        away = Client(b, "away", clean=False, expiry=1000)
        assert away.answer == (0, 1), away.answer
        assert [away.next() for _ in VERSIONS] == [("o/%d" % i, "from-" + v, 2, False) for i, v in enumerate(VERSIONS)]
        native = b.macula("--json", "sub", "o.#")
        native.expect("err", r"^subscribed ")
        a.ok("pub", "o.native", "twin", "--qos", "2")  # a native publisher's, too
        for r in readers:
            r.expect("out", r"^GOT o/native twin 2 0$")
        native.expect("out", r'"twin","qos":2')
        assert away.next() == ("o/native", "twin", 2, False)
        for n in a, b:  # b asks a for what it retains
            late = sub(n, "-t", "o/0", "-q", "2")
            late.expect("out", r"^GOT o/0 from-3.1.1 2 1$")
        mortal = Client(a, "mortal", will=("o/mortal", "gone", 2))
        mortal.vanish()
        for r in readers:
            r.expect("out", r"^GOT o/mortal gone 2 0$")
        assert away.next() == ("o/mortal", "gone", 2, False)
        away.leave()


def tls(folder):
    """Over TLS, with the node's certificate."""
    with node(folder) as n:
        cert = os.path.join(folder, "node.crt")
        pem = open(os.path.join(n.state, "identity.pem")).read()
        with open(cert, "w") as f:
            f.write(pem[pem.index("-----BEGIN CERTIFICATE"):])
        secret = ["--cafile", cert, "--insecure"]
        reader = sub(n, "-t", "s/#", "-q", "1", *secret, port=n.mqtts)
        pub(n, "-t", "s/1", "-m", "secret", "-q", "1", *secret, port=n.mqtts)
        pub(n, "-t", "s/2", "-m", "plain", "-q", "1")
        reader.expect("out", r"^GOT s/1 secret 1 0$")
        reader.expect("out", r"^GOT s/2 plain 1 0$")
        long = os.path.join(folder, "long")
        with open(long, "w") as f:
            f.write("x" * 300000)
        pub(n, "-t", "s/3", "-f", long, "-q", "1", *secret, port=n.mqtts)  # longer than what waits in front of TLS
        reader.expect("out", r"^GOT s/3 x{300000} 1 0$")
        pub(n, "-t", "s/4", "-m", "x", *secret, port=n.mqtt, fails=True)  # TLS on the port without
        n.process.expect("err", r"mqtt_closed .*looks like TLS")
        pub(n, "-t", "s/4", "-m", "x", port=n.mqtts, fails=True)
        n.process.expect("err", r"level=warn event=mqtt_tls_refused address=127.0.0.1:\d+ text=\"this looks like MQTT without TLS")


def retained(folder):
    with node(folder) as n:
        pub(n, "-t", "r/1", "-m", "kept", "-q", "1", "-r", version="3.1.1")
        for v in VERSIONS:
            sub(n, "-t", "r/#", version=v).expect("out", r"^GOT r/1 kept 0 1$")
        pub(n, "-t", "r/1", "-n", "-q", "1", "-r")
        r = sub(n, "-t", "r/#")
        pub(n, "-t", "r/2", "-m", "live")
        r.expect("out", r"^GOT r/2 live 0 0$")
        assert "r/1" not in r.out, r.out


def sessions(folder):
    """What comes while a client is away waits for it; a second connection takes the session over."""
    with node(folder) as n:
        for v in VERSIONS:
            c = Client(n, "dur" + v, v, clean=False, expiry=1000)
            assert c.answer == (0, 0), c.answer
            assert c.subscribe("d/#", 1) == [1]
            c.vanish()
            source = Client(n, "source", v)
            for i in range(20):
                source.publish("d/%d" % i, str(i), 1 + i % 2)
            c = Client(n, "dur" + v, v, clean=False, expiry=1000)
            assert c.answer == (0, 1), c.answer
            topics = [c.next()[0] for _ in range(20)]
            assert topics == ["d/%d" % i for i in range(20)], (v, topics)
            again = Client(n, "dur" + v, v, clean=False, expiry=1000)
            assert again.answer == (0, 1), again.answer
            c.ended.get(timeout=DEADLINE)
            c.c.loop_stop()
            source.publish("d/x", "x", 1)
            while (m := again.next()) != ("d/x", "x", 1, False):  # what the first one had no time to acknowledge comes once more
                assert m[0].startswith("d/"), m
            again.leave()
            source.leave()


def will(folder):
    with node(folder) as n:
        reader = sub(n, "-t", "w", "-q", "1")
        Client(n, "w1", "5", will=("w", "not said", 1)).leave()
        Client(n, "w2", "3.1.1", will=("w", "gone", 1)).vanish()
        reader.expect("out", r"^GOT w gone 1 0$")
        assert "not said" not in reader.out


def many(folder):
    """A thousand messages with QoS 1 each way between two clients, none lost, in order."""
    with node(folder) as n:
        a, b = Client(n, "a", "5"), Client(n, "b", "3.1.1")
        a.subscribe("to/a", 1)
        b.subscribe("to/b", 1)
        for i in range(1000):
            a.c.publish("to/b", str(i), 1)
            b.c.publish("to/a", str(i), 1)
        for c in a, b:
            assert [c.next()[1] for _ in range(1000)] == [str(i) for i in range(1000)]
        a.leave()
        b.leave()


def burst(folder):
    """What comes at once, more than a turn has time for, is answered at once: nothing waits for a clock."""
    with node(folder) as n:
        c = raw.Client("127.0.0.1:" + n.mqtt, "127.0.0.1").enter("burst")
        sender = threading.Thread(target=c.send, args=(b"".join(raw.publish_packet("a/b", b"1", 1, 1 + i) for i in range(8000)),))
        began = time.monotonic()
        sender.start()
        assert all(c.next()[0] == raw.PUBACK for _ in range(8000))
        took = time.monotonic() - began
        sender.join()
        assert took < 8, took  # 30 s and more where each second some went on


def ended(folder):
    """An operator ends one of several clients that have shown no key."""
    with node(folder) as n:
        clients = [Client(n, name, "5") for name in "abc"]
        row = next(line for line in n.ok("clients").splitlines() if " b " in line)
        assert n.ok("clients", "end", row.split()[0]) == "ended 1\n"
        clients[1].ended.get(timeout=DEADLINE)
        clients[1].c.loop_stop()
        left = {c["name"] for c in json.loads(n.ok("--json", "clients"))["clients"]}
        assert {"a", "c"} <= left and "b" not in left, left
        clients[0].leave()
        clients[2].leave()


def quota(folder):
    """Who comes back has all the subscriptions that the quota allows, as before."""
    path = os.path.join(folder, "access.yaml")
    with open(path, "w") as f:
        f.write("grants:\n  few: {role: client, pub: ['**'], sub: ['**'], quotas: {subscriptions: 3}}\nanonymous: few\n")
    with node(folder, "--access", path) as n:
        for _ in range(3):
            c = Client(n, "c", "5", clean=False, expiry=1000)
            assert [c.subscribe("q/%d" % i, 1) for i in range(4)] == [[1], [1], [1], [0x97]]
            for i in range(3):
                pub(n, "-t", "q/%d" % i, "-m", "x", "-q", "1")
                assert c.next()[0] == "q/%d" % i
            c.vanish()
        c = Client(n, "c", "5", clean=False, expiry=1000)
        assert c.answer == (0, 1), c.answer
        for i in range(3):
            pub(n, "-t", "q/%d" % i, "-m", "x", "-q", "1")
            assert c.next()[0] == "q/%d" % i
        c.leave()


def refused(folder):
    """An access file judges; a port that is taken, and one that others reach, are errors that say what to do."""
    path = os.path.join(folder, "access.yaml")
    with open(path, "w") as f:
        f.write("grants:\n  few: {role: client, pub: ['a.**'], sub: ['a.**']}\n  all: {role: operator, pub: ['**'], sub: ['**']}\n"
                "anonymous: few\ndefault: all\n")
    with node(folder, "--access", path) as n:
        pub(n, "-t", "a/1", "-m", "x", "-q", "1")
        c = Client(n, "c", "5")
        assert c.subscribe("b/#", 1) == [0x87]
        assert c.subscribe("a/#", 1) == [1]
        c.leave()
        few = "ulimit -n 4096; exec \"$0\" \"$@\""
        for more, said in (["--mqtt", "127.0.0.1:" + n.mqtt], "is in use"), (["--mqtt", "0.0.0.0:0"], "can be reached by others"), (
                ["--mqtt", "127.0.0.1:0", "--mqtt-pool", "2MiB"], "too small for a single client"), (
                ["--mqtt", "127.0.0.1:0"], "raise them with 'ulimit -n 11280'"):
            p = subprocess.run(["sh", "-c", few if "ulimit" in said else few[15:], os.path.join(sys.argv[1], "maculad"), "--listen", "127.0.0.1:0", "--http", "off", "--state",
                                os.path.join(folder, "other"), *more], env=plain(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               timeout=DEADLINE)
            assert p.returncode and said in p.stderr.decode(), p.stderr


def users(folder):
    """Users by their passwords, a client by its certificate, and what SIGHUP does to both."""
    path, key, cert, ca = (os.path.join(folder, name) for name in ("access.yaml", "c.key", "c.crt", "node.crt"))
    macula = os.path.join(sys.argv[1], "macula")

    def run(*args, stdin=None):
        p = subprocess.run(args, input=stdin, env=plain(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE)
        assert p.returncode == 0, (args, p.stderr)
        return p.stdout.decode()

    run("openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=c", "-keyout", key, "-out", cert)
    digest = run("sh", "-c", 'openssl x509 -in "$1" -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum', "_", cert).split()[0]

    def write(password):
        with open(path, "w") as f:
            f.write("grants:\n  own: {pub: ['u.${user}.**'], sub: ['u.${user}.**']}\n  op: {role: operator, pub: ['**'], sub: ['**']}\n"
                    "  key: {pub: ['k.${id}'], sub: ['k.**']}\ndefault: op\nkeys:\n  %s: key\n" % digest)
        os.chmod(path, 0o600)
        run(macula, "user", "add", "alice", "--access", path, "--grant", "own", stdin=password.encode())

    write("first")
    with node(folder, "--access", path) as n:
        c = Client(n, "c", "5", login=("alice", "first"))
        assert c.answer == (0, 0), c.answer
        assert c.subscribe("u/alice/#", 1) == [1] and c.subscribe("u/bob/#", 1) == [0x87]
        pub(n, "-t", "u/alice/1", "-m", "x", "-q", "1", "-u", "alice", "-P", "first", version="3.1.1")
        assert c.next()[:2] == ("u/alice/1", "x")
        assert [u["user"] for u in json.loads(n.ok("--json", "clients"))["clients"] if u["name"] == "c"] == ["alice"]
        for version, wrong in ("5", 0x86), ("3.1.1", 4):
            for login in ("alice", "second"), ("bob", "first"), ("alice", None):
                bad = Client(n, "bad", version, login=login)
                assert bad.answer[0] == wrong, (version, login, bad.answer)
                bad.c.loop_stop()
        bad = Client(n, "none", "5")
        assert bad.answer[0] == 0x87, bad.answer
        bad.c.loop_stop()
        # A certificate instead of a password.
        pem = open(os.path.join(n.state, "identity.pem")).read()
        with open(ca, "w") as f:
            f.write(pem[pem.index("-----BEGIN CERTIFICATE"):])
        secret = ["--cafile", ca, "--insecure", "--cert", cert, "--key", key]
        reader = sub(n, "-t", "k/+", "-q", "1", *secret, port=n.mqtts)
        pub(n, "-t", "k/" + digest, "-m", "mine", "-q", "1", *secret, port=n.mqtts)
        reader.expect("out", "^GOT k/%s mine 1 0$" % digest)
        # Another password: who came by the old one is ended, and the new one counts.
        write("second")
        n.process.p.send_signal(signal.SIGHUP)
        c.ended.get(timeout=DEADLINE)
        c.c.loop_stop()
        c = Client(n, "c", "5", login=("alice", "second"))
        assert c.answer == (0, 0), c.answer
        c.leave()


def stopped(folder):
    """At the node's end clients are told, and it ends in time."""
    with node(folder) as n:
        c = Client(n, "c", "5", expiry=100)
        n.process.p.terminate()
        c.ended.get(timeout=DEADLINE)
        c.c.loop_stop()
        assert n.process.wait() == 0



if __name__ == "__main__":
    main("mqtt", both_ways, properties, groups, twins, exactly_once, tls, retained, sessions, will, many, burst, ended, quota, refused, users, stopped)
