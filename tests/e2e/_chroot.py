"""Minimal systems of Debian's releases, made by debootstrap, in which a test installs and runs what it likes. Needs root.

The mirror is $DEBIAN_MIRROR, or the one that this machine's apt uses.
"""
import os
import shutil
import subprocess

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What is started ends with the namespace, and no mount outlives it.
INSIDE = """
[ "$1" = host ] || ip link set lo up
mount -t proc proc "$2/proc" && mount --bind /dev "$2/dev" && [ -e "$2/dev/pts/ptmx" ] || mount -t devpts devpts "$2/dev/pts" 2>/dev/null
root=$2 dir=$3
shift 3
exec chroot "$root" sh -c 'cd "$1" && shift && exec "$@"' sh "$dir" "$@"
"""


def mirror():
    """None: debootstrap knows one."""
    if os.environ.get("DEBIAN_MIRROR"):
        return os.environ["DEBIAN_MIRROR"]
    out = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian"],
                         stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return out[0] if out else None


class Failed(Exception):
    """A command inside: its exit code and the end of what it printed."""


def debootstrapped(path, release):
    """A fresh minimal system of this release; one that was made before is taken as it is."""
    c = Chroot(path, release)
    if os.path.exists(path + ".whole"):
        return c
    subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)
    with open(path + ".log", "w+") as log:
        code = subprocess.run(["nice", "debootstrap", "--variant=minbase", release, path, *filter(None, [mirror()])], stdin=subprocess.DEVNULL,
                              stdout=log, stderr=log).returncode
        log.seek(0)
        if code:
            raise Failed("debootstrap %s: %s" % (release, log.read()[-1500:]))
    for name in "resolv.conf", "hosts":
        if os.path.exists("/etc/" + name):
            shutil.copy("/etc/" + name, path + "/etc/" + name)
    # No service starts by itself, as in an image that is being built.
    with open(path + "/usr/sbin/policy-rc.d", "w", opener=lambda p, flags: os.open(p, flags, 0o755)) as f:
        f.write("#!/bin/sh\nexit 101\n")
    open(path + ".whole", "w").close()
    return c


class Chroot:
    def __init__(self, path, release):
        self.path, self.release = path, release

    def copy(self, path):
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)
        subprocess.run(["cp", "-a", "--reflink=auto", self.path, path], check=True)
        return Chroot(path, self.release)

    def run(self, *argv, cwd="/", net="host", check=True, timeout=1800, **env):
        """What it printed; net: "own": without any network but loopback. Raises Failed unless check is False, then (code, text)."""
        words = ["nice", "unshare", "--pid", "--fork", "--kill-child", "--mount", *(["--net"] if net == "own" else []),
                 "sh", "-c", INSIDE, "sh", net, self.path, cwd, *argv]
        env = dict({"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}, **env)
        p = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           errors="replace", timeout=timeout)
        if not check:
            return p.returncode, p.stdout
        if p.returncode:
            raise Failed("%s in %s: exit %d: %s" % (" ".join(argv)[:200], self.release, p.returncode, p.stdout[-2500:]))
        return p.stdout

    def sh(self, script, *args, **kw):
        return self.run("sh", "-e", "-c", script, "sh", *args, **kw)

    def install(self, *packages, **kw):
        return self.run("apt-get", "-y", "-q", "--no-install-recommends", "install", *packages, **kw)

    def put(self, source, target):
        target = self.path + target
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(source, target)

    def has(self, path):
        return os.path.lexists(self.path + path)

    def remove(self):
        subprocess.run(["rm", "-rf", "--one-file-system", self.path], check=True)
