#!/usr/bin/env python3
"""Programs built against an earlier or a later header than that of the library they run with: tests/e2e/abi.py BUILD_FOLDER.

Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

from _node import Node, build
from _process import DEADLINE, end_all
from _still import tried

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADER = os.path.join(root, "include/macula/macula.h")
CC = os.environ.get("CC", "cc").split() + (["-fsanitize=address,undefined"] if "asan" in os.path.basename(build) else
                                           ["-fsanitize=thread"] if "tsan" in os.path.basename(build) else [])

# What lies behind a struct must not be read.
PROGRAM = r"""
#include <macula/macula.h>
#include <stdio.h>
#include <string.h>

#define FRESH(type, name)                            \
  struct { type o; unsigned char behind[64]; } name; \
  memset(&name, 0xee, sizeof name);                  \
  name.o = (type){MACULA_INIT(type)}

static int got;
static void on_message(void *ctx, macula_client client, const macula_message *m) {
  (void)ctx, (void)client;
  got += m->len == 2;
}
static void on_request(void *ctx, macula_client client, const macula_request *r) {
  (void)ctx;
  macula_reply(client, r->id, r->args, r->len);
}
static int tell(const char *what, int err) {
  printf("%s: %s: %s\n", what, macula_err_name(err), macula_last_error());
  fflush(stdout);
  return 1;
}
#define TRY(what, call)                  \
  do {                                   \
    int err = call;                      \
    if (err) return tell(what, err);     \
  } while (0)

int main(void) {
  macula_loop *loop;
  macula_client client;
  char *data;
  size_t len;
  FRESH(macula_loop_options, lo);
  FRESH(macula_options, co);
  FRESH(macula_subscribe_options, su);
  FRESH(macula_publish_options, pu);
  FRESH(macula_call_options, ca);
  FRESH(macula_serve_options, se);
  pu.o.qos = 1;
#ifdef ASKS
  ASKS.o.later = 1;
#endif
  TRY("loop", macula_loop_new(&lo.o, &loop));
  TRY("connect", macula_connect(loop, &co.o, &client));
  TRY("wait", macula_connect_wait(client, 120000));
  TRY("subscribe", macula_subscribe_sync(client, "a.*", &su.o, on_message, NULL, 120000, NULL));
  TRY("serve", macula_serve_sync(client, "p", &se.o, on_request, NULL, NULL, 120000, NULL));
  TRY("publish", macula_publish_sync(client, "a.b", "hi", 2, &pu.o, 120000));
  TRY("call", macula_call_sync(client, "p", "[1]", 3, &ca.o, 120000, &data, &len));
  printf("%s\n", data);
  macula_free(data);
  macula_loop_free(loop);
  puts(got ? "own messages came" : "done"); /* own: by default they do not */
  return 0;
}
"""
OPTIONS = re.compile(r"(  MACULA_SIZE\((macula_\w+)\);)(.*?)(\} \2;)", re.S)


class Place:
    def __init__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = self.temporary.name
        self.text = re.sub(r"/\*.*?\*/", "", open(HEADER).read(), flags=re.S)
        assert len(OPTIONS.findall(self.text)) == 7

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end_all()
        self.temporary.cleanup()

    def header(self, text):
        """The project's folder with this header."""
        project = os.path.join(self.folder, "project")
        shutil.rmtree(project, ignore_errors=True)
        os.makedirs(os.path.join(project, "src/lib"))
        shutil.copytree(os.path.join(root, "include"), os.path.join(project, "include"))
        shutil.copy(os.path.join(root, "src/lib/abi.txt"), os.path.join(project, "src/lib/abi.txt"))
        with open(os.path.join(project, "include/macula/macula.h"), "w") as f:
            f.write(text)
        return project

    def run(self, node, text, *flags):
        """What the program built against this header prints, with today's library."""
        program = os.path.join(self.folder, "program")
        src = os.path.join(build, "src")
        subprocess.run([*CC, "-std=c11", "-I", os.path.join(self.header(text), "include"), *flags, "-o", program, "-x", "c", "-", "-L", src, "-lmacula",
                        "-Wl,-rpath," + src], input=PROGRAM, text=True, check=True)
        p = subprocess.run([program], env=dict(node.env, XDG_CONFIG_HOME=os.path.join(self.folder, "config")), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, timeout=DEADLINE)
        return p.returncode, p.stdout + p.stderr


def later(text, member="uint64_t later;"):
    return OPTIONS.sub(r"\1\3  " + member + r"\n\4", text)


# ---- cases -----------------------------------------------------------------------------------------------------------------
def earlier_program():
    """Each struct of options without its last member, and with none but its size."""
    with Place() as p, Node(os.path.join(p.folder, "n"), http="off") as n:
        def keep(members):
            """Of each struct these of its members behind the size."""
            return OPTIONS.sub(lambda m: m[1] + ";".join(members(m[3].split(";")[:-1]) + ["\n"]) + m[4], p.text)
        cut = keep(lambda all: all[:-1])
        bare = keep(lambda all: [m for m in all if m.endswith("int qos")])
        assert cut.count(";") == p.text.count(";") - 7 and "char *group" not in cut and "macula_will *will" not in cut and "char *server" in cut and "server" not in bare
        for text in p.text, cut, bare:
            code, out = p.run(n, text)
            assert (code, out) == (0, "[1]\ndone\n"), out


def later_program():
    with Place() as p, Node(os.path.join(p.folder, "n"), http="off") as n:
        code, out = p.run(n, later(p.text))
        assert (code, out) == (0, "[1]\ndone\n"), out
        for word, what, struct in (("lo", "loop", "macula_loop_options"), ("co", "connect", "macula_options"), ("su", "subscribe", "macula_subscribe_options"),
                                   ("se", "serve", "macula_serve_options"), ("pu", "publish", "macula_publish_options"), ("ca", "call", "macula_call_options")):
            code, out = p.run(n, later(p.text), "-DASKS=" + word)
            assert code == 1 and "%s: invalid_argument: %s: it asks for what libmacula" % (what, struct) in out and "update the library" in out, out


def noted():
    """tools/check_abi.py: an unreleased version notes what it adds; of a released one nothing changes, and nothing hides in padding."""
    with Place() as p:
        def check(text, *args):
            project = p.header(text)
            run = lambda *more: subprocess.run([os.path.join(root, "tools/check_abi.py"), *more, project], stdout=subprocess.PIPE, text=True)
            first = run(*args)
            return first.returncode, first.stdout, run().returncode
        next_text = re.sub(r'(#define MACULA_VERSION ")\d+\.\d+', r"\g<1>99.0", p.text)
        assert check(p.text) == (0, "", 0)
        assert check(next_text) == (0, "", 0)
        code, out, _ = check(later(next_text))
        assert code == 1 and "--write" in out, out
        assert check(later(next_text), "--write") == (0, "", 0)
        code, out, _ = check(later(next_text, "bool later;"), "--write")
        assert code == 1 and "macula_call_options.later lies within the 32 bytes" in out, out
        code, out, _ = check(next_text.replace("  const char *server;", "  uint64_t before;\n  const char *server;"), "--write")
        assert code == 1 and "macula_options.server was 8 8" in out, out
        code, out, _ = check(next_text.replace("  bool own;", "  bool mine;"), "--write")
        assert code == 1 and "macula_subscribe_options.own is gone" in out, out
        code, out, _ = check(next_text.replace("typedef struct macula_sub {\n", "typedef struct macula_sub {\n  uint64_t of;\n"), "--write")
        assert code == 1 and "macula_sub was 8" in out, out


failed = 0
for case in (earlier_program, later_program, noted):
    if sys.argv[2:] and case.__name__ not in sys.argv[2:]:
        continue
    try:
        tried(case.__name__, case)
        print("ok abi " + case.__name__, flush=True)
    except (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
        failed += 1
        line = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.name == case.__name__][:1]
        print("FAIL abi %s: line %s: %s" % (case.__name__, line, str(e).replace("\n", "; ")[-2000:]), flush=True)
sys.exit(1 if failed else 0)
