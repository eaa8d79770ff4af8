#!/usr/bin/env python3
"""The lists of macula for people, against real nodes: tests/e2e/tables.py BUILD_FOLDER [CASE...]. Within 80 columns, with ids that can be
copied; --wide cuts nothing."""
import json
import os
import socket

from _cases import main
from _node import Node, until
from _process import DEADLINE

CLIENT = "sensor-in-the-hall-of-the-press-1"  # a client id longer than its column


def text(s):
    return len(s).to_bytes(2, "big") + s.encode()


class Mqtt:
    """A client of MQTT, by hand: as far as the lists see it."""

    def __init__(self, address, client, level, expiry=0):
        host, port = address.rsplit(":", 1)
        self.s = socket.create_connection((host, int(port)), timeout=DEADLINE)
        properties = b"\x05\x11" + expiry.to_bytes(4, "big") if level == 5 else b""
        body = text("MQTT") + bytes([level, 0 if expiry else 2, 0, 0]) + properties + text(client)
        self.s.sendall(bytes([0x10, len(body)]) + body)
        self.answer(0x20)

    def exactly(self, n):
        got = b""
        while len(got) < n:
            more = self.s.recv(n - len(got))
            assert more, "the node has closed the connection"
            got += more
        return got

    def answer(self, first):
        """One packet, of this kind; all are shorter than 128 bytes."""
        head = self.exactly(2)
        assert head[0] == first and head[1] < 128, head
        return self.exactly(head[1])

    def subscribe(self, pattern):
        body = b"\x00\x01\x00" + text(pattern) + b"\x01"
        self.s.sendall(bytes([0x82, len(body)]) + body)
        self.answer(0x90)

    def close(self):
        self.s.close()


def table(n, *args):
    """Its head, and its lines as lists of words."""
    lines = n.ok(*args).splitlines()
    if "--wide" not in args:
        for line in lines:
            assert len(line) <= 80, "wider than a terminal: %r" % line
    return lines[0].split(), [line.split() for line in lines[1:]]


def named(n, name):
    return [c for c in json.loads(n.ok("--json", "clients"))["clients"] if c["name"] == name]


def lists(folder):
    a = Node(os.path.join(folder, "a"), "--mqtt", "127.0.0.1:0", "--name", "a node whose name is longer than its column")
    b = Node(os.path.join(folder, "b"), "--join", a.address, "--name", "another node whose name is longer than its column")
    with a, b:
        door = a.process.mqtt[0]
        reader = a.sub("plant." + "x" * 100 + ".*", "--group", "a group of a long name")
        server = a.macula("serve", "math." + "y" * 100, "--echo")
        server.expect("err", r"^serving ")
        three = Mqtt(door, "three", 4)
        five = Mqtt(door, CLIENT, 5, 1000)
        five.subscribe("five/#")
        five.close()
        until("it is away", lambda: a.metric("mqtt_offline") == 1)
        a.ok("pub", "five.1", "x" * 2048, "--qos", "1")
        until("it waits", lambda: [c["queued_messages"] for c in named(a, CLIENT)] == [1])
        assert not named(a, CLIENT)[0]["connected"]
        head, rows = table(a, "clients")
        assert head == "ID CLIENT DOOR PROTO USER INFLIGHT QUEUE DROPS".split(), head
        cells = {(r[2], r[3]): r for r in rows if len(r) == len(head)}
        assert {("mqtt", "3.1.1"), ("away", "5.0"), ("quic", "native")} <= set(cells), rows
        away = cells["away", "5.0"]
        assert away[4:6] == ["-", "0"] and away[6].startswith("2.") and away[6].endswith("K") and away[7] == "0", away
        assert away[1].endswith("~") or away[1] == CLIENT, away
        _, rows = table(a, "clients", "--wide")
        assert any(CLIENT in r for r in rows), rows
        assert table(a, "subs")[0] == "PATTERN ID CLIENT GROUP QOS".split()
        assert table(a, "services")[0][:3] == "PROCEDURE ID CLIENT".split()
        until("they know each other", lambda: json.loads(b.ok("--json", "peers"))["peers"])
        head, rows = table(b, "peers")
        assert head == "ID NAME STATE RTT AGE ADDRESS".split() and rows[0][0] == a.id[:16], (head, rows)
        assert any(a.id in r for r in table(b, "peers", "--wide")[1])
        assert b.ok("ping", rows[0][0], "--count", "1").startswith(a.id[:16])  # as it is shown
        table(a, "status")
        assert len(table(a, "status", "--wide")[1]) >= len(table(a, "status")[1])
        # What is shown can be copied: `clients end` takes it.
        end_id = next(c["id"] for c in named(a, "macula") if c["services"])
        a.ok("clients", "end", end_id[:16])
        a.ok("clients", "end", away[0])
        until("the session that was away is over", lambda: a.metric("mqtt_offline") == 0)
        three.close()
        reader.end()
        server.end()



if __name__ == "__main__":
    main("tables", lists)
