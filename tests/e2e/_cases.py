"""The main part of scripts whose cases have a folder each: SCRIPT BUILD_FOLDER [CASE...]."""
import inspect
import os
import re
import shutil
import sys
import tempfile
import traceback

from _process import end_all
from _still import tried

FULL = bool(os.environ.get("LOAD_FULL"))


class Missing(Exception):
    """A program of others that cannot be had: nothing is judged."""


def alone(case, root):
    """With a folder of its own, if it takes one, which is gone afterwards with all that the case started. What is missing is returned."""
    folder = tempfile.mkdtemp(prefix=case.__name__ + "-", dir=root)
    try:
        case(*[folder] if inspect.signature(case).parameters else [])
    except Missing as e:
        return " ".join(str(e).split())
    finally:
        end_all()
        shutil.rmtree(folder, ignore_errors=True)
    return None


def said(case, e):
    """A failure on one line, with the line of the case."""
    where = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.name == case.__name__][:1]
    return re.sub(r"\s+", " ", "%sline %s: %s" % ("" if isinstance(e, AssertionError) else type(e).__name__ + " ", where[0] if where else "?", e))[-2000:]


def main(name, *cases, named=(), strict=FULL):
    """Those that are asked for, else all of cases; one that fails while the machine may be why is tried again (_still.py). named: further ones
    that run only if they are asked for. strict: what cannot be had is a failure."""
    root = tempfile.mkdtemp(prefix="macula-%s-" % name)
    os.chmod(root, 0o711)  # a case may let another user into its folder
    failed = passed = 0
    asked = sys.argv[2:]
    for case in [c for c in [*cases, *named] if c.__name__ in asked] if asked else cases:
        try:
            missing = tried(case.__name__, lambda c=case: alone(c, root))
        except Exception as e:  # a case's failure is a line, not the end
            failed += 1
            print("FAIL %s: %s" % (case.__name__, said(case, e)), flush=True)
            continue
        bad = bool(missing) and strict
        failed += bad
        passed += not bad
        print("%s %s%s" % ("FAIL" if bad else "ok", case.__name__, ": not judged, as it cannot be had: " + missing if missing else ""), flush=True)
    shutil.rmtree(root, ignore_errors=True)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(bool(failed))
