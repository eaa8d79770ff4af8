"""A running program whose output is waited for with a deadline."""
import re
import signal
import socket
import subprocess
import threading

DEADLINE = 60  # a client that idles hears of a killed node by its idle timeout of 30 s at the latest
live = []  # all that were started


class Process:
    """text: what it prints is taken as UTF-8, not as octets."""

    def __init__(self, argv, env, text=False):
        self.p = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.text = text
        self.out, self.err = ("", "") if text else (b"", b"")
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=self.read, args=(n,), daemon=True) for n in ("out", "err")]
        for t in self.readers:
            t.start()
        live.append(self)

    def read(self, name):
        for line in iter(getattr(self.p, "std" + name).readline, b""):
            with self.changed:
                setattr(self, name, getattr(self, name) + (line.decode("utf-8", "replace") if self.text else line))
                self.changed.notify_all()

    def expect(self, name, pattern):
        with self.changed:
            self.changed.wait_for(lambda: re.search(pattern, getattr(self, name), re.M), DEADLINE)
            found = re.search(pattern, getattr(self, name), re.M)
        assert found, "no %r in %r (stderr %r)" % (pattern, getattr(self, name)[-600:], self.err[-600:])
        return found

    def lines(self, count):
        with self.changed:
            self.changed.wait_for(lambda: self.out.count("\n" if self.text else b"\n") >= count, DEADLINE)
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


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end_all():
    for p in live:
        p.end()
    live.clear()
