"""The page's files, as maculad serves them: page.py BUILD_FOLDER [CASE...]."""
import http.client
import os
import re

from _cases import main
from _node import Node

WEB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "web")
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def ask(n, path, method="GET", headers=None):
    """Status, headers and body."""
    c = http.client.HTTPConnection(n.http, timeout=60)
    try:
        c.request(method, path, headers=headers or {})
        r = c.getresponse()
        return r.status, r.headers, r.read()
    finally:
        c.close()


def files(folder):
    """Each as it is in web/, with what keeps a page from being used by others."""
    with Node(folder) as n:
        names = [f for f in os.listdir(WEB) if os.path.splitext(f)[1] in TYPES and not f.startswith("test_")]
        assert "index.html" in names
        for name in names:
            path = "/" if name == "index.html" else "/" + name
            status, headers, body = ask(n, path)
            with open(os.path.join(WEB, name), "rb") as f:
                assert status == 200 and body == f.read(), (name, status)
            assert headers["Content-Type"] == TYPES[os.path.splitext(name)[1]] and headers["Cache-Control"] == "no-cache", name
            policy = dict(re.findall(r"([a-z-]+) ([^;]+)", headers["Content-Security-Policy"]))
            assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'", policy
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'", policy
            assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
            again = ask(n, path, headers={"If-None-Match": headers["ETag"]})
            assert again[0] == 304 and again[2] == b"" and again[1]["ETag"] == headers["ETag"], again
            head = ask(n, path, "HEAD")
            assert head[0] == 200 and head[2] == b"" and int(head[1]["Content-Length"]) == len(body), head
        assert ask(n, "/", "POST")[0] == 405 and ask(n, "/nothing.js")[0] == 404 and ask(n, "/../NEWS")[0] == 404


def refused(folder):
    """Under a foreign name, and to pages of others."""
    with Node(folder) as n:
        assert ask(n, "/", headers={"Host": "evil.example"})[0] == 403
        assert ask(n, "/app.js", headers={"Origin": "http://evil.example"})[0] == 403


if __name__ == "__main__":
    main("page", files, refused)
