"""Nodes for the scripts: a maculad that serves, as its ready line tells (maculad --json), and macula beside it.

Each script is called with the build folder first.
"""
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

from _process import DEADLINE, Process, started

build = os.path.abspath(sys.argv[1])
MACULA, MACULAD = os.path.join(build, "macula"), os.path.join(build, "maculad")
READY = r'^\{"event":"ready".*\}$'


def plain(**more):
    """The environment without what says something to Macula."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_") and k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")}
    return dict(env, **more)


def own_mounts(script, *args, more=()):
    """A shell script in a mount namespace of its own; more: what else unshare is to make."""
    return ["unshare", *more, "--mount", "sh", "-c", script, *args]


def with_hosts(path):
    """Words before a program that sees this file as /etc/hosts. One that is not there is made: empty it means the same."""
    return own_mounts('{ [ -e /etc/hosts ] || : >/etc/hosts; } && mount --bind "$0" /etc/hosts && exec "$@"', path)


def but_first_contact(err):
    """What macula said, without whom it trusts from now on."""
    return re.sub(r"^macula: warning: first contact with [^\n]*\n", "", err, flags=re.M)


def until(what, probe, pause=0.05):
    """Polls what needs other processes; returns what is true in the end."""
    end = time.monotonic() + DEADLINE
    while not (value := probe()):
        assert time.monotonic() < end, "not in time: %s" % what
        time.sleep(pause)
    return value


def serving(*args, listen="127.0.0.1:0", http="off", env=None, before=(), text=True, cwd=None):
    """A process with what its ready line tells: id, listen, address (its first), port, http (ADDR:PORT or None). before: words in front of
    the program; listen and http are None for its defaults. Without a file that may say it, and with listen, its port for MQTT is off
    unless --mqtt is given: other tests have nodes, too."""
    own = ["--mqtt", "off"] if listen and not {"--mqtt", "-c", "--config"} & set(args) else []
    argv = [*before, MACULAD, "--json", *(["--listen", listen] if listen else []), *(["--http", http] if http else []), *own, *args]
    p, found = started(argv, plain() if env is None else env, READY, text, cwd)
    ready = json.loads(found.group())
    p.id, p.listen, p.http = ready["id"], ready["listen"], ready["http"]
    p.ready, p.mqtt, p.mqtts = ready, ready.get("mqtt"), ready.get("mqtts")
    p.address = p.listen[0]
    p.port = int(p.address.rsplit(":", 1)[1])
    return p


class Node:
    """A node with a folder for its state and its users' identity. text: what is printed is taken as UTF-8, not as bytes."""

    text = True

    def __init__(self, folder, *args, state="state", listen="127.0.0.1:0", http="127.0.0.1:0", env=None):
        self.folder, self.args, self.address, self.wanted_http, self.own = folder, args, listen, http, env or {}
        self.state = os.path.join(folder, state)
        self.env = plain(XDG_CONFIG_HOME=os.path.join(folder, "config"))
        self.start()

    def start(self):
        """Also once more, at the address that it had."""
        self.process = serving("--state", self.state, *self.args, listen=self.address, http=self.wanted_http, text=self.text,
                               env=plain(XDG_CONFIG_HOME=self.env["XDG_CONFIG_HOME"], **self.own))
        self.id, self.address, self.http = self.process.id, self.process.address, self.process.http
        self.env["MACULA_SERVER"] = self.address

    def macula(self, *args):
        return Process([MACULA, *args], self.env, self.text)

    def run(self, *args, stdin=None, env=None, program=MACULA, **kw):
        """Returns the exit code, and what it printed on both outputs."""
        given = {"input": stdin} if isinstance(stdin, (bytes, str)) else {"stdin": subprocess.DEVNULL if stdin is None else stdin}
        p = subprocess.run([program, *args], env=dict(self.env, **(env or {})), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=DEADLINE, **given, **kw)
        return (p.returncode, *(o.decode("utf-8", "replace") if self.text else o for o in (p.stdout, p.stderr)))

    def ok(self, *args, **kw):
        """What it printed."""
        code, out, err = self.run(*args, **kw)
        assert code == 0, "%r: exit %d, %r" % (args, code, err)
        return out

    def sub(self, *args):
        p = self.macula("sub", *args)
        p.expect("err", r"^subscribed " if self.text else rb"^subscribed ")
        return p

    def states(self):
        """By the names of those that it knows."""
        return {p["name"]: p["state"] for p in json.loads(self.ok("--json", "peers"))["peers"]}

    def get(self, path):
        return until("an answer to %s" % path, lambda: self.answered(path))

    def answered(self, path):
        """None when the node says to ask again: tests ask more often than an address may at once."""
        try:
            with urllib.request.urlopen("http://%s%s" % (self.http, path), timeout=DEADLINE) as r:
                return r.read().decode()
        except urllib.error.HTTPError as e:
            if e.code != 429:
                raise
            return None

    def metric(self, name):
        return metric_of(self.get("/metrics"), name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.end()


def metric_of(text, name):
    found = re.search(r"^macula_%s (\d+)$" % re.escape(name), text, re.M)
    assert found, "no metric %s" % name
    return int(found.group(1))
