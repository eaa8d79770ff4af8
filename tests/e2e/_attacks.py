"""The attacks of attack.py, and who runs them: build/tests/hostile, and some over HTTP."""
import os
import socket
import subprocess

import _watched
from _mqtt_attacks import Mqtt

# name, attackers, options, and whether the plan is less than 3 times what the attack reaches (what a node needs at least is planned
# for all of its tables, and one attack fills few of them). {N}: N times --size.
ATTACKS = [
    ("half-open", 200, ["--max-half-open", "{240}"], False),
    ("half-certificate", 200, ["--max-half-open", "{240}", "--connection-pool", "{16}MiB"], False),
    ("certificate-names", 20, [], False),
    ("certificate-alternatives", 20, [], False),
    ("certificate-key", 20, [], False),
    ("certificate-chain", 40, ["--max-clients", "{64}"], False),
    ("half-frames", 40, ["--max-clients", "{64}", "--connection-pool", "{2}MiB", "--receive-pool", "{2}MiB"], False),
    ("gaps", 40, ["--max-clients", "{64}", "--connection-pool", "{4}MiB"], False),
    ("churn", 10, [], False),
    ("no-ack", 30, ["--max-clients", "{64}", "--connection-pool", "{4}MiB", "--send-pool", "{16}MiB"], False),
    ("ack-holes", 30, ["--max-clients", "{64}", "--connection-pool", "{4}MiB", "--send-pool", "{16}MiB"], False),
    ("keys", 40, ["--max-clients", "{64}"], False),
    ("migrate", 20, [], False),
    ("subscribe", 20, ["--max-clients", "{64}", "--subscription-bytes", "{32}MiB", "--max-subscriptions", "{100000}"], True),
    ("wildcards", 20, ["--subscription-bytes", "{16}MiB", "--max-subscriptions", "{30000}"], False),
    ("retained", 4, ["--retained-bytes", "{26}MiB", "--retained-count", "{52000}", "--send-pool", "2MiB"], True),
    ("services", 40, ["--max-clients", "{64}", "--max-services", "{10000}"], False),
    ("services-churn", 4, ["--max-clients", "{64}"], False),
    ("calls", 10, ["--max-clients", "{64}", "--max-calls", "{10000}", "--call-bytes", "{16}MiB", "--send-pool", "{16}MiB"], False),
    ("takeover", 20, [], False),
    ("node", 4, ["--max-records", "{4000}", "--record-bytes", "{2}MiB"], False),
    ("initial-holes", 200, ["--max-half-open", "{240}", "--connection-pool", "{16}MiB"], False),
    ("holes", 40, ["--max-clients", "{64}", "--connection-pool", "{8}MiB"], False),
    ("shares", 90, ["--max-clients", "{128}", "--connection-pool", "{8}MiB"], False),
    ("pings", 40, ["--max-clients", "{64}"], False),
    ("acks", 30, ["--max-clients", "{64}", "--connection-pool", "{4}MiB", "--send-pool", "{16}MiB"], False),
    ("retire-ids", 20, [], False),
    ("new-ids", 20, [], False),
    ("challenges", 20, [], False),
    ("noise", 20, [], False),
    ("http", 31, [], False),
]
MQTT = ("mqtt", 1, Mqtt.OPTIONS, False)  # it judges what it is told as well


def begun(node, name, count):
    return {"http": Http, "mqtt": Mqtt}[name](node, count) if name in ("http", "mqtt") else Hostile(node, name, count)


class Hostile:
    def __init__(self, node, name, count, shows=()):
        self.process = _watched.start("tests/hostile", node.address, name, str(count), *shows,
                                      stderr=subprocess.PIPE if not os.environ.get("LOUD") else None)
        os.set_blocking(self.process.stdout.fileno(), False)

    def ready(self):
        return bool(self.process.stdout.readline()) or self.process.poll() is not None

    def end(self):
        self.process.kill()
        self.process.wait()


class Http:
    """Headers that never end, and readers of large answers that do not read."""

    def __init__(self, node, count):
        host, port = node.http.split("//")[1].rsplit(":", 1)
        head = b" HTTP/1.1\r\nHost: localhost\r\n"
        requests = [b"GET /health" + head + b"X: " + b"x" * 1000 + b"\r\n" + b"Y: y\r\n" * 2500, b"GET /metrics" + head + b"\r\n",
                    b"GET /api/clients" + head + b"\r\n", b"GET /api/dht/get?key=a.b" + head + b"\r\n"]
        self.socks = []
        for i in range(count):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect((host, int(port)))
            s.sendall(requests[i % len(requests)])
            self.socks.append(s)
        self.process = node.process

    def ready(self):
        return True

    def end(self):
        for s in self.socks:
            s.close()
