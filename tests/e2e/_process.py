"""A running program whose output is waited for with a deadline, and what else the scripts share to start them."""
import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import threading
import time

# Only what never comes waits so long. A client that idles hears of a killed node by its idle timeout of 30 s; all else takes seconds, and a
# busy machine ten times as long.
DEADLINE = 300
live = []  # all that were started


class Process:
    """text: what it prints is taken as UTF-8, not as bytes."""

    def __init__(self, argv, env, text=False, cwd=None):
        self.p = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.text = text
        self.out, self.err = ("", "") if text else (b"", b"")
        self.changed = threading.Condition()
        self.open = 2
        self.readers = [threading.Thread(target=self.read, args=(n,), daemon=True) for n in ("out", "err")]
        for t in self.readers:
            t.start()
        live.append(self)

    def read(self, name):
        for line in iter(getattr(self.p, "std" + name).readline, b""):
            with self.changed:
                setattr(self, name, getattr(self, name) + (line.decode("utf-8", "replace") if self.text else line))
                self.changed.notify_all()
        with self.changed:  # what ended will say nothing more
            self.open -= 1
            self.changed.notify_all()

    def expect(self, name, pattern, ended=False):
        """ended: that it ended without saying so is no failure."""
        with self.changed:
            self.changed.wait_for(lambda: re.search(pattern, getattr(self, name), re.M) or not self.open, DEADLINE)
            found = re.search(pattern, getattr(self, name), re.M)
        assert found or (ended and not self.open), "no %r in %r (stderr %r)" % (pattern, getattr(self, name)[-600:], self.err[-600:])
        return found

    def lines(self, count):
        with self.changed:
            self.changed.wait_for(lambda: self.out.count("\n" if self.text else b"\n") >= count or not self.open, DEADLINE)
        return self.out.splitlines()

    def wait(self):
        code = self.p.wait(DEADLINE)
        for t in self.readers:
            t.join(DEADLINE)
        return code

    def end(self, sig=signal.SIGKILL):
        if self.p.poll() is None:
            self.p.send_signal(sig)
        return self.wait()


def started(argv, env, pattern, text=False, cwd=None):
    """A node of which a line of its output is waited for; returns both. One that comes back to its port tries again while another
    program, such as a client that was given any port, has that port for a moment."""
    end = time.monotonic() + DEADLINE
    while True:
        p = Process(argv, env, text, cwd)
        found = p.expect("out", pattern if text else pattern.encode(), ended=True)
        if found:
            return p, found
        code = p.wait()
        assert ("UDP port" if text else b"UDP port") in p.err and time.monotonic() < end, "%s: exit %s, %r" % (argv, code, p.err[-600:])
        live.remove(p)
        time.sleep(0.1)


@contextlib.contextmanager
def deaf_port():
    """An address where nobody listens and that nobody else is given: its socket is connected to itself, so it hears nobody else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.connect(s.getsockname())
        yield "127.0.0.1:%d" % s.getsockname()[1]


def token_file(path, text=None):
    """A token that nobody else has, unless a text is given."""
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:
        f.write((text or secrets.token_urlsafe()) + "\n")
    return path


def access_file(path, default=None, **tokens):
    """Everything to whoever knows a token, in the role that its file (or files) stands for, as node=FILE; default: the role of those who
    have a key alone."""
    lines = ["grants:"]
    for role in ("client", "node", "operator"):
        lines.append("  %s: {role: %s, pub: ['**'], sub: ['**'], call: ['**'], serve: ['**']}" % (role, role))
    lines.append("tokens:")
    for role, files in tokens.items():
        lines += ["  - {file: '%s', grant: %s}" % (f, role) for f in ([files] if isinstance(files, str) else files)]
    with open(path, "w") as f:
        f.write("\n".join(lines + (["default: " + default] if default else [])) + "\n")
    return path


def end_all():
    for p in live:
        p.end()
    live.clear()
