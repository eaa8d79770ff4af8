#!/usr/bin/env python3
"""What programs are built on stays as src/lib/abi.txt has it: tools/check_abi.py [--write] [PROJECT].

Sizes and offsets of the public header's structs, and its numbers, where a pointer has 8 bytes. What a released version has may not
change. Structs that programs hand over or are given by pointer may grow: by members behind the size that they had, since what lies
within it may be padding that a program never set. --write notes what this version adds.
"""
import os
import re
import subprocess
import sys
import tempfile

given = [a for a in sys.argv[1:] if a != "--write"]
root = given[0] if given else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIST = os.path.join(root, "src/lib/abi.txt")
HEADER = os.path.join(root, "include/macula/macula.h")
HANDLES = ("macula_client", "macula_sub", "macula_service", "macula_call_id", "macula_request_id")  # passed by value


def members(body):
    for declaration in filter(None, map(str.strip, body.split(";"))):
        named = re.search(r"\(\*(\w+)\)\(", declaration)
        if declaration.startswith("MACULA_SIZE("):
            yield "size"
        elif named:
            yield named[1]
        else:
            yield from (re.search(r"(\w+)$", part)[1] for part in declaration.split(","))


def layout():
    """What the compiler makes of the header: "name": numbers, in the header's order."""
    text = re.sub(r"/\*.*?\*/", "", open(HEADER).read(), flags=re.S)
    lines = ['printf("%s %%d\\n", %s);' % (n, n) for n in re.findall(r"#define (MACULA_\w+_LEN)\b", text)]
    for enum in re.findall(r"typedef enum \w+ \{(.*?)\}", text, re.S):
        lines += ['printf("%s %%d\\n", %s);' % (n, n) for n in re.findall(r"MACULA_\w+", enum)]
    lines += ['#define E(name, number, wire, text) printf("MACULA_" #name " %d\\n", MACULA_##name);', "MACULA_ERROR_MAP(E)"]
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text, re.S):
        lines.append('printf("%s %%zu\\n", sizeof(%s));' % (name, name))
        lines += ['printf("%s.%s %%zu %%zu\\n", offsetof(%s, %s), sizeof((%s){0}.%s));' % (name, m, name, m, name, m) for m in members(body)]
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "layout")
        source = "#include <macula/macula.h>\n#include <stdio.h>\nint main(void) {\n%s\n}\n" % "\n".join(lines)
        subprocess.run([os.environ.get("CC", "cc").split()[-1], "-I", os.path.join(root, "include"), "-o", program, "-x", "c", "-"],
                       input=source, text=True, check=True)
        printed = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {name: numbers for name, numbers in (line.split(" ", 1) for line in printed.splitlines())}


def released(version):
    """Of the versions before this one: what each name was, and what size each struct had last."""
    before, sizes = {}, {}
    for line in open(LIST) if os.path.exists(LIST) else ():
        if line.startswith("#"):
            continue
        since, name, numbers = line.rstrip("\n").split(" ", 2)
        if since == version:
            continue
        before.setdefault(name, []).append((since, numbers))
        sizes[name] = int(numbers.split()[0])
    return before, sizes


def compare(now, before, sizes):
    """What must not be, a line each; and the list as it is to be."""
    wrong, lines = [], []
    for name in before:
        if name not in now:
            wrong.append("%s is gone" % name)
    for name, numbers in now.items():
        struct, _, member = name.partition(".")
        old = before.get(name, [])
        lines += ["%s %s %s" % (since, name, numbers) for since, numbers in old]
        if old and old[-1][1] == numbers:
            continue
        grows = not member and struct not in HANDLES and name.startswith("macula_")
        if old and not (grows and int(numbers) > int(old[-1][1])):
            wrong.append("%s was %s in %s and is %s" % (name, old[-1][1], old[-1][0], numbers))
        if not old and member and struct in sizes and int(numbers.split()[0]) < sizes[struct]:
            wrong.append("%s lies within the %d bytes that %s had: align it to 8" % (name, sizes[struct], struct))
        lines.append("%s %s %s" % (VERSION, name, numbers))
    return wrong, lines


VERSION = re.search(r'#define MACULA_VERSION "(\d+\.\d+)', open(HEADER).read())[1]
wrong, lines = compare(layout(), *released(VERSION))
text = "# Since which version; name; a number, or size, or offset and size. By tools/check_abi.py.\n" + "\n".join(lines) + "\n"
if not wrong and "--write" in sys.argv:
    with open(LIST, "w") as f:
        f.write(text)
elif not wrong and (not os.path.exists(LIST) or open(LIST).read() != text):
    wrong.append("src/lib/abi.txt is not what the header has: if %s is to add to it, tools/check_abi.py --write notes it" % VERSION)
for line in wrong:
    print(line)
sys.exit(1 if wrong else 0)
