#!/usr/bin/env python3
"""Runs docker-compose.multi-node-test.yml without Docker: compose-in-chroot.py IMAGE [SERVICE [SERVICE.VARIABLE=VALUE]...]

IMAGE is the folder that build-in-chroot.sh made; SERVICE is client (unless given) or load. It is run as `docker compose run SERVICE`
would, after those that it depends on. Each gets a network namespace with the file's address on a bridge, the image read-only with the
file's volumes, a fresh /var/lib/macula and /tmp, uid 1000 and the file's environment; services start when those that they depend on
are healthy. mem_limit is kept where there is a version 1 memory controller. Ends with SERVICE's exit code, everything removed. Needs root, iproute2 and python3-yaml.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import yaml

here = os.path.dirname(os.path.abspath(__file__))
name = "mc%d" % os.getpid()
DEADLINE = 60
RUN = 900
CGROUPS = "/sys/fs/cgroup/memory"
INSIDE = """
set -e
root=$1 own=$2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
%s
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$own/hosts" "$root/etc/hosts"
mount --bind "$own/resolv.conf" "$root/etc/resolv.conf"
shift 2
exec chroot --userspec=macula:macula --groups= "$root" "$@"
"""


def ip(*args):
    subprocess.run(["ip", *args], check=True)


def dockerfile():
    """ENV, ENTRYPOINT and HEALTHCHECK of the last stage."""
    text = open(os.path.join(here, "Dockerfile")).read().split("\nFROM ")[-1]
    env = dict(v.split("=", 1) for line in re.findall(r"^ENV (.*)$", text, re.M) for v in line.split())
    return env, yaml.safe_load(re.search(r"^ENTRYPOINT (.*)$", text, re.M).group(1)), re.search(r"^HEALTHCHECK .* CMD (.*)$", text, re.M).group(1)


class Service:
    def __init__(self, service, spec, image, work, hosts):
        self.service, self.spec, self.image = service, spec, image
        self.ns = "%s-%s" % (name, service)
        self.address = spec["networks"]["mesh"]["ipv4_address"]
        self.own = os.path.join(work, service)
        os.makedirs(self.own)
        volumes = {"/var/lib/macula": (self.own + "/state", "rw")}  # what the Dockerfile's VOLUME gives, unless the file says else
        for v in spec.get("volumes", []):
            source, target, mode = (v + ":rw").split(":")[:3]
            volumes[target] = source if source[0] == "/" else os.path.join(work, "volume-" + source), mode
        for target, (source, _) in volumes.items():
            os.makedirs(image + target, exist_ok=True)
            if not os.path.exists(source):
                os.makedirs(source)
                os.chown(source, 1000, 1000)
        self.inside = INSIDE % "\n".join('mount --bind "%s" "$root%s"; mount -o remount,bind,%s "$root%s"' % (source, target, mode, target)
                                         for target, (source, mode) in volumes.items())
        for file, text in ("hosts", "127.0.0.1 localhost\n" + hosts), ("resolv.conf", ""):
            with open(os.path.join(self.own, file), "w") as f:
                f.write(text)
        self.env, self.entry, self.health = dockerfile()
        self.health = spec.get("health", self.health)
        self.env.update({k: str(v) for k, v in spec["environment"].items()}, PATH="/usr/bin:/usr/sbin:/bin")
        self.process = None
        self.cgroup = os.path.join(CGROUPS, self.ns) if os.path.exists(CGROUPS + "/memory.limit_in_bytes") else None
        if self.cgroup:
            os.mkdir(self.cgroup)
            with open(self.cgroup + "/memory.limit_in_bytes", "w") as f:
                f.write(spec["mem_limit"])
        ip("netns", "add", self.ns)
        ip("-n", self.ns, "link", "set", "lo", "up")
        ip("-n", name + "-sw", "link", "add", service, "type", "veth", "peer", "name", "eth0", "netns", self.ns)
        ip("-n", self.ns, "addr", "add", self.address + "/24", "dev", "eth0")
        ip("-n", self.ns, "link", "set", "eth0", "up")
        ip("-n", name + "-sw", "link", "set", service, "master", "br0", "up")

    def command(self, *cmd):
        return ["ip", "netns", "exec", self.ns, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", self.inside, "sh",
                self.image, self.own, *cmd]

    def start(self, output=None):
        print("starting " + self.service, flush=True)
        self.process = subprocess.Popen(self.command(*self.entry, *map(str, self.spec.get("command", []))), env=self.env,
                                        stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=self.enter)

    def enter(self):
        if self.cgroup:
            with open(self.cgroup + "/cgroup.procs", "w") as f:
                f.write(str(os.getpid()))

    def end(self):
        """Says what it took at most; its processes have ended."""
        if self.process:
            self.process.wait()
        if self.cgroup:
            with open(self.cgroup + "/memory.max_usage_in_bytes") as most, open(self.cgroup + "/memory.failcnt") as failed:
                print("%s: %d MiB at most, limit %s, reached %s times" % (self.service, int(most.read()) >> 20, self.spec["mem_limit"], failed.read().strip()))
            end = time.monotonic() + DEADLINE
            while True:  # what was killed may still be on its way out
                try:
                    return os.rmdir(self.cgroup)
                except OSError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.1)

    def wait_healthy(self):
        end = time.monotonic() + DEADLINE
        while subprocess.run(self.command("sh", "-c", self.health), env=self.env, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL).returncode != 0:
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit("%s is not healthy: %s" % (self.service, open(self.own + "/log").read()))
            time.sleep(0.2)


def main():
    image = os.path.abspath(sys.argv[1])
    services = yaml.safe_load(open(os.path.join(here, "docker-compose.multi-node-test.yml")))["services"]
    last = sys.argv[2] if len(sys.argv) > 2 else "client"
    wanted = {last}
    for k in reversed(services):  # the file names a service after those that it depends on
        wanted.update(services[k].get("depends_on", {}) if k in wanted else {})
    services = {k: v for k, v in services.items() if k in wanted}
    for change in sys.argv[3:]:
        where, value = change.split("=", 1)
        services[where.split(".")[0]]["environment"][where.split(".")[1]] = value
    hosts = "".join("%s %s\n" % (v["networks"]["mesh"]["ipv4_address"], k) for k, v in services.items())
    return run(services, last, image, hosts)


def run(services, last, image, hosts):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="macula-compose.")
    os.chmod(work, 0o755)
    running = {}
    try:
        ip("netns", "add", name + "-sw")
        ip("-n", name + "-sw", "link", "add", "br0", "type", "bridge")
        ip("-n", name + "-sw", "link", "set", "br0", "up")
        running = {k: Service(k, v, image, work, hosts) for k, v in services.items()}
        healthy = set()
        for k, s in running.items():
            for other in s.spec.get("depends_on", {}):
                if other not in healthy:
                    running[other].wait_healthy()
                    print("healthy " + other, flush=True)
                    healthy.add(other)
            if k == last:
                s.start()
            else:
                with open(s.own + "/log", "w") as log:
                    s.start(log)
        code = running[last].process.wait(RUN)
        for k, s in running.items():
            if k != last and s.process.poll() is not None:
                print("%s ended early with %d" % (k, s.process.returncode))
                code = code or 1
        print("%s ended with %d" % (last, code))
        return code
    finally:
        for n in [line.split()[0] for line in subprocess.run(["ip", "netns", "list"], stdout=subprocess.PIPE).stdout.decode().splitlines()]:
            if n.startswith(name + "-"):
                for pid in subprocess.run(["ip", "netns", "pids", n], stdout=subprocess.PIPE).stdout.split():
                    try:
                        os.kill(int(pid), signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                ip("netns", "del", n)
        for s in running.values():
            s.end()
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
