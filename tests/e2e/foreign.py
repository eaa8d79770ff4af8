#!/usr/bin/env python3
"""What others choose (names, results, tokens) and what handlers leave behind: tests/e2e/foreign.py BUILD_FOLDER.

Each case waits for output or answers with a deadline. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import termios
import threading
import traceback

from _node import READY, own_mounts, serving, until
from _process import DEADLINE, Process, access_file, end_all
from _still import tried

build = os.path.abspath(sys.argv[1])
macula, maculad = os.path.join(build, "macula"), os.path.join(build, "maculad")
FORGED = 'x" level=error event=disk_full text="'
RAW = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")  # what drives a terminal; newline and tab are text


class Place:
    """A folder for identities and nodes, and the environment of those who use them."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_") and k != "NOTIFY_SOCKET"}
        self.env["XDG_CONFIG_HOME"] = self.path("config")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end_all()
        self.folder.cleanup()

    def path(self, name, text=None, mode=0o600):
        path = os.path.join(self.folder.name, name)
        if text is not None:
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, mode)
        return path

    def node(self, name, *args):
        p = serving("--state", self.path(name), *args, env=self.env, text=False)
        self.env.setdefault("MACULA_SERVER", p.address)
        return p

    def start(self, *args):
        return Process([macula, *args], self.env)

    def run(self, *args):
        p = subprocess.run([macula, *args], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=DEADLINE)
        return p.returncode, p.stdout, p.stderr

    def on_terminal(self, *args, expected=None):
        """Both of its outputs are a terminal; what came there, to its end or to what is waited for."""
        ours, its = pty.openpty()
        mode = termios.tcgetattr(its)
        mode[1] &= ~termios.OPOST  # a newline stays one
        termios.tcsetattr(its, termios.TCSANOW, mode)
        p = subprocess.Popen([macula, *args], env=self.env, stdin=subprocess.DEVNULL, stdout=its, stderr=its)
        os.close(its)
        shown = Terminal(ours)
        try:
            shown.expect(expected)
        finally:
            if expected:
                p.kill()
            p.wait(DEADLINE)
        return shown.text


class Terminal:
    def __init__(self, fd):
        self.fd, self.text, self.ended, self.changed = fd, b"", False, threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        data = b"-"
        while data:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the other side is closed
                data = b""
            with self.changed:
                self.text += data
                self.ended = not data
                self.changed.notify_all()
        os.close(self.fd)

    def expect(self, pattern):
        with self.changed:
            self.changed.wait_for(lambda: self.ended or (pattern and re.search(pattern, self.text)), DEADLINE)
            assert not pattern or re.search(pattern, self.text), "no %r in %r" % (pattern, self.text[-600:])


# ---- cases -----------------------------------------------------------------------------------------------------------------
def a_name_forges_no_log_line():
    with Place() as here:
        one = here.node("one", "--log-format", "json", "--name", "one")
        text = here.node("two", "--name", FORGED, "--join", one.address, "--log-format", "text")
        three = here.node("three", "--name", "three", "--join", one.address, "--log-format", "json")
        for reader in one, three:
            reader.expect("err", rb'"peer":"x\\"')
        text.expect("err", rb' event=link_up peer="one"')
        until("it is known by its name", lambda: FORGED in here.run("peers", "--wide")[1].decode())
        for reader in one, three:
            lines = [json.loads(line) for line in reader.err.decode().splitlines()]
            about = [line for line in lines if line.get("peer", "").startswith("x")]
            assert about and all(line["peer"] == FORGED and line["level"] == "info" for line in about), about
            assert not [line for line in lines if line["event"] == "disk_full" or "text" in line and line["event"] == "link_up"], lines


def others_drive_no_terminal():
    with Place() as here:
        here.node("one", "--name", "a\x1b[2J\x07\x9b31m\nb\u20ac")
        for command in ("status",), ("--json", "status"), ("clients",), ("--json", "clients"):
            shown = here.on_terminal(*command)
            assert shown and not RAW.search(shown), (command, shown)
        assert re.search(rb"^name +a\[2J31mb\xe2\x82\xac$", here.run("status")[1], re.M)
        here.start("serve", "t.echo", "--echo").expect("err", rb"^serving ")
        said = '["\x7f\x9b31m\u20ac"]'
        assert here.run("call", "t.echo", said) == (0, said.encode() + b"\n", b"")  # to a program each byte
        assert here.on_terminal("call", "t.echo", said) == '["\\u007f\\u009b31m\u20ac"]\n'.encode()
        here.start("serve", "t.bad", "--exec", r"printf 'no\033[2J\302\233!\007' >&2; exit 1").expect("err", rb"^serving ")
        for shown in here.on_terminal("call", "t.bad"), here.run("call", "t.bad")[2]:
            assert shown.startswith(b"macula: handler_error: no") and shown.count(b"\n") == 1 and not RAW.search(shown), shown
        for first, last in ((), ()), ((), ("--raw",)), (("--json",), ()):
            arguments = [*first, "sub", "t.topic", "--count", "1", *last]
            sub = here.start(*arguments)
            sub.expect("err", rb"^subscribed ")
            assert here.run("pub", "--retain", "t.topic", "x\x1b[2J\x9by\n")[0] == 0
            assert sub.wait() == 0 and bool(RAW.search(sub.out)) == bool(first or last), sub.out  # JSON takes C1 as it is
            shown = here.on_terminal(*arguments)
            assert b"t.topic" in shown and not RAW.search(shown), shown


def as_process_one(here, *argv):
    """Process 1 of a namespace of its own; its id as it is seen from here."""
    p = Process(own_mounts('mount -t proc proc /proc && exec "$0" "$@"', *argv, more=["--pid", "--fork", "--kill-child"]), here.env)
    return p, until("it runs", lambda: children_of(p.p.pid))[0][0]


def children_of(pid):
    """Processes and their states."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % name) as f:
                state, parent = f.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if name.isdigit() and int(parent) == pid:
            found.append((int(name), state))
    return found


def handlers_leave_nothing_behind():
    with Place() as here:
        here.node("one")
        for as_one in True, False:
            # two in the background, one of which holds its output open, and an orphan that ends by itself
            script = here.path("handler", "sleep 1000 & sleep 1000 >/dev/null 2>&1 & (setsid true &) ; echo $!; exit $(($(cat) % 2))")
            name = "t.spawn%d" % as_one
            argv = [macula, "serve", name, "--exec", "sh " + script]
            p, pid = as_process_one(here, *argv) if as_one else (Process(argv, here.env), None)
            p.expect("err", rb"^serving ")
            for _ in range(5 if as_one else 1):
                calls = [here.start("call", name, str(i), "--timeout", "%ds" % DEADLINE) for i in range(8)]
                assert [c.wait() for c in calls] == [0, 1] * 4, [c.err for c in calls if c.err]  # no status is another's
            until("nothing is left", lambda: not children_of(pid or p.p.pid))
            until("nobody sleeps", lambda: not running([b"sleep", b"1000"], script))
            p.end()


def running(argv, script):
    """Processes of these arguments with the environment of this case."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/cmdline" % name, "rb") as f, open("/proc/%s/environ" % name, "rb") as e:
                if f.read().split(b"\0")[:-1] == argv and os.path.dirname(script).encode() in e.read():
                    found.append(int(name))
        except OSError:
            continue
    return found


def a_node_as_process_one_reaps():
    with Place() as here:
        p, pid = as_process_one(here, maculad, "--json", "--listen", "127.0.0.1:0", "--http", "off", "--mqtt", "off", "--state", here.path("one"))
        p.expect("out", READY.encode())
        subprocess.run(["nsenter", "-t", str(pid), "--pid", "sh", "-c", "sleep 0.2 &"], check=True, timeout=DEADLINE,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("the orphan is reaped", lambda: not children_of(pid))


def json_is_grammar_and_passes_unchanged():
    with Place() as here:
        here.node("one")
        text = '{"n": [18446744073709551615, 1e400, -0, 1.0, 0.10000000000000000555], "a":1,"a":2, "s":"\\ud800"}'
        for name, how in ("t.echo", ("--echo",)), ("t.reply", ("--reply", text)), ("t.exec", ("--exec", "cat")):
            here.start("serve", name, *how).expect("err", rb"^serving ")
            assert here.run("call", name, text) == (0, text.encode() + b"\n", b""), name
        said = here.run("call", "com.macula.diagnostics.echo", text)[1].decode()
        assert said.startswith('{"echo":%s,"timestamp":' % text), said
        here.start("serve", "t.deep", "--exec", "printf '%2049s' '' | tr ' ' '['").expect("err", rb"^serving ")
        for err in here.run("call", "t.deep")[2], here.run("call", "t.echo", "[" * 2049)[2]:
            assert b"byte 2049: it is nested deeper than 2048 levels" in err, err


def refused_clients_leave_a_line():
    with Place() as here:
        access = access_file(here.path("access.yaml"), client=here.path("token", "rightrightrightright\n"))
        node = here.node("one", "--access", access, "--log-format", "json")
        identity = here.run("id")[1].decode().strip()
        code, _, err = here.run("--token-file", here.path("wrong", "wrongwrongwrongwrong\n"), "status")
        assert code == 3 and b"not_authorized" in err, err
        node.expect("err", rb'"event":"client_refused"')
        line = [json.loads(line) for line in node.err.decode().splitlines() if "client_refused" in line][0]
        assert re.fullmatch(r"127\.0\.0\.1:\d+", line.pop("address")) and line.pop("time"), line
        assert line == {"level": "warn", "event": "client_refused", "id": identity, "code": "not_authorized",
                        "text": "the access token is wrong", "left_out": "0"}, line


def main():
    failed = 0
    for name, case in list(globals().items()):
        if name not in CASES or sys.argv[2:] and name not in sys.argv[2:]:
            continue
        try:
            tried(name, case)
            print("ok " + name, flush=True)
        except Exception as e:  # each case speaks for itself
            failed += 1
            line = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.name == name][:1]
            print("FAIL %s: line %s: %s: %s" % (name, line, type(e).__name__, e), flush=True)
    return 1 if failed else 0


CASES = ["a_name_forges_no_log_line", "others_drive_no_terminal", "handlers_leave_nothing_behind", "a_node_as_process_one_reaps",
         "json_is_grammar_and_passes_unchanged", "refused_clients_leave_a_line"]

if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        end_all()
