#!/usr/bin/env python3
"""Each command of README.md, docs/start.md and docs/how-to/ is run as it is written: tests/e2e/docs.py BUILD_FOLDER [CASE...].

A page is one case. Its fenced blocks that begin with `sh` are run in their order by a shell that ends at the first failure, in a folder
that shows the project's files, with the programs under test in its path. Words behind `sh`:

  stays      the block's last command goes on in a terminal of its own, until the page ends; the next block waits until it has begun
  on=NAME    on the machine NAME (NAME.example), a network namespace with an address of its own; scp copies to another one's folder
  elsewhere  it needs what no test has, and is not run

A block that begins with `text` is what the block before it, or something that stays, prints: these lines, in this order; ... is anything.
Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import glob
import os
import re
import signal
import subprocess

import _node
from _cases import main
from _node import MACULAD, plain, until, with_hosts
from _process import Process

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGES = ["README.md", "docs/start.md", *sorted(os.path.relpath(p, root) for p in glob.glob(root + "/docs/how-to/*.md"))]
BEGUN = r"^(subscribed|serving) |^Try in another terminal|^\{\"event\":\"ready\""
ELSEWHERE = 8  # blocks of all pages that need a cluster, an init system or another release
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
SCP = r"""#!/bin/sh
for last; do :; done
name=${last%%:*}
to=$MACHINES/${name%.example}/${last#*:}
while [ $# -gt 1 ]; do cp "$1" "$to"; shift; done
"""


def text(path):
    with open(os.path.join(root, path)) as f:
        return f.read()


def blocks(path):
    """(line, words of its first line, what it holds) of each block."""
    page = text(path)
    return [(page[:m.start()].count("\n") + 1, m[1].split(), m[2]) for m in BLOCK.finditer(page)]


class Machines:
    """Of one page, made when they are first named: each with a folder, and an address at one Ethernet."""

    def __init__(self, folder, names):
        self.folder, self.names = folder, names
        self.hosts = os.path.join(folder, "hosts")
        with open(self.hosts, "w") as f:
            f.write("127.0.0.1 localhost\n" + "".join("10.77.0.%d %s %s.example\n" % (i, n, n) for i, n in enumerate(names, 1)))
        self.spaces = {}
        os.mkdir(os.path.join(folder, "bin"))
        with open(os.path.join(folder, "bin", "scp"), "w", opener=lambda p, flags: os.open(p, flags, 0o755)) as f:
            f.write(SCP)
        if len(names) > 1:
            self.wire = self.space()
            self.ip(self.wire, "link", "add", "wire", "type", "bridge")
            self.ip(self.wire, "link", "set", "wire", "up")
        for i, name in enumerate(names, 1):
            self.add(i, name)

    def space(self):
        """A network of its own, as long as the process is there; its id."""
        p = Process(["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"], plain(), True)
        p.expect("out", "^up$")
        return p.p.pid

    def ip(self, space, *words):
        subprocess.run(["nsenter", "--net=/proc/%d/ns/net" % space, "ip", *words], check=True)

    def add(self, i, name):
        self.spaces[name] = self.space()
        if len(self.names) > 1:
            self.ip(self.wire, "link", "add", "to%d" % i, "type", "veth", "peer", "name", "eth0", "netns", str(self.spaces[name]))
            self.ip(self.wire, "link", "set", "to%d" % i, "master", "wire", "up")
            self.ip(self.spaces[name], "addr", "add", "10.77.0.%d/24" % i, "dev", "eth0")
            self.ip(self.spaces[name], "link", "set", "eth0", "up")
        home = os.path.join(self.folder, name)
        os.makedirs(os.path.join(home, "tools"))
        for file in os.listdir(root):
            if file not in ("build", "tools", ".git"):
                os.symlink(os.path.join(root, file), os.path.join(home, file))
        os.symlink(_node.build, os.path.join(home, "build"))
        for file in os.listdir(root + "/tools"):
            if file in ("deps.sh", "build.sh"):  # what they install and build is there
                os.symlink("/bin/true", os.path.join(home, "tools", file))
            else:
                os.symlink(os.path.join(root, "tools", file), os.path.join(home, "tools", file))

    def start(self, name, script):
        home = os.path.join(self.folder, name)
        env = plain(HOME=home, STATE_DIRECTORY=os.path.join(home, "state"), MACHINES=self.folder, LC_ALL="C.UTF-8",
                    PATH="%s:%s/bin:%s" % (_node.build, self.folder, os.environ["PATH"]))
        env.pop("XDG_CONFIG_HOME", None)
        words = ["setsid", "nsenter", "--net=/proc/%d/ns/net" % self.spaces[name], *with_hosts(self.hosts), "bash", "-e", "-c", "exec 2>&1\n" + script]
        return Process(words, env, True, cwd=home)


def end(p):
    """With all that it started."""
    if p.p.poll() is None:
        os.killpg(p.p.pid, signal.SIGKILL)
    p.wait()


def shows(p, wanted):
    """Whether these lines have come, in their order."""
    lines = iter(p.out.splitlines())
    return all(any(re.fullmatch(".*".join(map(re.escape, want.split("..."))), line.rstrip()) for line in lines) for want in wanted)


def place(words):
    return ([w[3:] for w in words if w.startswith("on=")] or ["here"])[0]


def run(path, folder):
    found = blocks(path)
    machines = Machines(folder, list(dict.fromkeys(place(words) for _, words, _ in found if words[:1] == ["sh"] and "elsewhere" not in words)))
    started, last = [], None
    try:
        for line, words, script in found:
            where = "%s:%d" % (path, line)
            if words[:1] == ["text"]:
                wanted = script.splitlines()
                until("%s: it prints %r; there is %r" % (where, wanted, last and last.out),
                      lambda: any(shows(p, wanted) for p in [last, *started] if p))
            elif words[:1] == ["sh"] and "elsewhere" not in words:
                p = machines.start(place(words), script)
                if "stays" in words:
                    started.append(p)
                    until("%s: it begins" % where, lambda: re.search(BEGUN, p.out, re.M) or p.p.poll() is not None)
                    assert p.p.poll() is None, "%s: it ended: %r" % (where, p.out)
                else:
                    try:
                        code = p.wait()
                    finally:
                        end(p)
                    last = p
                    assert code == 0, "%s: exit %d: %r" % (where, code, p.out)
    finally:
        for p in started:
            end(p)


def page(path):
    def case(folder):
        run(path, folder)
    case.__name__ = os.path.basename(path)[:-3].lower().replace("-", "_")
    return case


def marks():
    """Each block says what it is, and few are not run."""
    skipped = 0
    for path in PAGES:
        for line, words, script in blocks(path):
            known = words[:1] in (["sh"], ["text"], ["yaml"]) and all(w in ("stays", "elsewhere") or w.startswith("on=") for w in words[1:])
            assert known, "%s:%d: a block of %r" % (path, line, words)
            skipped += "elsewhere" in words
    assert skipped <= ELSEWHERE, skipped


# What a minimal Debian has, and what ./run installs.
PLAIN = set("cat chmod echo grep head ip mkdir printf scp sed seq sleep umask export exit for do done until if then fi kill nice nohup curl".split())
PACKAGES = {"mosquitto_pub": "mosquitto-clients", "mosquitto_sub": "mosquitto-clients", "openssl": "openssl"}


def programs():
    """A page that uses another program than ours, or than each machine has, names its package."""
    for path in PAGES:
        for line, words, script in blocks(path):
            if words[:1] != ["sh"] or "elsewhere" in words:
                continue
            script = re.sub(r"<<END\n.*?\nEND\n", "\n", script, flags=re.S)
            script = re.sub(r"'[^']*'|\\\n", "", script)  # quoted, or a line that goes on
            for name in re.findall(r"(?:^|[|&;(!]|\$\(|\bdo\b|\buntil\b|\bthen\b)[ \t]*([a-zA-Z./][\w./-]*)(?![\w=])", script, re.M):
                ours = name in ("macula", "maculad", "./run", "./test") or name in PLAIN
                assert ours or PACKAGES.get(name, "?") in text(path), "%s:%d: %s is no program of ours: name its package" % (path, line, name)


def links():
    """Each leads to a file that is there, and to a heading of it."""
    for path in subprocess.run(["find", "README.md", "docs", "deploy", "-name", "*.md"], cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout.split():
        for to in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"(?ms)^```.*?^```$|`[^`\n]*`", "", text(path))):
            if ":" not in to:
                assert os.path.exists(os.path.join(root, os.path.dirname(path), to)), "%s: there is no %s" % (path, to)


def configurations():
    """Files of maculad that pages show are ones that it takes."""
    for path in PAGES:
        for line, words, script in blocks(path):
            if words[:1] == ["yaml"]:
                p = subprocess.run([MACULAD, "--check", "-c", "/dev/stdin"], input=script, env=plain(), cwd=root, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
                assert (p.returncode, p.stdout) == (0, "ok\n"), "%s:%d: %s" % (path, line, p.stdout)


if __name__ == "__main__":
    main("docs", marks, programs, links, configurations, *map(page, PAGES))
