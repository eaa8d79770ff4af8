#!/usr/bin/env python3
"""What an idle client of MQTT takes of a node, and of mosquitto, in the same run: bench/mqtt_idle.py BUILD_FOLDER [--clients 10000] [--tls].

The same clients connect to each, over TCP from loopback, without a subscription and then with one of their own (QoS 1). Resident memory of the
server before and after, divided by the clients; and of the kernel what /proc/net/sockstat counts for TCP (pages of socket buffers), both ends.
"""
import argparse
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

BATCH = 100  # clients that connect at once


def text(s):
    return struct.pack(">H", len(s)) + s.encode()


def packet(first, body):
    n, length = len(body), b""
    while True:
        n, digit = n >> 7, n & 127
        length += bytes([digit | 128 if n else digit])
        if not n:
            return bytes([first]) + length + body


def connect(i):
    return packet(0x10, text("MQTT") + b"\x04\x02\0\0" + text("device-%05d" % i))


def subscribe(i):
    return packet(0x82, b"\0\1" + text("devices/%05d/set" % i) + b"\1")


def exact(s, n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        assert more, "a client was refused"
        got += more
    return got


def resident(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def socket_pages():
    with open("/proc/net/sockstat") as f:
        words = next(line for line in f if line.startswith("TCP:")).split()
    return int(words[words.index("mem") + 1]) * os.sysconf("SC_PAGESIZE")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Maculad:
    name = "macula"

    def __init__(self, folder, tls):
        self.p = subprocess.Popen([os.path.join(args.build, "maculad"), "--listen", "127.0.0.1:0", "--http", "off", "--state", os.path.join(folder, "state"),
                                   "--mqtt", "off" if tls else "127.0.0.1:0", *(["--mqtts", "127.0.0.1:0"] if tls else []),
                                   "--max-clients", str(args.clients + 100), "--log-level", "error"], stdout=subprocess.PIPE, text=True)
        key = "mqtts" if tls else "mqtt"
        self.port = next(int(line.rsplit(":", 1)[1]) for line in self.p.stdout if line.split()[:1] == [key])


class Mosquitto:
    name = "mosquitto"

    def __init__(self, folder, tls):
        self.port = free_port()
        conf = os.path.join(folder, "mosquitto.conf")
        more = ""
        if tls:
            cert, key = os.path.join(folder, "m.crt"), os.path.join(folder, "m.key")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-keyout",
                            key, "-out", cert], check=True, stderr=subprocess.DEVNULL)
            more = "certfile %s\nkeyfile %s\n" % (cert, key)
        with open(conf, "w") as f:
            f.write("listener %d 127.0.0.1\n%sallow_anonymous true\nuser root\npersistence false\nlog_type error\n" % (self.port, more))
        self.p = subprocess.Popen([shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", conf], stderr=subprocess.DEVNULL)


def dial(port, context):
    for _ in range(100):
        try:
            s = socket.create_connection(("127.0.0.1", port), 30)
            return context.wrap_socket(s, do_handshake_on_connect=False) if context else s
        except ConnectionRefusedError:
            time.sleep(0.05)  # mosquitto says nothing once it listens
    raise SystemExit("nothing listens at port %d" % port)


def measure(server):
    context = None
    if args.tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    dial(server.port, None).close()
    time.sleep(1)
    before, kernel, held = resident(server.p.pid), socket_pages(), []
    for first in range(0, args.clients, BATCH):
        some = [dial(server.port, context) for _ in range(min(BATCH, args.clients - first))]
        for i, s in enumerate(some):
            s.sendall(connect(first + i))
        for s in some:
            assert exact(s, 4)[:2] == b"\x20\2"
        held += some
    time.sleep(2)
    idle, pages = resident(server.p.pid), socket_pages()
    for i, s in enumerate(held):
        s.sendall(subscribe(i))
        assert exact(s, 5)[:1] == b"\x90"
    time.sleep(2)
    subscribed = resident(server.p.pid)
    n = args.clients
    print("%-10s %9.0f bytes an idle client, %9.0f with a subscription; %.1f MiB before; the kernel's buffers %.0f a client" %
          (server.name, (idle - before) / n, (subscribed - before) / n, before / 2**20, max(0, pages - kernel) / n), flush=True)
    for s in held:
        s.close()
    server.p.terminate()
    server.p.wait()
    return (idle - before) / n


def main():
    import resource
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        ours = measure(Maculad(folder, args.tls))
        if not (shutil.which("mosquitto") or os.path.exists("/usr/sbin/mosquitto")):
            print("mosquitto is not installed: nothing to compare with")
            return 0
        theirs = measure(Mosquitto(folder, args.tls))
    print("%.2f of mosquitto's" % (ours / theirs))
    return 0


p = argparse.ArgumentParser()
p.add_argument("build")
p.add_argument("--clients", type=int, default=10000)
p.add_argument("--tls", action="store_true")
args = p.parse_args()
args.build = os.path.abspath(args.build)
sys.exit(main())
