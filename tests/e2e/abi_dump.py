#!/usr/bin/env python3
"""libmacula against the dump of its ABI, src/lib/libmacula.abi: tests/e2e/abi_dump.py BUILD_FOLDER [CASE...].

With LOAD_FULL=1 (./test --full), or when it is named, libabigail compares a build with it. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(path):
    with open(os.path.join(root, path)) as f:
        return f.read()


def symbols():
    """What programs may call by the dump the library still exports."""
    dumped = set(re.findall(r"<elf-symbol name='(\w+)'", read("src/lib/libmacula.abi")))
    gone = dumped - set(read("src/lib/symbols.txt").split())
    assert dumped and not gone, "gone: %s" % gone


def compared():
    """The library is as the dump has it; and one whose handle has grown would be found."""
    p = subprocess.run([root + "/tools/abi.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert p.returncode == 0, p.stdout[-3000:]
    with tempfile.TemporaryDirectory() as t:
        shutil.copytree(root, t + "/m", ignore=shutil.ignore_patterns(".git", "build", "build-*"))
        header = t + "/m/include/macula/macula.h"
        with open(header) as f:
            changed = f.read().replace("typedef struct macula_sub {\n", "typedef struct macula_sub {\n  uint64_t of;\n")
        with open(header, "w") as f:
            f.write(changed)
        p = subprocess.run([t + "/m/tools/abi.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert p.returncode == 1 and "would break" in p.stdout, p.stdout[-3000:]


CASES, FULL = (symbols,), (compared,)


def main():
    failed, words = 0, sys.argv[2:]
    for case in CASES + FULL:
        if case.__name__ not in words if words else case in FULL and os.environ.get("LOAD_FULL") != "1":
            continue
        try:
            case()
            print("ok abi_dump " + case.__name__, flush=True)
        except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as e:
            failed += 1
            print("FAIL abi_dump %s: %s" % (case.__name__, str(e).replace("\n", "; ")[-3000:]), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
