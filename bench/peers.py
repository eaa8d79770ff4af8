#!/usr/bin/env python3
"""The same work by Macula, NATS and mosquitto, in turn: peers.py BUILD_FOLDER [--runs N] [--only NAME,...] [--scale F] [--json].

Macula is used as any program uses it, through the library that BUILD_FOLDER installs; NATS and mosquitto are Debian's. Each run of each
work has servers of its own on loopback, with mutual TLS and certificates of a temporary folder, and a driver (bench/peers/) that measures
the servers' CPU time an operation and the rate, from outside of them. Works that begin with mqtt speak MQTT 3.1.1 to all three, by one
driver of ours, over TCP, and those with mqtts over TLS without certificates of clients; quic-mqtt and mqtt-quic go through one node, in by
the one and out by the other. Prints medians and how they compare: above 1.00 Macula is ahead.
Load and servers share the machine: compare CPU time first, and only figures of one run. Bounded in count, five minutes at most for each
measurement; three runs of all take about an hour, --only mqtt,mqtts half of it. --scale 0.1: a tenth of each count. Never fails for what it
measured.
"""
import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

bench = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(bench), "tests", "e2e"))
import _watched  # noqa: E402

p = argparse.ArgumentParser()
p.add_argument("build")
p.add_argument("--runs", type=int, default=3)
p.add_argument("--only", default="", help="names of the first column, or of systems, or native, mqtt, mqtts, mixed; separated by commas")
p.add_argument("--scale", type=float, default=1, help="of all counts")
p.add_argument("--json", action="store_true", help="every measurement, an object a line")
args = p.parse_args()
tls = None
live = []
MOST = 300  # seconds for a measurement
MOST_CLIENTS = 12000  # of a node: what the largest work needs, and some

# name, driver's work and options, servers, key of what is compared beside CPU time (rate, p50_us, bytes), systems; then, unless each system
# speaks its own: mqtt, mqtts (over TLS), or mixed. Debian's NATS has no QoS 2.
ALL = ("macula", "nats", "mosquitto")
NO_QOS_2 = ("macula", "mosquitto")
WORKS = [
    ("flat", "publish count=2000000", 1, "rate", ALL),
    ("flat-1k", "publish count=1000000 size=1024", 1, "rate", ALL),
    ("window", "publish count=1500000 window=4000", 1, "rate", ALL),
    ("fan-100", "publish count=40000 fan=100 window=1000 threads=16", 1, "rate", ALL),
    ("fan-1000", "publish count=3000 fan=1000 window=1000 threads=16", 1, "rate", ALL),
    ("call-1", "call count=50000", 1, "p50_us", ALL[:2]),
    ("call-64", "call count=500000 outstanding=64", 1, "rate", ALL[:2]),
    ("threads-1", "blocking count=30000", 1, "p50_us", ALL[:2]),
    ("threads-64", "blocking count=200000 threads=64", 1, "rate", ALL[:2]),
    ("acknowledged-1", "acknowledged count=30000", 1, "rate", ALL),
    ("acknowledged-20", "acknowledged count=300000 outstanding=20", 1, "rate", ALL),
    ("acknowledged-256", "acknowledged count=500000 outstanding=256", 1, "rate", ALL),
    ("two-window", "publish count=1000000 window=4000", 2, "rate", ALL[:2]),
    ("two-flat", "publish count=1000000", 2, "rate", ALL[:2]),
    ("two-call-1", "call count=20000", 2, "p50_us", ALL[:2]),
    ("two-call-64", "call count=300000 outstanding=64", 2, "rate", ALL[:2]),
    ("setup", "setup count=2000 threads=32", 1, "rate", ALL),
    ("idle-1000", "idle count=1000 threads=32", 1, "bytes", ALL),
    ("idle-8000", "idle count=8000 threads=32", 1, "bytes", ALL),
]
MQTT = [
    ("0", "publish count=1000000 window=4000", "rate", ALL),
    ("1", "acknowledged count=300000 outstanding=20", "rate", ALL),
    ("2", "acknowledged count=150000 outstanding=20 qos=2", "rate", NO_QOS_2),
    ("fan-0", "publish count=20000 fan=100 window=1000 threads=16", "rate", ALL),
    ("fan-1", "acknowledged count=5000 fan=100 outstanding=20 threads=16", "rate", ALL),
    ("fan-2", "acknowledged count=2000 fan=100 outstanding=20 threads=16 qos=2", "rate", NO_QOS_2),
    ("setup", "setup count=2000 threads=32", "rate", ALL),
    ("idle", "idle count=10000 threads=32", "bytes", ALL),
]
WORKS = [(*w, "native") for w in WORKS]
WORKS += [("%s-%s" % (door, name), work, 1, key, can, door) for door in ("mqtt", "mqtts") for name, work, key, can in MQTT]
WORKS += [("%s-%s" % (way, qos), work, 1, "rate", ALL[:1], "mixed") for qos, work, *_ in MQTT[:2] for way in ("quic-mqtt", "mqtt-quic")]
DOORS = ("native", "mqtt", "mqtts", "mixed")
UNITS = {"rate": "/s", "p50_us": " us p50", "bytes": " bytes"}


# ---- servers: (address of senders, address of receivers, process ids, environment of the driver, folder with ca.pem)
def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(server, port):
    until = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False


def started(folder, what, text, argv):
    """A server with this text as its configuration and free ports in it, and these; others may take one before it does."""
    for _ in range(5):
        at = {"port": free_port(), "cluster": free_port(), "other": free_port(), "tls": tls, "folder": folder}
        path, log = os.path.join(folder, "%d.conf" % at["port"]), os.path.join(folder, "log")
        with open(log, "w") as f:
            server = subprocess.Popen([*argv, written(path, text % at)], stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        live.append(server)
        if listening(server, at["port"]):
            return server.pid, at["port"], at["cluster"]
    with open(log) as f:
        sys.exit("%s does not start: %s" % (what, f.read()[-500:]))


def written(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def macula(count, folder, door, name):
    options = ["--log-level", "error"]
    if door != "native":
        options += ["--mqtts" if door == "mqtts" else "--mqtt", "127.0.0.1:0", "--max-clients", str(MOST_CLIENTS)]
    nodes = [_watched.Node(*options)]
    if count == 2:
        nodes.append(_watched.Node(*options, "--join", nodes[0].address))
    live.extend(n.process for n in nodes)
    said, pids, env = nodes[0].said, [n.process.pid for n in nodes], {"XDG_CONFIG_HOME": folder}
    if door == "native":
        return nodes[0].address, nodes[-1].address, pids, env, tls
    if door == "mqtts":
        command("openssl", "x509", "-in", os.path.join(said.ready["state"], "identity.pem"), "-out", os.path.join(folder, "ca.pem"))
        return "tls:" + said.mqtts[0], "tls:" + said.mqtts[0], pids, env, folder
    native = "macula://%s@%s" % (said.id, said.address)
    if door == "mixed":
        return (native, said.mqtt[0], pids, env, tls) if name.startswith("quic") else (said.mqtt[0], native, pids, env, tls)
    return said.mqtt[0], said.mqtt[0], pids, env, tls


TLS = 'tls { cert_file: "%(tls)s/cert.pem", key_file: "%(tls)s/key.pem", ca_file: "%(tls)s/ca.pem", verify: true, timeout: 60 }'
NATS = "listen: 127.0.0.1:%(port)d\nserver_name: n%(port)d\nmax_connections: 20000\n" + TLS + "\n"
JETSTREAM = 'jetstream { store_dir: "%(folder)s/store", max_memory_store: 1G }\n'
CLUSTER = "cluster { name: bench, listen: 127.0.0.1:%%(cluster)d, routes: [%s]\n" + TLS.replace("%", "%%") + "\n}\n"


NATS_MQTT = "listen: 127.0.0.1:%(other)d\nserver_name: n%(port)d\nmax_connections: 20000\n" + JETSTREAM + """mqtt {
listen: 127.0.0.1:%(port)d
"""
NATS_TLS = 'tls { cert_file: "%(tls)s/cert.pem", key_file: "%(tls)s/key.pem", timeout: 60 }\n'


def nats(count, folder, door, _):
    def server(text):
        return started(folder, "nats-server", text, ["nats-server", "-c"])
    if door != "native":
        pid, port, _ = server(NATS_MQTT + (NATS_TLS if door == "mqtts" else "") + "}\n")
        at = "%s127.0.0.1:%d" % ("tls:" if door == "mqtts" else "", port)
        return at, at, [pid], {}, tls
    if count == 1:
        servers = [server(NATS + JETSTREAM)]
    else:
        servers = [server(NATS + CLUSTER % "")]
        servers.append(server(NATS + CLUSTER % ("nats-route://127.0.0.1:%d" % servers[0][2])))
    return "tls://127.0.0.1:%d" % servers[0][1], "tls://127.0.0.1:%d" % servers[-1][1], [s[0] for s in servers], {}, tls


MOSQUITTO = """
user %(user)s
listener %(port)d 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
persistence false
"""
MOSQUITTO_TLS = "certfile %(tls)s/cert.pem\nkeyfile %(tls)s/key.pem\n"
MOSQUITTO_CLIENTS = "cafile %(tls)s/ca.pem\nrequire_certificate true\n"


def mosquitto(_, folder, door, __):
    text = MOSQUITTO.replace("%(user)s", "root" if os.getuid() == 0 else "mosquitto")
    text += {"native": MOSQUITTO_TLS + MOSQUITTO_CLIENTS, "mqtts": MOSQUITTO_TLS, "mqtt": ""}[door]
    pid, port, _ = started(folder, "mosquitto", text, ["mosquitto", "-c"])
    at = "%s127.0.0.1:%d" % ("tls:" if door == "mqtts" else "", port)
    return at, at, [pid], {}, tls


SYSTEMS = {"macula": macula, "nats": nats, "mosquitto": mosquitto}


# ---- what they need
def command(*argv, **kw):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, **kw).stdout


def certificates():
    """Servers and clients show the same one, made by a certificate authority of this run."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, cwd=tls, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    written(os.path.join(tls, "names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench", "-days", "2")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request", "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "cert.pem", "-days", "2",
            "-extfile", "names")


def driver_of(system, door):
    return system if door == "native" else "mixed" if door == "mixed" else "mqtt"


def missing(systems, needed):
    servers = {"nats": "nats-server", "mosquitto": "mosquitto"}
    programs = {"cc": "gcc", "pkg-config": "pkg-config", "openssl": "openssl", **{servers[s]: servers[s] for s in systems if s in servers}}
    lacking = [package for program, package in programs.items() if not shutil.which(program)]
    libraries = {"nats": ("libnats", "libnats-dev"), "mosquitto": ("libmosquitto", "libmosquitto-dev"), "mqtt": ("gnutls", "libgnutls28-dev"),
                 "mixed": ("gnutls", "libgnutls28-dev")}
    for library, package in sorted({libraries[d] for d in needed if d in libraries}):
        if shutil.which("pkg-config") and subprocess.run(["pkg-config", "--exists", library]).returncode:
            lacking.append(package)
    return lacking


def installed(folder):
    """Flags for a program that uses what the build folder installs."""
    dest = os.path.join(folder, "installed")
    command("meson", "install", "-C", args.build, "--quiet", "--no-rebuild", env=dict(os.environ, DESTDIR=dest))
    pc = command("find", dest, "-name", "macula.pc").strip()
    prefix = os.path.join(dest, command("pkg-config", "--variable", "prefix", pc).strip().lstrip("/"))
    return [*command("pkg-config", "--define-variable=prefix=" + prefix, "--cflags", "--libs", pc).split(),
            "-Wl,-rpath," + os.path.dirname(os.path.dirname(pc))]


def drivers(needed, folder):
    """By name. Those with Macula are built against what the build folder installs, as any program is."""
    own, found = installed(folder) if {"macula", "mixed"} & needed else [], {}

    def built(out, flags, *sources):
        command("cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-o", out,
                *[s if os.path.isabs(s) else os.path.join(bench, "peers", s) for s in sources], *flags, "-lpthread")
        return out
    for d in sorted(needed):
        out = os.path.join(folder, d)
        if d == "mixed":
            flags = [*own, *command("pkg-config", "--cflags", "--libs", "gnutls").split()]
            parts = [built("%s-%s.o" % (out, name), [*flags, "-c", "-DPEER(name)=%s_##name" % prefix], name + ".c")
                     for name, prefix in (("macula", "native"), ("mqtt", "mqtt"))]
            found[d] = built(out, flags, "work.c", "mixed.c", *parts)
        elif d == "macula":
            found[d] = built(out, own, "work.c", "macula.c")
        else:
            library = "gnutls" if d == "mqtt" else "lib" + d
            found[d] = built(out, command("pkg-config", "--cflags", "--libs", library).split(), "work.c", d + ".c")
    return found


# ---- measuring
def end_all():
    for c in live:
        if c.poll() is None:
            c.kill()
        c.wait()
    live.clear()


def scaled(word):
    if word.startswith("count="):
        return "count=%d" % max(int(int(word[6:]) * args.scale), 100)
    return word


def measure(system, driver, name, work, count, door):
    with tempfile.TemporaryDirectory(dir=_watched.tmp) as folder:
        try:
            at, to, pids, env, trusted = SYSTEMS[system](count, folder, door, name)
            words = [scaled(w) for w in work.split()]
            r = subprocess.run([driver, *words, "at=" + at, "to=" + to, "tls=" + trusted, "pids=" + ",".join(map(str, pids)), "most=%d" % MOST],
                               env={**_watched.clean, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=MOST + 30)
            return json.loads(r.stdout) if r.returncode == 0 else {"failed": r.stderr.strip()[-300:]}
        except subprocess.TimeoutExpired:
            return {"failed": "nothing for %d s" % (MOST + 30)}
        finally:
            end_all()


def cell(got, key):
    good = [g for g in got if "failed" not in g]
    if not good:
        return "failed: " + got[0]["failed"] if got else "", None, None
    cpu, value = (statistics.median(g[k] for g in good) for k in ("cpu_us", key))
    text = "%.2f us, %s%s" % (cpu, "{:,.0f}".format(value), UNITS[key])
    lost = statistics.median(100 * g["lost"] / (g["lost"] + g["operations"]) for g in good)
    if lost:
        text += ", %.1f %% lost" % lost
    if len(good) < len(got):
        text += ", %d of %d failed: %s" % (len(got) - len(good), len(got), next(g["failed"] for g in got if "failed" in g))
    return text, cpu, value


def ratio(ours, theirs, key):
    """Of CPU time, and of what else is compared: above 1 we are ahead."""
    if not ours[2] or not theirs[2]:
        return ""
    cpu = "%.2f" % (theirs[1] / ours[1]) if ours[1] else "-"
    return "%s, %.2f" % (cpu, ours[2] / theirs[2] if key == "rate" else theirs[2] / ours[2])


names = {w[0] for w in WORKS} | set(ALL) | set(DOORS)
only = [n for n in args.only.split(",") if n]
if not set(only) <= names:
    sys.exit("--only: %s; there are %s" % (", ".join(set(only) - names), ", ".join([w[0] for w in WORKS] + list(ALL) + list(DOORS))))
systems = [s for s in ALL if s in only] or list(ALL)
works = [w for w in WORKS if w[0] in only or w[5] in only] or WORKS
os.environ["PATH"] += ":/usr/sbin"
needed = {driver_of(s, w[5]) for w in works for s in systems if s in w[4]}
lacking = missing(systems, needed)
if lacking:
    sys.exit("missing: apt install %s (or --only with the systems that are there)" % " ".join(lacking))
_watched.use(args.build)
with _watched.folder() as top, tempfile.TemporaryDirectory() as tls:
    try:
        certificates()
        built = drivers(needed, top)
        others = [s for s in systems if s != "macula"]
        if not args.json:
            print("| work | %s | %s |" % (" | ".join(systems), " | ".join("to " + s for s in others)))
            print("|" + "---|" * (1 + len(systems) + len(others)))
        for name, work, count, key, can, door in works:
            got = {s: [] for s in systems}
            for run in range(args.runs):
                for s in systems if run % 2 == 0 else reversed(systems):
                    if s in can:
                        got[s].append(measure(s, built[driver_of(s, door)], name, work, count, door))
                        if args.json:
                            print(json.dumps({"work": name, "system": s, "run": run, **got[s][-1]}), flush=True)
            cells = {s: cell(got[s], key) for s in systems}
            if not args.json:
                print("| %s | %s | %s |" % (name, " | ".join(cells[s][0] for s in systems),
                                            " | ".join(ratio(cells.get("macula", ("", 0, 0)), cells[s], key) for s in others)), flush=True)
    finally:
        end_all()
