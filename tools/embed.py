"""Writes files as C arrays, for maculad to serve: embed.py OUTPUT FILE..."""
import hashlib
import os
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
         ".json": "application/json"}


def main(output, *paths):
    rows = []
    with open(output, "w") as f:
        f.write('#include "daemon/http/page.h"\n')
        for i, path in enumerate(sorted(paths)):
            with open(path, "rb") as source:
                data = source.read()
            name = os.path.basename(path)
            f.write("static const unsigned char file%d[] = {\n" % i)
            for at in range(0, len(data), 32):
                f.write("%s,\n" % ",".join(str(b) for b in data[at:at + 32]))
            f.write("};\n")
            where = "/" if name == "index.html" else "/" + name
            rows.append('    {"%s", "%s", "\\"%s\\"", file%d, sizeof file%d},\n' % (where, TYPES[os.path.splitext(name)[1]], hashlib.sha256(data).hexdigest()[:16], i, i))
        f.write("const struct page_file page_files[] = {\n%s    {0},\n};\n" % "".join(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
