#!/usr/bin/env python3
"""Retained messages over restarts of a real node: tests/e2e/retained.py BUILD_FOLDER [CASE...]. Killed while it writes, on a disk that is
full, and with a file that is damaged."""
import json
import os
import re
import signal
import subprocess
import sys
import threading

from _cases import main
from _node import Node, own_mounts, plain, serving, until
from _process import DEADLINE, Process

MIB = 1 << 20


def settled(n):
    """All that was published is in the file."""
    until("what was retained is written", lambda: n.metric("retained_disk_waiting") == 0)


def again(n, sig=signal.SIGKILL):
    """The node ends and starts once more, where it was."""
    n.process.end(sig)
    n.start()


def held(n, prefix=""):
    """All retained messages whose topics begin so, by topic."""
    count = int(re.search(r'^macula_table_entries{table="retained"} (\d+)$', n.get("/metrics"), re.M).group(1))
    reader = n.macula("--json", "sub", "**")
    rows = {}
    for line in reader.lines(count)[:count] if count else ():
        m = json.loads(line)
        rows[m["topic"]] = m["payload"] if isinstance(m["payload"], str) else json.dumps(m["payload"])  # numbers, too, as they were
    reader.end()
    assert len(rows) == count, (count, sorted(rows))
    return {t: v for t, v in rows.items() if t.startswith(prefix)}


def kept(folder):
    """What native clients have retained, replaced and cleared is as it was, after a kill and after a goodbye; so is what they were told
    of its publisher."""
    with Node(folder) as n:
        for i in range(20):
            n.ok("pub", "--retain", "a.%d" % i, "first %d" % i)
        for i in range(0, 20, 2):
            n.ok("pub", "--retain", "a.%d" % i, "second %d" % i)
        n.ok("pub", "--retain", "a.3", "")
        n.ok("pub", "--retain", "large", "x" * 100000)
        wanted = {"a.%d" % i: "%s %d" % ("first" if i % 2 else "second", i) for i in range(20) if i != 3}
        settled(n)
        for sig in signal.SIGKILL, signal.SIGKILL, signal.SIGTERM:
            again(n, sig)
            assert held(n, "a.") == wanted
            assert len(held(n, "large")["large"]) == 100000
            assert "retained_restored" in n.process.err and "retained_damaged" not in n.process.err, n.process.err
            wanted["a.7"] = "after " + str(sig)
            n.ok("pub", "--retain", "a.7", wanted["a.7"])
            settled(n)
        n.ok("pub", "--retain", "a.8", "last")  # a goodbye waits for the disk
        again(n, signal.SIGTERM)
        assert held(n, "a.8") == {"a.8": "last"}


def storm(folder):
    """Killed again and again while it writes and fills the halves of its file: what had been written before is there, and of each topic a
    value that was published since."""
    words = ["--retained-count", "300", "--retained-bytes", "1MiB"]
    with Node(folder, *words, "--mqtt", "127.0.0.1:0") as n:
        for i in range(50):
            n.ok("pub", "--retain", "still.%d" % i, str(i))
        floor, top = {}, 0
        for turn in range(3):
            settled(n)
            floor = held(n, "s.")
            port = n.process.mqtt[0].rsplit(":", 1)[1]
            writers = [subprocess.Popen(["mosquitto_pub", "-p", port, "-q", "1", "-r", "-t", "s/%d" % k, "-l"], stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=plain()) for k in range(8)]
            begin = top + 1
            stop = threading.Event()

            def feed(p):
                try:
                    for v in range(begin, begin + 10**6):
                        if stop.is_set():
                            return
                        p.stdin.write(b"%d %s\n" % (v, b"y" * (v * 37 % 60000)))
                except OSError:
                    pass

            feeders = [threading.Thread(target=feed, args=(p,), daemon=True) for p in writers]
            for t in feeders:
                t.start()
            before = n.metric("retained_disk_rewrites_total")
            until("the file's halves are filled", lambda: n.metric("retained_disk_rewrites_total") >= before + 1 + turn)
            n.process.end()
            stop.set()
            for p in writers:
                p.kill()
                p.wait()
            for t in feeders:
                t.join(DEADLINE)
            n.start()
            assert "retained_damaged" not in n.process.err, n.process.err
            now = held(n)
            assert {k: v for k, v in now.items() if k.startswith("still.")} == {"still.%d" % i: str(i) for i in range(50)}
            for k in range(8):
                topic = "s.%d" % k
                least = int(floor[topic].split()[0]) if topic in floor else 0
                v, _, rest = now[topic].partition(" ") if topic in now else ("0", "", "")
                assert int(v) >= least and (not int(v) or rest == "y" * (int(v) * 37 % 60000)), (topic, least, now.get(topic))
                top = max(top, int(v))
            top += 10**6  # none is published twice


def full_disk(folder):
    """A disk without room: a warning, a counter, and all goes on in memory; when there is room, all is written."""
    place = os.path.join(folder, "disk")
    os.mkdir(place)
    holder = Process(own_mounts('mount -t tmpfs -o size=4m none "$0" && echo mounted && exec sleep 100000', place), plain(), text=True)
    holder.expect("out", r"^mounted")
    inside = ["nsenter", "--mount", "--target", str(holder.p.pid)]
    env = plain(XDG_CONFIG_HOME=os.path.join(folder, "config"))

    def start():
        p = serving("--state", place, http="127.0.0.1:0", before=inside, env=env)
        n = Node.__new__(Node)  # the same, but for where it runs
        n.folder, n.process, n.http, n.env, n.state = folder, p, p.http, dict(env, MACULA_SERVER=p.address), place
        return n

    n = start()
    for i in range(10):
        n.ok("pub", "--retain", "f.%d" % i, str(i))
    n.process.expect("err", r"event=retained_not_written .*the disk is full")
    wanted = {"f.%d" % i: str(i) for i in range(10)}
    assert held(n, "f.") == wanted and n.metric("retained_disk_failures_total") > 0
    n.process.end()
    n = start()
    assert held(n, "f.") == {}  # as the warning said
    for i in range(10):
        n.ok("pub", "--retain", "f.%d" % i, str(i))
    n.process.expect("err", r"event=retained_not_written")
    subprocess.run([*inside, "mount", "-o", "remount,size=100m", place], check=True, timeout=DEADLINE)
    n.process.expect("err", r"event=retained_written")
    settled(n)
    # full again, and beyond its own file: that has its room already
    subprocess.run([*inside, "sh", "-c", 'dd if=/dev/zero of="$0/filler" bs=1M 2>/dev/null; test -s "$0/filler"', place], check=True, timeout=DEADLINE)
    n.ok("pub", "--retain", "f.3", "full")
    wanted["f.3"] = "full"
    settled(n)
    n.process.end()
    n = start()
    assert held(n, "f.") == wanted and "retained_damaged" not in n.process.err
    n.process.end()
    holder.end()


def damaged(folder):
    """A byte that is wrong costs its own message and is told; a file that cannot be read keeps the node from starting, and off says that
    there is one."""
    with Node(folder) as n:
        for i in range(10):
            n.ok("pub", "--retain", "d.%d" % i, "value-of-%d" % i)
        settled(n)
        n.process.end()
        path = os.path.join(n.state, "retained")
        data = bytearray(open(path, "rb").read())
        at = data.index(b"value-of-4")
        data[at] ^= 1
        with open(path, "r+b") as f:
            f.write(data)
        n.start()
        n.process.expect("err", r"event=retained_damaged .*places=1 refused=0")
        assert held(n, "d.") == {"d.%d" % i: "value-of-%d" % i for i in range(10) if i != 4}
        n.process.end()
        n.args = ("--retained-disk", "off")
        n.start()
        n.process.expect("err", r"event=retained_not_read")
        assert held(n, "d.") == {}
        n.ok("pub", "--retain", "d.0", "not kept")
        n.process.end()
        n.args = ()
        n.start()
        assert held(n, "d.")["d.0"] == "value-of-0"
        n.process.end()
        os.rename(path, path + ".away")
        os.mkdir(path)
        code, _, err = n.run("--listen", "127.0.0.1:0", "--http", "off", "--mqtt", "off", "--state", n.state, program=os.path.join(os.path.abspath(sys.argv[1]), "maculad"))
        assert code == 1 and "--retained-disk off" in err, (code, err)
        os.rmdir(path)
        os.rename(path + ".away", path)
        n.start()


def resized(folder):
    """Another size: what was retained moves into a new file. One that is too small is refused with what is needed."""
    with Node(folder) as n:
        n.ok("pub", "--retain", "r.1", "one")
        n.ok("pub", "--retain", "r.2", "two")
        settled(n)
        path = os.path.join(n.state, "retained")
        for size in 100 * MIB, 61 * MIB:
            n.args = ("--retained-disk", "%dMiB" % (size // MIB))
            again(n)
            until("the file has its size", lambda: os.stat(path).st_size == size)
            again(n)
            assert held(n, "r.") == {"r.1": "one", "r.2": "two"}
        code, _, err = n.run("--retained-disk", "1MiB", "--check", program=os.path.join(os.path.abspath(sys.argv[1]), "maculad"))
        assert code == 2 and re.search(r"retained_disk is 1MiB, .* need \d+MiB: raise it, or lower them", err), (code, err)
        assert sorted(f for f in os.listdir(n.state) if f.startswith("retained")) == ["retained"]



if __name__ == "__main__":
    main("retained", kept, storm, full_disk, damaged, resized)
