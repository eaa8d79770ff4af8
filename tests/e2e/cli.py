#!/usr/bin/env python3
"""macula as its user sees it, against a real node: tests/e2e/cli.py BUILD_FOLDER [CASE...].

Each case waits for output or answers with a deadline. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import _node
from _cases import main
from _node import until
from _process import DEADLINE, deaf_port, end_all

build = os.path.abspath(sys.argv[1])


class Node(_node.Node):
    """With a folder of its own; what it prints is taken as bytes."""

    text = False

    def __init__(self, *args):
        self.temporary = tempfile.TemporaryDirectory()
        super().__init__(self.temporary.name, *args, http="off")

    def __exit__(self, *_):
        end_all()
        self.temporary.cleanup()

    def confirmed(self, *args):
        """Again when it was not confirmed within the 5 s that the library waits: a machine may stand still for as long."""
        def code():
            code, _, err = self.run(*args)
            assert code in (0, 4), (code, err)
            return code == 0
        until("it is confirmed", code)

    def bad(self, want_code, want_error, *args, **kw):
        code, out, err = self.run(*args, **kw)
        lines = err.decode().splitlines()
        assert code == want_code, "%r: exit %d and not %d, %r" % (args, code, want_code, err)
        assert len(lines) == 1 and lines[0].startswith("macula: %s: " % want_error), "%r: %r" % (args, err)
        assert out == b"", "%r: printed %r" % (args, out)
        return lines[0]

    def sub(self, *args):
        p = self.macula("sub", *args)
        p.expect("err", rb"^subscribed ")
        return p

    def serve(self, *args):
        p = self.macula("serve", *args)
        p.expect("err", rb"^serving ")
        return p

    def status(self):
        return json.loads(self.ok("--json", "status"))

    def script(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
        return path


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def pid_of(path):
    return until("a handler runs", lambda: os.path.exists(path) and open(path).read().strip() and int(open(path).read()))


# ---- cases -----------------------------------------------------------------------------------------------------------------
def scenario():
    with Node() as n:
        s = n.sub("sensor.**")
        n.ok("pub", "sensor.kitchen.temp", "21.5")
        s.expect("out", rb"^sensor\.kitchen\.temp 21\.5\n")
        p = n.serve("math.add", "--exec", "python3 -c 'import json,sys; d=json.load(sys.stdin); print(d[\"a\"]+d[\"b\"])'")
        assert n.ok("call", "math.add", '{"a":2,"b":3}') == b"5\n"
        assert n.ok("call", "math.add", "-", stdin=b'{"a":20,"b":3}') == b"23\n"
        st = n.status()
        for key in ("node_id", "name", "realm", "uptime_s", "clients", "peers", "services", "subscriptions", "pending_calls",
                    "memory"):
            assert key in st, "status has no " + key
        assert st["services"]["count"] == 1 and st["subscriptions"]["count"] == 1, st
        text = n.ok("status").decode()
        for word in ("node", "realm", "uptime", "clients", "subscriptions", "services", "pending calls", "memory"):
            assert re.search("^%s " % word, text, re.M), text
        rows = text.split("\nTABLE ")[1].splitlines()[1:]  # each row of the table is there, or counted at the end
        assert len(rows) - 1 + int(re.fullmatch(r"(\d+) more that hold nothing: --json shows all", rows[-1]).group(1)) == len(st["memory"]["rows"]), text
        assert b"math.add" in n.ok("services") and b"sensor.**" in n.ok("subs") and n.ok("clients").count(b"\n") >= 3
        assert json.loads(n.ok("services", "--json"))["total"] == 1
        n.ok("peers")
        assert p.end(signal.SIGTERM) == 0 and s.end(signal.SIGINT) == 0
        until("nothing is left", lambda: n.status()["services"]["count"] == 0 and n.status()["subscriptions"]["count"] == 0)
        assert n.process.end(signal.SIGTERM) == 0


def publishing():
    with Node() as n:
        n.ok("pub", "kept.a", "-", "--retain", stdin=b"old")
        s = n.sub("kept.*", "--count", "1", "--json")
        assert s.wait() == 0
        m = json.loads(s.out)
        assert m["topic"] == "kept.a" and m["payload"] == "old" and m["retain"] is True and len(m["message_id"]) == 32, m
        big = n.ok("--json", "pub", "big", "-", "--count", "12", stdin=b"x" * 1000000)  # three times what the queue takes
        assert json.loads(big)["published"] == 12, big
        s = n.sub("many.**", "many.*", "--count", "40")
        n.ok("pub", "many.a", "-5", "--count", "40", "--qos", "1")
        assert s.wait() == 0 and s.out == b"many.a -5\n" * 40, s.out
        s = n.sub("slash.a", "--count", "1")
        n.ok("pub", "slash/a", "--interval", "1ms", "--count", "1")
        assert s.wait() == 0 and s.out == b"slash.a \n", s.out


def named():
    with Node() as n:
        n.sub("a", "--name", "kitchen")
        n.serve("p", "--echo", "--name", "k\u00fcche")
        n.sub("b")
        rows = json.loads(n.ok("--json", "clients", "--name", "who asks"))["clients"]
        assert sorted(c["name"] for c in rows) == ["kitchen", "k\u00fcche", "macula", "who asks"], rows
        for name in "", "x" * 65:
            assert "1 to 64 bytes" in n.bad(2, "invalid_argument", "--name", name, "pub", "a", "x")


def escaping():
    with Node() as n:
        payload = b"a\nb\\c\t\x00\xff\x1b[31m \xc3\xa9"
        plain, raw, js = n.sub("x"), n.sub("x", "--raw"), n.sub("x", "--json")
        n.ok("pub", "x", "-", stdin=payload)
        plain.expect("out", re.escape(b"x a\\nb\\\\c\\t\\x00\\xff\\x1b[31m \xc3\xa9\n"))
        raw.expect("out", re.escape(b"x " + payload + b"\n"))
        js.expect("out", rb'"payload_base64":"YQpiXGMJAP8bWzMxbSDDqQ=="')


def names_of_people():
    """Blanks and UTF-8 in names, through every command that prints one."""
    with Node() as n:
        plain, js = n.sub("Büro 2/+/Temp °C", "a%2Fb"), n.sub("Büro 2.#", "--json")
        plain.expect("err", "subscribed Büro 2/\\+/Temp °C\nsubscribed a%2Fb\n".encode())
        n.ok("pub", "Büro 2.%00.Temp °C", "21.5 or so")
        n.ok("pub", "a%2Fb", "x", "--qos", "1")
        plain.expect("out", re.escape(r"Büro\x202.%00.Temp\x20°C 21.5 or so".encode()) + b"\na%2Fb x\n")
        js.expect("out", rb"}\n")
        m = json.loads(js.out)
        assert m["topic"] == "Büro 2.%00.Temp °C" and m["payload"] == "21.5 or so", m
        n.serve('Licht "an".1', "--echo")
        assert n.ok("call", 'Licht "an"/1', "[1]") == b"[1]\n"
        assert [s["procedure"] for s in json.loads(n.ok("services", "--json"))["services"]] == ['Licht "an".1']
        table = n.ok("subs").decode().splitlines()
        ids = {re.search(r" [0-9a-f]{16}( |$)", line).start() for line in table[1:]}
        assert len(table) == 4 and len(ids) == 1 and "Büro 2.*.Temp °C" in "".join(table), table  # columns are as wide as what is seen
        for name, why in (("a\tb", "U+0009 at byte 2 cannot stand in a name; write %09"), ("100%", "write %25"), ("a%6D", "write 'm'"),
                          ("x..y", "segment 2 of 3 is empty; if that is meant, write %00"), ("\u202etxt", "write %E2%80%AE"),
                          (b"\xff", "write %FF"), ("%c3%ff", "write %C3")):
            assert why in n.bad(2, "invalid_topic", "pub", name, "x")
            assert why in n.bad(2, "invalid_procedure", "call", name)


def bad_input():
    with Node() as n:
        n.bad(2, "invalid_topic", "pub", "a..b", "x")
        n.bad(2, "invalid_topic", "pub", "a.*", "x")
        for name, why in ((".".join(["a"] * 33), "it has 33 segments, at most 32"), ("a" * 256, "it has 256 bytes, at most 255")):
            assert why in n.bad(2, "invalid_topic", "pub", name, "x")
            assert why in n.bad(2, "invalid_topic", "sub", name)
            assert why in n.bad(2, "invalid_procedure", "call", name)
            assert why in n.bad(2, "invalid_procedure", "serve", name, "--exec", "true")
            assert why in n.bad(2, "invalid_realm", "-r", name, "pub", "a", "x")
        assert "'te*mp'" in n.bad(2, "invalid_topic", "sub", "fine.*", "te*mp")
        n.ok("pub", "a", "x", "--qos", "2")
        n.bad(2, "invalid_argument", "pub", "a", "x", "--qos", "3")
        n.bad(2, "invalid_argument", "pub", "a", "x", "--qos", "7")
        n.bad(2, "invalid_json", "call", "a.b", "{no")
        n.bad(2, "invalid_json", "serve", "a.b", "--reply", "nope")
        n.bad(2, "invalid_procedure", "call", "a.*")
        n.bad(2, "invalid_realm", "-r", "a..b", "pub", "a")
        n.bad(2, "payload_too_large", "pub", "a", "-", stdin=b"x" * (1 << 20) + b"x")
        for args in ([], ["nothing"], ["pub"], ["pub", "a", "b", "c"], ["--nothing", "pub", "a"], ["pub", "a", "--count"],
                     ["pub", "a", "--count", "-1"], ["serve", "a"], ["serve", "a", "--echo", "--reply", "1"],
                     ["call", "a", "--strategy", "best"], ["call", "a", "--timeout", "soon"], ["bench", "all"], ["sub"],
                     ["completion", "fish"], ["id", "old"], ["-s", "a b", "pub", "a"]):
            n.bad(2, "invalid_argument", *args)
        n.ok("status")  # from now on it is known
        n.bad(1, "no_such_procedure", "call", "nobody.home")
        n.bad(3, "realm_mismatch", "-r", "other", "pub", "a", "x")
        for patience in "3s", "20s", "100s":  # on a machine that stands still it may be over before the message comes
            some = n.sub("some", "--timeout", patience)
            n.ok("pub", "some", "x")
            if some.wait() != 4:
                break
        assert some.wait() == 0 and some.out == b"some x\n", (some.out, some.err)
        code, out, err = n.run("sub", "quiet", "--timeout", "50ms")
        assert code == 4 and b"macula: timeout: " in err, (code, err)
        with deaf_port() as free:
            n.bad(3, "not_connected", "-s", free, "pub", "a", "x")
            n.bad(3, "not_connected", "pub", "a", "x", env={"MACULA_SERVER": free})
        wrong = "macula://%s@%s" % ("ab" * 32, n.address)
        n.bad(3, "identity_mismatch", "-s", wrong, "pub", "a", "x")
        n.ok("-s", "macula://%s@%s" % (n.status()["node_id"], n.address), "pub", "a", "x")
        n.ok("-s", wrong, "--insecure", "pub", "a", "x")


def help_and_local():
    with Node() as n:
        for c in ("pub", "sub", "call", "serve", "status", "peers", "clients", "services", "subs", "bench", "id", "completion",
                  "version"):
            assert b"Example: " in n.ok(c, "--help"), c
        general = n.ok("--help").decode()
        commands = re.findall(r"^  ([a-z]+) +[a-z]", general.split("Global options")[0], re.M)
        assert "load" in commands and "version" in commands, commands
        for line in "\n".join([general] + [n.ok(c, "--help").decode() for c in commands]).splitlines():
            assert len(line) <= 80, "wider than a terminal: " + line
        assert n.ok("version").startswith(b"macula ") and "version" in json.loads(n.ok("version", "--json"))
        with open("/dev/full", "w") as full:
            p = subprocess.run([os.path.join(build, "macula"), "version"], stdout=full, stderr=subprocess.PIPE)
        assert p.returncode == 1 and p.stderr == b"macula: io_error: not all of the output could be written: No space left on device\n", p
        first = n.ok("id")
        assert re.fullmatch(rb"[0-9a-f]{64}\n", first) and n.ok("id", "show") == first
        n.bad(2, "busy", "id", "new")
        other = os.path.join(n.folder, "other.pem")
        assert n.ok("id", "new", "--identity", other) != first
        os.chmod(other, 0o644)
        n.bad(2, "not_authorized", "id", "--identity", other)
        for shell in ("bash", "zsh"):
            assert b"pubsub fanout rpc connect idle" in n.ok("completion", shell)


# What is typed, and what the line is after a tab.
COMPLETED = [
    ("macula bench fan", "macula bench fanout"),
    ("macula bench --fl", "macula bench --flat"),
    ("macula st", "macula status"),
    ("macula pub --ret", "macula pub --retain"),
    ("macula dht l", "macula dht lookup"),
    ("macula load so", "macula load soak"),
    ("macula help do", "macula help doctor"),
    ("macula load --ch", "macula load --ch"),
    ("macula s", "macula s"),
    ("macula -s 127.0.0.1:1 --ins", "macula -s 127.0.0.1:1 --insecure"),
    ("macula completion z", "macula completion zsh"),
    ("macula pub a --bench", "macula pub a --bench"),
    ("macula pub 'Büro 2.a' --ret", "macula pub 'Büro 2.a' --retain"),
    ("macula sub 'pub.#' --js", "macula sub 'pub.#' --json"),
    ("macula id --identity a-f", "macula id --identity a-file"),
]

BASH = r"""
source <(macula completion bash)
while read -r line; do
  read -r -a COMP_WORDS <<< "$line"
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _macula
  echo "${COMPREPLY[*]}"
done
"""

ZSH = r"""
autoload -U compinit && compinit -D -u
if [[ -n $AUTOLOADED ]]; then fpath=($PWD $fpath); compinit -D -u; else source <(macula completion zsh); fi
setopt no_auto_list no_beep
try() { zle complete-word; print -ru $RESULTS -- $BUFFER; BUFFER=; }
zle-line-init() { print -ru $RESULTS -- ready; }
zle -N try; zle -N zle-line-init; bindkey '^T' try
"""


def completion_in_bash():
    with Node() as n:
        env = dict(n.env, PATH=build + ":" + n.env["PATH"])
        typed = "".join(line + "\n" for line, _ in COMPLETED).encode()
        out = subprocess.run(["bash", "--norc", "-c", BASH], input=typed, env=env, stdout=subprocess.PIPE, timeout=DEADLINE,
                             check=True)
        got = out.stdout.decode().splitlines()
        assert len(got) == len(COMPLETED), got
        for (line, full), words in zip(COMPLETED, got):
            if full != line and not full.endswith("-file"):  # files are readline's
                assert words == full.split()[-1], (line, words)
        assert got[COMPLETED.index(("macula s", "macula s"))] == "sub serve status services subs", got


def completion_in_zsh():
    """The line editor of a zsh on a terminal of its own, with the script sourced and with the script in fpath."""
    assert shutil.which("zsh"), "zsh is not installed"
    with Node() as n, tempfile.TemporaryDirectory() as folder:
        open(os.path.join(folder, "a-file"), "w").close()
        with open(os.path.join(folder, "_macula"), "wb") as f:
            f.write(n.ok("completion", "zsh"))
        with open(os.path.join(folder, "init"), "w") as f:
            f.write(ZSH)
        for autoloaded in ("", "1"):
            results, w = os.pipe()
            pid, terminal = pty.fork()
            if pid == 0:
                os.set_inheritable(w, True)
                os.chdir(folder)
                env = dict(n.env, PATH=build + ":" + n.env["PATH"], RESULTS=str(w), TERM="xterm", AUTOLOADED=autoloaded,
                           HOME=folder)
                os.execvpe("zsh", ["zsh", "-f", "-i"], env)
            os.close(w)
            shown = bytearray()
            threading.Thread(target=keep, args=(terminal, shown), daemon=True).start()
            try:
                lines = Lines(results, shown)
                os.write(terminal, b"source ./init\n")
                assert lines.next() == "ready"
                for line, full in COMPLETED:
                    os.write(terminal, line.encode() + b"\x14")
                    got = lines.next().rstrip()
                    assert got == full, "%r became %r and not %r" % (line, got, full)
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                os.close(results)


def keep(terminal, shown):
    try:
        while True:
            shown.extend(os.read(terminal, 4096))
    except OSError:
        pass  # its other end is closed


class Lines:
    """Lines of a pipe, each by the deadline."""

    def __init__(self, fd, shown):
        self.fd, self.shown, self.rest = fd, shown, b""

    def next(self):
        end = time.monotonic() + DEADLINE
        while b"\n" not in self.rest:
            ready = select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]
            more = os.read(self.fd, 4096) if ready else b""
            assert more, "no answer from the shell, which shows %r" % bytes(self.shown[-600:])
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()


def node_id_changed():
    with Node() as n:
        n.ok("pub", "a", "x")
        n.process.end()
        for root, _, files in os.walk(os.path.join(n.folder, "state")):
            for f in files:
                os.unlink(os.path.join(root, f))
        n.start()
        line = n.bad(3, "identity_mismatch", "pub", "a", "x")
        assert "known_nodes" in line and "macula known forget %s" % n.address in line, line
        n.ok("known", "forget", n.address)
        n.ok("pub", "a", "x")


def no_room_for_known_nodes():
    """A file may not grow, as on a full disk: said, but the message goes out."""
    def no_space():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with Node() as n:
        n.ok("id")
        p = subprocess.run([os.path.join(build, "macula"), "pub", "kept", "x", "--retain"], env=n.env, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=DEADLINE, preexec_fn=no_space)
        assert p.returncode == 0 and re.fullmatch(rb"macula: warning: [^\n]*known_nodes[^\n]*\n", p.stderr), p
        s = n.sub("kept", "--count", "1")
        assert s.wait() == 0 and s.out == b"kept x\n", s.out


def handlers():
    with Node() as n:
        n.serve("bad.exit", "--exec", "echo first >&2; echo second >&2; exit 3")
        n.serve("bad.silent", "--exec", "exit 4")
        n.serve("bad.signal", "--exec", "kill -SEGV $$")
        n.serve("bad.text", "--exec", "echo hello there")
        n.serve("bad.nothing", "--exec", "true")
        n.serve("bad.huge", "--exec", "yes")
        n.serve("good.echo", "--echo")
        n.serve("good.fixed", "--reply", '{"a":[1,2]}')
        n.serve("good.cat", "--exec", "cat")
        assert n.bad(1, "handler_error", "call", "bad.exit").endswith("second")
        assert "code 4" in n.bad(1, "handler_error", "call", "bad.silent")
        assert "signal" in n.bad(1, "handler_error", "call", "bad.signal")
        assert "no JSON" in n.bad(1, "handler_error", "call", "bad.text")
        assert "JSON" in n.bad(1, "handler_error", "call", "bad.nothing")
        assert "1 MiB" in n.bad(1, "handler_error", "call", "bad.huge", "--timeout", "%ds" % DEADLINE)
        assert n.ok("call", "good.echo", "[1, 2]") == b"[1, 2]\n" and n.ok("call", "good.fixed") == b'{"a":[1,2]}\n'
        big = json.dumps("x" * 700000).encode()
        assert n.ok("call", "good.cat", "-", "--timeout", "%ds" % DEADLINE, stdin=big) == big + b"\n"


def origin():
    with Node() as n:
        who = {"kind": "key", "name": n.ok("id").decode().split()[0], "node": n.status()["node_id"]}
        n.ok("pub", "kept.t", "1", "--retain")
        for topic, count in (("t", 2), ("kept.t", 1)):
            s = n.sub(topic, "--count", str(count), "--json")
            for _ in range(count if topic == "t" else 0):
                n.ok("pub", topic, "1")
            assert s.wait() == 0 and [json.loads(line)["publisher"] for line in s.out.splitlines()] == [who] * count, s.out
        n.env["MACULA_CALLER"] = "somebody"  # as where a handler calls: what it was told is not passed on
        n.serve("who", "--exec", "env | grep -c ^MACULA_CALLER= >/dev/null && "
                "echo '\"'$MACULA_CALLER_KIND $MACULA_CALLER $MACULA_CALLER_NODE $(env | grep -c ^MACULA_CALLER)'\"'")
        for _ in range(2):
            assert json.loads(n.ok("call", "who")) == "key %s %s 3" % (who["name"], who["node"])


def hanging():
    with Node() as n:
        pids = os.path.join(n.folder, "pid")
        p = n.serve("slow", "--exec", "sleep 1000 & echo $! > %s; wait" % pids, "--concurrency", "1")
        # One that stands still is no provider for a while, and its caller then hears that instead.
        until("a call ends by its timeout", lambda: n.run("call", "slow", "--timeout", "4s")[0] == 4)
        first = pid_of(pids)
        until("a handler is killed with what it started, at the deadline", lambda: not alive(first))
        os.unlink(pids)
        caller = n.macula("call", "slow", "--timeout", "%ds" % DEADLINE)
        second = pid_of(pids)
        assert caller.end(signal.SIGINT) == 1
        until("a handler is killed when its caller leaves", lambda: not alive(second))
        os.unlink(pids)
        caller = n.macula("call", "slow", "--timeout", "%ds" % DEADLINE)
        third = pid_of(pids)
        assert p.end(signal.SIGTERM) == 0 and caller.wait() == 1, caller.err
        until("a handler is killed when its server ends", lambda: not alive(third))
        until("no call is pending", lambda: n.status()["pending_calls"]["count"] == 0)


def provider_killed():
    with Node() as n:
        pids = os.path.join(n.folder, "pid")
        p = n.serve("job", "--exec", "echo $$ > %s; exec sleep 1000" % pids)
        caller = n.macula("call", "job", "--timeout", "%ds" % DEADLINE, "--strategy", "first", "--idempotent")
        os.kill(pid_of(pids), 0)
        handler = pid_of(pids)
        n.serve("job", "--reply", '"second"')
        p.end()
        assert caller.wait() == 0 and caller.out == b'"second"\n', (caller.out, caller.err)
        os.kill(handler, signal.SIGKILL)
        os.unlink(pids)
        alone = n.serve("alone", "--exec", "echo $$ > %s; exec sleep 1000" % pids)
        caller = n.macula("call", "alone", "--timeout", "%ds" % DEADLINE)
        handler = pid_of(pids)
        alone.end()
        assert caller.wait() == 1 and caller.err.count(b"\n") == 1, caller.err
        os.kill(handler, signal.SIGKILL)


def subscriber_stopped():
    """One that stops reading loses its connection; who reads hears everything, of a publisher that nobody slows down."""
    with Node() as n:
        stopped, reader = n.sub("a.**"), n.sub("a.**")
        stopped.p.send_signal(signal.SIGSTOP)
        for k in range(8):  # never more ahead of the reader than its queue holds, however slow this machine is
            had = reader.out.count(b"\n")
            n.confirmed("pub", "a.b", "x" * 4000, "--qos", "1", "--count", "100")
            until("the reader has heard %d more" % 100, lambda: reader.out.count(b"\n") >= had + 100)
        assert reader.end(signal.SIGTERM) == 0
        until("the stopped one is out", lambda: n.status()["messages"]["slow_consumers"] == 1)
        stopped.p.send_signal(signal.SIGCONT)
        stopped.expect("err", rb"slow_consumer|read too slowly")
        stopped.expect("err", rb"^connected again\n")
        assert stopped.end(signal.SIGTERM) == 5


def slow_reader():
    """Whoever reads `macula sub` late, later than a connection may be idle, reads all; and one line is enough for who wants one."""
    with Node("--idle-timeout", "2s") as n:
        late = subprocess.Popen([os.path.join(build, "macula"), "sub", "slow.**"], env=n.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        try:
            assert b"subscribed slow.**\n" in iter(late.stderr.readline, b"")
            lines = 600
            n.confirmed("pub", "slow.a", "x" * 1000, "--qos", "1", "--count", str(lines))  # a pipe holds a tenth of them
            began = time.monotonic()
            until("longer than a connection may be idle", lambda: time.monotonic() > began + 5)
            got = 0
            while got < lines:
                assert late.stdout.readline() == b"slow.a " + b"x" * 1000 + b"\n", got
                got += 1
            assert n.status()["messages"]["dropped"] == 0 and n.status()["messages"]["slow_consumers"] == 0
            late.terminate()
            assert late.communicate(timeout=DEADLINE) == (b"", b"") and late.returncode == 0
        finally:
            late.kill()
        one = subprocess.Popen(["sh", "-c", "%s sub one | head -1" % os.path.join(build, "macula")], env=n.env,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert b"subscribed one\n" in iter(one.stderr.readline, b"")
            n.confirmed("pub", "one", "y" * 1000, "--qos", "1", "--count", "300")
            assert one.communicate(timeout=DEADLINE) == (b"one " + b"y" * 1000 + b"\n", b"") and one.returncode == 0
        finally:
            one.kill()


def queueing():
    with Node() as n:
        turns = os.path.join(n.folder, "turns")
        n.serve("one", "--exec", "echo in >> %s; sleep 0.1; echo out >> %s; echo 1" % (turns, turns), "--concurrency", "1")
        callers = [n.macula("call", "one", "--timeout", "%ds" % DEADLINE) for _ in range(5)]
        assert all(c.wait() == 0 for c in callers)
        with open(turns) as f:
            assert f.read() == "in\nout\n" * 5, "two handlers ran at once"


def subscriber_killed():
    with Node() as n:
        s, other = n.sub("a.**"), n.sub("a.**")
        s.end()
        n.ok("pub", "a.b", "1")
        other.expect("out", rb"^a\.b 1\n")
        until("its subscription goes", lambda: n.status()["subscriptions"]["count"] == 1)


def node_killed():
    with Node() as n:
        s, p = n.sub("a.**"), n.serve("echo", "--echo")
        n.process.end()
        n.start()
        s.expect("err", rb"^connected again\n")
        p.expect("err", rb"^connected again\n")
        until("its subscription is back", lambda: n.status()["subscriptions"]["count"] == 1)
        n.ok("pub", "a.b", "back")
        s.expect("out", rb"^a\.b back\n")
        until("its service is back", lambda: n.run("call", "echo", "7")[1] == b"7\n")
        assert s.end(signal.SIGTERM) == 0 and p.end(signal.SIGTERM) == 0


def node_terminated():
    with Node() as n:
        s = n.sub("a")
        assert n.process.end(signal.SIGTERM) == 0
        s.expect("err", rb"shutting")
        assert s.end(signal.SIGINT) == 0


def full():
    with Node("--max-clients", "2") as n:
        one, _ = n.sub("a"), n.sub("a")
        n.bad(3, "max_clients_reached", "pub", "a", "x")
        st = n.status()
        assert st["clients"] == {"count": 2, "limit": 2}, st["clients"]
        assert n.ok("clients").count(b"\n") >= 3
        one.end(signal.SIGTERM)
        until("a place is free", lambda: n.run("pub", "a", "x")[0] == 0)


def examples():
    with Node() as n:
        for name, want in (("pubsub", b"example.greeting hello\n"), ("rpc", b'{"echo":{"n":1}}\n')):
            p = subprocess.run([os.path.join(build, "examples", "example_" + name)], env=n.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               timeout=DEADLINE)
            assert (p.returncode, p.stdout) == (0, want), p


def benches():
    with Node() as n:
        assert json.loads(n.ok("--json", "bench", "pubsub", "--messages", "3000", "--clients", "2"))["lost"] == 0
        b = json.loads(n.ok("--json", "bench", "fanout", "--messages", "300", "--subscribers", "5"))
        assert b["deliveries"] == 1500 and b["lost"] == 0, b
        for words, fan in (["pubsub", "--clients", "2"], 1), (["fanout", "--subscribers", "5"], 5):
            b = json.loads(n.ok("--json", "bench", *words, "--flat", "--messages", "3000"))
            assert b["messages"] == 3000 and b["lost"] + b.get("received", b.get("deliveries")) == 3000 * fan, b
        assert json.loads(n.ok("--json", "bench", "pubsub", "--flat", "--duration", "200ms"))["messages"] > 0
        assert "--flat has none" in n.bad(2, "invalid_argument", "bench", "pubsub", "--flat", "--outstanding", "3")
        assert "pubsub and fanout" in n.bad(2, "invalid_argument", "bench", "rpc", "--flat")
        assert json.loads(n.ok("--json", "bench", "rpc", "--messages", "500", "--outstanding", "8"))["calls"] == 500
        assert json.loads(n.ok("--json", "bench", "connect", "--clients", "20"))["connections_per_s"] > 0
        assert json.loads(n.ok("--json", "bench", "idle", "--clients", "20", "--hold", "100ms"))["clients"] == 20
        assert n.ok("bench", "rpc", "--duration", "200ms").startswith(b"bench ")


if __name__ == "__main__":
    main("cli", scenario, publishing, named, escaping, names_of_people, bad_input, help_and_local, completion_in_bash, completion_in_zsh,
         node_id_changed, no_room_for_known_nodes, handlers, origin, hanging, provider_killed, subscriber_stopped, slow_reader, queueing,
         subscriber_killed, node_killed, node_terminated, full, examples, benches)
