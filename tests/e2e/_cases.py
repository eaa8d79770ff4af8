"""The main part of scripts whose cases have a folder each: SCRIPT BUILD_FOLDER [CASE...]."""
import os
import re
import shutil
import sys
import tempfile

from _process import end_all

FULL = bool(os.environ.get("LOAD_FULL"))


class Missing(Exception):
    """A program of others that cannot be had: nothing is judged."""


def main(name, *cases, named=(), strict=FULL):
    """Those that are asked for, else all of cases. named: further ones that run only if they are asked for. strict: what cannot be had is a
    failure."""
    root = tempfile.mkdtemp(prefix="macula-%s-" % name)
    failed = passed = 0
    asked = sys.argv[2:]
    for case in [c for c in [*cases, *named] if c.__name__ in asked] if asked else cases:
        try:
            case(tempfile.mkdtemp(prefix=case.__name__ + "-", dir=root))
            passed += 1
            print("ok", case.__name__, flush=True)
        except Missing as e:
            passed += not strict
            failed += strict
            print("%s %s: not judged, as it cannot be had: %s" % ("FAIL" if strict else "ok", case.__name__, " ".join(str(e).split())), flush=True)
        except Exception as e:  # a case's failure is a line, not the end
            failed += 1
            print("FAIL %s: %s" % (case.__name__, re.sub(r"\s+", " ", "%s %s" % (type(e).__name__, e))), flush=True)
    end_all()
    shutil.rmtree(root, ignore_errors=True)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(bool(failed))
