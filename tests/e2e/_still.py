"""Whether the machine, and not the program, may explain a failure: only then is a case run again, with nothing of ours beside it.

A node under load gives up whoever says nothing for its idle timeout of 3 s (docs/load.md), and no promise holds against a machine that
stands still for longer, or gives its time to others. A wrong count on an idle machine is the program's: it is never tried again, and a
try that follows another has the last word.
"""
import os
import threading
import time

LATE = 1.0  # seconds by which a thread that sleeps is woken too late: on a machine that is only slow it is milliseconds
TAKEN = 0.25  # of one core, used by programs that are not ours


def used():
    """Core-seconds that the machine has given to anyone, or kept from us."""
    try:
        with open("/proc/stat") as f:
            user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    except (OSError, ValueError):
        return 0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Begins with it; why() says what the machine did since, or nothing."""

    def __init__(self):
        self.latest, self.done = 0, threading.Event()
        self.began, self.used, self.ours = time.monotonic(), used(), sum(os.times()[:4])
        threading.Thread(target=self.look, daemon=True).start()

    def look(self):
        before = time.monotonic()
        while not self.done.wait(0.1):
            now = time.monotonic()
            self.latest = max(self.latest, now - before - 0.1)
            before = now

    def why(self):
        self.done.set()
        seconds = time.monotonic() - self.began
        taken = (used() - self.used - (sum(os.times()[:4]) - self.ours)) / max(seconds, 0.1)
        if self.latest > LATE:
            return "the machine stood still for %.1f s" % self.latest
        return "others had %.1f cores" % taken if taken > TAKEN else ""


def tried(name, case, tries=3):
    """Runs a case, and again while the machine may explain its failure; the last try's error is raised."""
    for left in reversed(range(tries)):
        watch = Watch()
        try:
            return case()
        except Exception as e:
            why = watch.why()
            if not why or not left:
                raise
            print("   %s again, since %s: %s" % (name, why, str(e)[:600].replace("\n", " | ")), flush=True)
        finally:
            watch.done.set()
