#!/usr/bin/env python3
"""Debian's packages: tests/e2e/packages.py BUILD_FOLDER [CASE or RELEASE...].

With LOAD_FULL=1 (./test --full), or when it is named: built in fresh chroots of Debian 12 and 13, twice, then checked by lintian and
piuparts, installed, upgraded and removed there, and from a bare system to a first message heard with a watch. Prints "ok NAME" or
"FAIL NAME: why" a case. PACKAGES_FOLDER: where the chroots and the packages of an earlier run stay, so that they are not made again.
"""
import contextlib
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from _chroot import Failed, debootstrapped, mirror
from _node import MACULAD, plain

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RELEASES = {"bookworm": 12, "trixie": 13}
NAMES = ["libmacula-dev", "libmacula0", "macula", "maculad"]
HEARD_IN = 60  # seconds from the package to a first message heard: what is promised; printed, not judged

# ExecStart, by hand, as an account that can do nothing, with the unit's environment; then what a newcomer types.
FIRST_MESSAGE = r"""
unit=$(ls /usr/lib/systemd/system/maculad.service /lib/systemd/system/maculad.service 2>/dev/null | head -n 1)
line=$(sed -n 's/^ExecStart=//p' "$unit")
state=/var/lib/macula
install -d -m 0700 -o 61184 -g 61184 $state
# shellcheck disable=SC2046,SC2086
setpriv --reuid 61184 --regid 61184 --clear-groups --inh-caps=-all --no-new-privs env -i PATH="$PATH" STATE_DIRECTORY=$state \
  $(sed -n 's/^Environment=//p' "$unit") $line >/tmp/log 2>&1 &
node=$!
until grep -q '^Try in another terminal' /tmp/log; do
  kill -0 $node || { cat /tmp/log; exit 1; }
  sleep 0.05
done
macula sub -n 1 'sensor.**' >/tmp/heard 2>/tmp/err &
sub=$!
until grep -q '^subscribed' /tmp/err; do kill -0 $sub || { cat /tmp/err; exit 1; }; sleep 0.05; done
macula pub sensor.kitchen.temp 21.5
wait $sub
sed 's/^/heard /' /tmp/heard
bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; printf "GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" >&3; head -n 1 <&3'
bash -c 'exec 3<>/dev/tcp/127.0.0.1/1883 && echo mqtt'
sed -n 's/^node id  /id /p' /tmp/log
kill -TERM $node
wait $node
rm -f /tmp/log /tmp/heard /tmp/err
"""


class Release:
    """The packages of one release, and the systems that they are built and tried in."""

    def __init__(self, name, folder):
        self.name, self.number, self.folder = name, RELEASES[name], os.path.join(folder, name)
        os.makedirs(self.folder, exist_ok=True)
        self.debs_in = os.path.join(self.folder, "debs")

    def base(self):
        return debootstrapped(os.path.join(self.folder, "base"), self.name)

    @contextlib.contextmanager
    def fresh(self, name):
        c = self.base().copy(os.path.join(self.folder, name))
        try:
            yield c
        finally:
            c.remove()

    def debs(self):
        return sorted(glob.glob(self.debs_in + "/*.deb"))

    def deb(self, name):
        found = [d for d in self.debs() if os.path.basename(d).startswith(name + "_")]
        assert len(found) == 1, "%s: %s" % (name, self.debs())
        return found[0]

    def field(self, name, field):
        return subprocess.run(["dpkg-deb", "-f", self.deb(name), field], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def give(self, c, names=NAMES):
        """Puts the packages into a system; their paths there."""
        for name in names:
            c.put(self.deb(name), "/pkg/" + os.path.basename(self.deb(name)))
        return ["/pkg/" + os.path.basename(self.deb(name)) for name in names]


def sources(target):
    """What git has of the project, or else all but what was built."""
    os.makedirs(target)
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if listed.returncode == 0 and listed.stdout:
        for name in filter(None, listed.stdout.decode().split("\0")):
            if os.path.lexists(os.path.join(root, name)):
                os.makedirs(os.path.dirname(os.path.join(target, name)), exist_ok=True)
                shutil.copy2(os.path.join(root, name), os.path.join(target, name), follow_symlinks=False)
    else:
        shutil.copytree(root, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git", "build", "build-*", "__pycache__"))


def text(path):
    with open(os.path.join(root, path)) as f:
        return f.read()


# ---- cases that need no chroot ---------------------------------------------------------------------------------------------
def versions():
    """One version wherever one stands; until it is released the package's comes before it."""
    version = re.search(r"version: '([\d.]+)'", text("meson.build"))[1]
    assert re.search(r"#define MACULA_VERSION \"([\d.]+)\"", text("include/macula/macula.h"))[1] == version
    first = re.match(r"macula \((\d+\.\d+\.\d+)(~\S+)?\) ", text("debian/changelog"))
    assert first and first[1] == version, "debian/changelog: %s" % (first and first[0])
    unreleased = text("NEWS").startswith("macula %s (unreleased)" % version)
    assert unreleased == bool(first[2]), "NEWS says %s, debian/changelog %s" % (unreleased and "unreleased" or "released", first[0])


def symbols():
    """What the library exports is what its package's list has."""
    listed = re.findall(r"^ (\w+)@Base ", text("debian/libmacula0.symbols"), re.M)
    assert listed == text("src/lib/symbols.txt").split(), set(listed) ^ set(text("src/lib/symbols.txt").split())


def configuration():
    """The package's own is one that maculad takes."""
    p = subprocess.run([MACULAD, "--check", "-c", os.path.join(root, "deploy/systemd/maculad.yaml")], env=plain(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (p.returncode, p.stdout) == (0, "ok\n"), p.stdout


# ---- cases of a release, in this order -------------------------------------------------------------------------------------
def built(r):
    """In two folders, at two times, by two masks and zones: the same bytes."""
    tries = []
    with r.fresh("build") as c:
        ways = ("one", "022", "UTC"), ("another/and-longer", "077", "Pacific/Kiritimati")
        for folder, _, _ in ways:
            sources(c.path + "/" + folder)
        for folder, umask, zone in ways:
            c.sh('umask %s; exec ./tools/deb.sh "/out/$1"' % umask, os.path.basename(folder), cwd="/" + folder, TZ=zone)
            tries.append(c.path + "/out/" + os.path.basename(folder))
        subprocess.run(["rm", "-rf", r.debs_in], check=True)
        shutil.copytree(tries[0], r.debs_in)
        assert [os.path.basename(d).split("_")[0] for d in r.debs() if "-dbgsym_" not in d] == NAMES, r.debs()
        for name in sorted(os.listdir(tries[0])):
            if name.endswith((".buildinfo", ".changes")):  # these say when and where
                continue
            one, two = (open(os.path.join(t, name), "rb").read() for t in tries)
            assert one == two, "%s: built twice its bytes differ" % name
        c.install("lintian")
        for name in os.listdir(r.debs_in):
            c.put(os.path.join(r.debs_in, name), "/lint/" + name)
        code, out = c.sh("cd /lint && lintian --allow-root --fail-on error,warning --tag-display-limit 0 *.changes", check=False)
        assert code == 0, "lintian: " + out[-3000:]


def linked(r):
    """On Debian 12 ngtcp2 is inside, as plain Debian 12 has only an older one; since Debian 13 it is the system's."""
    for name in "maculad", "macula", "libmacula0":
        needs = r.field(name, "Depends")
        inside = r.field(name, "Built-Using")
        assert ("ngtcp2" in needs, "ngtcp2" in inside) == ((False, True) if r.number == 12 else (True, False)), "%s: %s; %s" % (name, needs, inside)


def dependencies(r):
    """What building, testing and running need is there, in this release or its backports."""
    with r.fresh("deps") as c:
        for name in ("deps.sh",):
            c.put(os.path.join(root, "tools", name), "/tools/" + name)
        known = set(c.sh("echo 'deb %s %s-backports main' >/etc/apt/sources.list.d/backports.list; apt-get -q update >&2; apt-cache pkgnames" %
                         (mirror() or "http://deb.debian.org/debian", r.name)).split())
        for kind in "build", "test", "full", "deb", "run":
            wanted = c.run("sh", "/tools/deps.sh", "list", kind).split()
            assert wanted and set(wanted) <= known, "%s: %s" % (kind, set(wanted) - known)


def first_message(r):
    """From a bare system: apt, the node as its unit starts it, a message heard."""
    with r.fresh("first") as c:
        debs = r.give(c, ["macula", "maculad"])
        began = time.monotonic()
        c.run("apt-get", "-q", "update")
        c.install(*debs)
        installed = time.monotonic()
        out = c.sh(FIRST_MESSAGE, net="own")
        heard = time.monotonic()
        assert re.search(r"^heard sensor\.kitchen\.temp 21\.5$", out, re.M), out
        assert re.search(r"^HTTP/1\.1 200 ", out, re.M) and re.search(r"^mqtt$", out, re.M), out
        print("   Debian %d: from a bare system to a first message heard in %.1f s (apt %.1f s; promised: %d s)" %
              (r.number, heard - began, installed - began, HEARD_IN), flush=True)


def older(deb, c):
    """The same package as an earlier version, in a system's /old."""
    with tempfile.TemporaryDirectory() as t:
        subprocess.run(["dpkg-deb", "-R", deb, t + "/d"], check=True)
        with open(t + "/d/DEBIAN/control") as f:
            control = f.read()
        with open(t + "/d/DEBIAN/control", "w") as f:
            f.write(re.sub(r"^Version: .*$", "Version: 0.0.9", control, flags=re.M))
        os.makedirs(c.path + "/old", exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", t + "/d", c.path + "/old/" + os.path.basename(deb)], check=True, stdout=subprocess.DEVNULL)
    return "/old/" + os.path.basename(deb)


def kept(r):
    """An upgrade keeps the state folder and what an administrator changed; so does a removal; a purge leaves nothing."""
    with r.fresh("kept") as c:
        c.run("apt-get", "-q", "update")
        old = [older(r.deb(name), c) for name in ("macula", "maculad")]
        c.install(*old)
        first = c.sh(FIRST_MESSAGE, net="own")
        c.sh("echo '# mine' >>/etc/macula/maculad.yaml; echo 'grants: {}' >/etc/macula/access.yaml")
        c.install(*r.give(c, ["macula", "maculad"]))
        version = c.run("dpkg-query", "-W", "-f", "${Version}", "maculad")
        assert version == r.field("maculad", "Version"), version
        second = c.sh(FIRST_MESSAGE, net="own")
        ids = [re.search(r"^id (\w{64})$", out, re.M)[1] for out in (first, second)]
        assert ids[0] == ids[1], "another node since the upgrade"
        assert "# mine" in c.run("cat", "/etc/macula/maculad.yaml")
        c.sh("mkdir -p /var/lib/private && mv /var/lib/macula /var/lib/private/macula && ln -s private/macula /var/lib/macula")  # as systemd has it
        c.run("apt-get", "-y", "-q", "remove", "maculad", "macula")
        assert c.has("/var/lib/private/macula/node.key") or os.listdir(c.path + "/var/lib/private/macula"), "the state went with the program"
        assert c.has("/etc/macula/maculad.yaml") and not c.has("/usr/sbin/maculad")
        c.run("apt-get", "-y", "-q", "purge", "maculad", "macula")
        for path in "/var/lib/macula", "/var/lib/private/macula", "/etc/macula/maculad.yaml":
            assert not c.has(path), "%s is still there after the purge" % path
        assert c.has("/etc/macula/access.yaml"), "what an administrator wrote went with the purge"


def developed(r):
    """A C program is built by pkg-config alone with what libmacula-dev needs, and runs."""
    with r.fresh("dev") as c:
        c.run("apt-get", "-q", "update")
        c.install("gcc", "libc6-dev", "pkg-config", *r.give(c, ["libmacula0", "libmacula-dev"]))
        flags = c.sh("pkg-config --cflags --libs macula")
        assert flags.split() == ["-lmacula"], flags
        c.sh("cp /usr/share/doc/libmacula-dev/examples/pubsub.c /tmp/ && cd /tmp && cc -std=c11 -Wall -Werror -o pubsub pubsub.c $(pkg-config --cflags --libs macula) && ldd ./pubsub | grep libmacula.so.0")


def unit(r):
    """systemd finds nothing wrong with the unit as it is installed."""
    if not shutil.which("systemd-analyze"):
        return print("   not judged: there is no systemd-analyze")
    with r.fresh("unit") as c:
        c.run("apt-get", "-q", "update")
        c.install("systemd", *r.give(c, ["maculad"]))
        code, out = c.sh("systemd-analyze verify --man=no maculad.service", check=False)
        assert code == 0 and not out.strip(), out


def piuparts(r):
    """Installed, upgraded and purged by Debian's own tool, which compares all files before and after."""
    if not shutil.which("piuparts"):
        return print("   not judged: there is no piuparts")
    p = subprocess.run(["nice", "piuparts", "-d", r.name, "-e", r.base().path, *(["-m", mirror() + " main"] if mirror() else []), "--no-eatmydata",
                        "-I", r"^/var/cache/debconf/tmp\.ci/?$",  # debconf's, of Debian 13; a later piuparts knows it
                        *[r.deb(n) for n in NAMES]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert p.returncode == 0 and "PASS: All tests" in p.stdout, p.stdout[-3000:]


def one(name, case, *args):
    """0 or 1: how many failed."""
    try:
        case(*args)
        print("ok packages " + name, flush=True)
        return 0
    except (AssertionError, Failed, OSError, ValueError, TypeError, subprocess.SubprocessError) as e:
        print("FAIL packages %s: %s" % (name, str(e).replace("\n", "; ")[-3000:]), flush=True)
        return 1


def main():
    words = sys.argv[2:]
    failed = sum(one(case.__name__, case) for case in (versions, symbols, configuration) if not words or case.__name__ in words)
    cases = (dependencies, built, linked, first_message, kept, developed, unit, piuparts)
    if not words and os.environ.get("LOAD_FULL") != "1":
        return failed
    names = [c.__name__ for c in cases]
    if words and not set(words) & set(names + list(RELEASES)):
        return failed
    folder = os.environ.get("PACKAGES_FOLDER") or tempfile.mkdtemp(prefix="macula-packages-", dir="/var/tmp")
    try:
        for name in RELEASES:
            if set(words) & set(RELEASES) and name not in words:
                continue
            r = Release(name, os.path.abspath(folder))
            for case in cases:
                if not set(words) & set(names) or case.__name__ in words:
                    failed += one("%s %s" % (name, case.__name__), case, r)
    finally:
        if not os.environ.get("PACKAGES_FOLDER"):
            subprocess.run(["rm", "-rf", "--one-file-system", folder])
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
