#!/usr/bin/env python3
"""The project's own scripts, with other programs in place of compilers: tests/e2e/scripts.py BUILD_FOLDER [CASE...]. Prints "ok NAME" or
"FAIL NAME: why" a case."""
import json
import os
import re
import shutil
import subprocess
import sys

from _cases import main
from _node import plain

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OTHER = 54321  # a user that is nobody here


def program(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def run(folder, *words, **kw):
    """With the folder's programs in front of the machine's."""
    env = plain(PATH=os.path.join(folder, "bin") + ":" + os.environ["PATH"], PYTHONDONTWRITEBYTECODE="1")
    p = subprocess.run(words, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    return p.returncode, p.stdout


def built_by_root(folder):
    """In another's checkout root's build is that one's: its own next build goes on. One that cannot be written is told."""
    checkout = os.path.join(folder, "checkout")
    os.makedirs(os.path.join(checkout, "tools"))
    shutil.copy(root + "/tools/build.sh", checkout + "/tools/build.sh")
    program(folder, "bin/meson", 'for last; do :; done; [ -d "$last" ]\nd=$(dirname "$0")/../checkout/build\nmkdir -p "$d/meson-private"; : >"$d/meson-private/coredata.dat"\n')
    program(folder, "bin/ninja", 'echo built >"$2/program"\n')
    for at, folders, _ in os.walk(checkout):
        os.chown(at, OTHER, OTHER)
    for at in folder, os.path.dirname(folder):
        os.chmod(at, 0o755)
    code, said = run(folder, checkout + "/tools/build.sh", "build")
    assert code == 0, said
    owners = {os.lstat(os.path.join(at, name)).st_uid for at, folders, files in os.walk(checkout + "/build") for name in [".", *folders, *files]}
    assert owners == {OTHER}, owners
    code, said = run(folder, checkout + "/tools/build.sh", "build", user=OTHER, group=OTHER, extra_groups=[])
    assert code == 0, said
    os.chown(checkout + "/build", 0, 0)
    os.chmod(checkout + "/build", 0o755)
    code, said = run(folder, checkout + "/tools/build.sh", "build", user=OTHER, group=OTHER, extra_groups=[])
    assert code == 1 and re.fullmatch(r"macula: \S+/build belongs to another user: [^\n]+\n", said), said


# What cmocka prints of three cases, two of which failed: the names of those stand there twice.
CMOCKA = """[==========] Running 3 test(s).
[ RUN      ] one
[       OK ] one
[ RUN      ] two
[  FAILED  ] two
[ RUN      ] three
[  FAILED  ] three
[  PASSED  ] 1 test(s).
[  FAILED  ] 2 test(s), listed below:
[  FAILED  ] two
[  FAILED  ] three
"""


def summed_up(folder):
    """tests/run.py counts a case once, of a script as of a program, and one that says nothing and fails."""
    with open(os.path.join(folder, "cmocka"), "w") as f:
        f.write(CMOCKA)
    tests = [("a", "unit", "cat %s/cmocka; exit 2" % folder), ("b", "e2e", "echo ok x; echo FAIL y: why; exit 1"), ("c", "check", "true"),
             ("d", "unit", "exit 1"), ("e", "e2e", "echo ok z")]
    listed = [{"name": n, "suite": ["macula:" + s], "priority": 0, "cmd": ["sh", "-c", c], "workdir": folder, "env": {}, "timeout": 600} for n, s, c in tests]
    with open(os.path.join(folder, "listed"), "w") as f:
        json.dump(listed, f)
    program(folder, "bin/meson", "cat %s/listed\n" % folder)
    code, said = run(folder, sys.executable, root + "/tests/run.py", folder)
    assert code == 1 and said.endswith("\n4 passed, 4 failed\n"), said
    assert re.search("^failed: ", said, re.M) and set(re.search("^failed: (.*)$", said, re.M)[1].split(", ")) == {"a", "b", "d"}, said
    code, said = run(folder, sys.executable, root + "/tests/run.py", folder, "c", "e")
    assert code == 0 and said.endswith("\n2 passed, 0 failed\n"), said
    code, said = run(folder, sys.executable, root + "/tests/run.py", folder, "nothing")
    assert code == 1 and said.endswith("0 passed, 0 failed\n"), said


def listed(folder):
    """What ./run and ./test install is named without being installed."""
    code, said = run(folder, root + "/tools/deps.sh", "list", "test")
    assert code == 0 and {"meson", "libngtcp2-dev", "libcmocka-dev"} < set(said.split()), said


if __name__ == "__main__":
    main("scripts", built_by_root, summed_up, listed)
