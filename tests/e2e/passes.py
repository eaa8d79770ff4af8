#!/usr/bin/env python3
"""macula realm, pass, token, user and access, which need no node; passes and lists are read by another implementation as well
(tests/conformance/passes.py): tests/e2e/passes.py BUILD_FOLDER [CASE...]. Prints "ok NAME" or "FAIL NAME: why" a case.
"""
import base64
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
import passes as other  # noqa: E402

macula = os.path.join(os.path.abspath(sys.argv[1]), "macula")
DEADLINE = 300


class Folder:
    """A folder to work in, which is the user's home, too."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="macula-passes-")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MACULA_") and k != "XDG_CONFIG_HOME"}
        self.env["HOME"] = self.path
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def run(self, *args, stdin=b""):
        p = subprocess.run([macula, *args], cwd=self.path, env=self.env, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=DEADLINE)
        return p.returncode, p.stdout.decode(), p.stderr.decode()

    def ok(self, *args, **kw):
        code, out, err = self.run(*args, **kw)
        assert code == 0, (args, code, err)
        return out

    def no(self, pattern, *args):
        """An answer that is no, on standard output."""
        code, out, err = self.run(*args)
        assert code == 1 and re.match("no: .*(%s)" % pattern, out), (args, code, out, err)

    def bad(self, pattern, *args, **kw):
        code, out, err = self.run(*args, **kw)
        assert code == 2 and not out and re.fullmatch(r"macula: [^\n]*(%s)[^\n]*\n" % pattern, err), (args, code, out, err)

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.path, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def read(self, name):
        with open(os.path.join(self.path, name)) as f:
            return f.read()


def armored(text):
    """(label, bytes) of a text with comments around."""
    found = re.search(r"-----BEGIN ([A-Z ]+)-----\n(.*?)-----END \1-----\n", text, re.S)
    return found.group(1), base64.b64decode(found.group(2))


def armor(label, data):
    lines = base64.b64encode(data).decode()
    return "-----BEGIN %s-----\n%s\n-----END %s-----\n" % (label, "\n".join(lines[i:i + 64] for i in range(0, len(lines), 64)), label)


def start(f):
    """A realm and this user: their ids."""
    return f.ok("realm", "new", "realm.key").strip(), f.ok("id").strip()


def issue(f, name, *args):
    f.write(name, f.ok("pass", "new", "--key", "realm.key", *args))


def test_a_realms_key_is_its_owners_and_never_overwritten(f):
    realm, _ = start(f)
    assert re.fullmatch("[0-9a-f]{64}", realm) and f.ok("realm", "show", "realm.key").strip() == realm
    path = os.path.join(f.path, "realm.key")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    before = f.read("realm.key")
    f.bad("is there already, and no key is overwritten", "realm", "new", "realm.key")
    assert f.read("realm.key") == before and os.listdir(f.path).count("realm.key") == 1
    assert not [n for n in os.listdir(f.path) if n.startswith("realm.key.")]
    for mode in (0o644, 0o604):
        os.chmod(path, mode)
        f.bad("can be read by others: run 'chmod 600'", "pass", "new", "--key", "realm.key", "--id", realm)
        f.bad("can be read by others: run 'chmod 600'", "pass", "revoke", "--key", "realm.key", "--list", "l", "00" * 16)
        f.bad("can be read by others: run 'chmod 600'", "realm", "show", "realm.key")
    assert not os.path.exists(os.path.join(f.path, "l"))
    f.bad("realm.key2", "realm", "show", "realm.key2")
    f.bad("cannot (write|create)", "realm", "new", "none/realm.key")


def test_what_a_user_does(f):
    realm, me = start(f)
    issue(f, "me.pass", "--id", me, "--pub", "plant.${id}.**", "--sub", "cmd.**", "--call", "math.*", "--for", "30d", "--delegate", "1")
    said = json.loads(f.ok("pass", "show", "me.pass", "--json"))
    assert said["realm"] == realm and len(said["links"]) == 1 and said["links"][0]["pub"] == ["plant.${id}.**"], said
    assert abs(said["links"][0]["not_after"] - time.time() - 30 * 86400) < 3600, said
    assert f.ok("pass", "check", "me.pass", "pub", "plant.%s.temp" % me) == \
        "yes: me.pass: pub 'plant.${id}.**' allows plant.%s.temp\n" % me
    f.no("no pattern of pub matches plant.x.temp", "pass", "check", "me.pass", "pub", "plant.x.temp")
    f.no("no pattern of sub contains", "pass", "check", "me.pass", "sub", "**")
    f.ok("pass", "check", "me.pass", "--realm-keys", realm)
    f.no("not trusted here", "pass", "check", "me.pass", "--realm-keys", me)
    guest = f.ok("id", "new", "--identity", "guest.pem").strip()
    f.write("guest.pass", f.ok("pass", "narrow", "me.pass", "--id", guest, "--sub", "cmd.door", "--for", "1h"))
    f.ok("pass", "check", "guest.pass", "sub", "cmd.door")
    f.no("no pattern", "pass", "check", "guest.pass", "call", "math.add")
    f.bad("which no pattern of the pass itself contains", "pass", "narrow", "me.pass", "--id", guest, "--sub", "**")
    f.bad("narrowed already", "pass", "narrow", "guest.pass", "--identity", "guest.pem", "--id", me, "--sub", "cmd.door")
    f.bad("is for the identity %s, and this one is " % me, "pass", "narrow", "me.pass", "--identity", "guest.pem", "--id", me, "--sub", "cmd.door")
    serial = said["links"][0]["serial"]
    assert f.ok("pass", "revoke", "--key", "realm.key", "--list", "revoked", serial) == "revoked: number 1, 1 revoked\n"
    assert json.loads(f.ok("pass", "revoke", "--key", "realm.key", "--list", "revoked", "00" * 16, "--json")) == {"number": 2, "revoked": 2}
    assert "number 3, 2 revoked" in f.ok("pass", "revoke", "--key", "realm.key", "--list", "revoked", serial)  # it stands there already
    f.no("was revoked", "pass", "check", "me.pass", "--list", "revoked")
    f.no("of which this one is a part, was revoked", "pass", "check", "guest.pass", "--list", "revoked")
    f.ok("realm", "new", "other.key")
    before = f.read("revoked")
    f.bad("another realm than that of --key", "pass", "revoke", "--key", "other.key", "--list", "revoked", serial)
    assert f.read("revoked") == before


def test_ours_read_elsewhere(f):
    realm, me = start(f)
    key = other.ec.generate_private_key(other.ec.SECP256R1())
    pem = key.private_bytes(other.serialization.Encoding.PEM, other.serialization.PrivateFormat.PKCS8, other.serialization.NoEncryption())
    f.write("p256.pem", pem.decode() + certificate(key))
    holder = f.ok("id", "--identity", "p256.pem").strip()
    assert holder == other.id_of(key).hex()
    issue(f, "p", "--id", holder, "--role", "node", "--pub", "a.**", "--pub", "b.#", "--serve", "x", "--quota", "messages=100", "--quota",
          "connections=0", "--delegate", "1", "--for", "90d")
    label, data = armored(f.read("p"))
    [(signer, said)] = other.read(data)
    assert label == "MACULA PASS" and signer.hex() == realm
    assert said[2:4] == [bytes.fromhex(holder), 1] and said[6:] == [1, {0: 0, 5: 100}, [b"a.**", b"b.**"], [], [], [b"x"]], said
    assert said[5] - said[4] <= 90 * 86400
    f.write("q", f.ok("pass", "narrow", "p", "--identity", "p256.pem", "--id", me, "--pub", "a.x"))
    links = other.read(armored(f.read("q"))[1])
    assert [s.hex() for s, _ in links] == [realm, holder] and links[1][1][8:] == [[b"a.x"], [], [], []], links
    f.ok("pass", "revoke", "--key", "realm.key", "--list", "l", "ff" * 16, "00" * 16, "ff" * 16)
    label, data = armored(f.read("l"))
    signer, number, entries = other.read_list(data)
    assert label == "MACULA REVOKED" and (signer.hex(), number) == (realm, 1) and [s for s, _ in entries] == [bytes(16), b"\xff" * 16]


def certificate(key):
    """A self-signed one, without which no identity is read."""
    import datetime
    from cryptography import x509
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "p256")])
    begin = datetime.datetime(2020, 1, 1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, begin + datetime.timedelta(days=36500))
    return made.sign(key, other.hashes.SHA256()).public_bytes(other.serialization.Encoding.PEM).decode()


def test_theirs_read_here(f):
    now = int(time.time())
    realm = other.ed25519.Ed25519PrivateKey.generate()
    alice, bob = (other.ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    p = other.issue(realm, other.claims(os.urandom(16), other.id_of(alice), now - 60, now + 3600, 1, sub=["cmd.**"]))
    q = other.narrow(p, alice, other.claims(os.urandom(16), other.id_of(bob), now, now + 60, sub=["cmd.door"]))
    wide = other.narrow(p, alice, other.claims(os.urandom(16), other.id_of(bob), now, now + 60, sub=["**"]))
    for name, data in (("p", p), ("q", q), ("wide", wide)):
        f.write(name, "some words\n" + armor("MACULA PASS", data))
    trusted = ["--realm-keys", other.id_of(realm).hex()]
    f.ok("pass", "check", "p", "sub", "cmd.*", *trusted)
    f.ok("pass", "check", "q", "sub", "cmd.door", *trusted)
    f.no("grants sub '\\*\\*', which no pattern", "pass", "check", "wide", *trusted)
    f.write("damaged", armor("MACULA PASS", p[:-1] + bytes([p[-1] ^ 1])))
    f.no("signature", "pass", "check", "damaged", *trusted)
    f.write("l", armor("MACULA REVOKED", other.revoke(realm, 9, [(other.read(q)[0][1][1], now)])))
    f.no("was revoked", "pass", "check", "q", "--list", "l", *trusted)


def test_tokens_and_users(f):
    one, two = f.ok("token", "new").strip(), json.loads(f.ok("token", "new", "--json"))["token"]
    assert re.fullmatch("[0-9a-f]{64}", one) and one != two
    f.write("token", one + "\n")
    f.write("access.yaml", "grants:\n  sensors: {sub: ['plant.**'], pub: ['u.${user}.**']}\ntokens:\n  - {file: token, grant: sensors}\n")
    f.ok("user", "add", "alice", "--access", "access.yaml", "--grant", "sensors", stdin="p\u00e4ss\n".encode())
    kept = f.read("access.yaml")
    assert stat.S_IMODE(os.stat(os.path.join(f.path, "access.yaml")).st_mode) == 0o600
    iterations, salt, digest = re.search(r"pbkdf2-sha256\$(\d+)\$([^$]+)\$([^']+)'", kept).groups()
    assert hashlib.pbkdf2_hmac("sha256", "p\u00e4ss".encode(), base64.b64decode(salt), int(iterations)) == base64.b64decode(digest)
    f.bad("access.yaml:6: 'alice' is there: take this line out first", "user", "add", "alice", "--access", "access.yaml", "--grant", "sensors", stdin=b"x\n")
    f.bad("there is no grant 'x'", "user", "add", "bob", "--access", "access.yaml", "--grant", "x", stdin=b"x\n")
    f.bad("a password has 1 to", "user", "add", "bob", "--access", "access.yaml", "--grant", "sensors", stdin=b"\n")
    assert f.read("access.yaml") == kept
    f.ok("user", "add", "o'neil", "--access", "access.yaml", "--grant", "sensors", stdin=b"x\n")
    assert f.ok("access", "test", "--user", "alice", "sub", "plant.**") == "yes: access.yaml:2: sub 'plant.**' allows plant.**\n"
    assert json.loads(f.ok("access", "test", "--user", "alice", "pub", "u.alice.x", "--json"))["line"] == 2
    f.no("no pattern of sub contains", "access", "test", "--user", "alice", "sub", "**")
    f.no("there is no user 'carol'", "access", "test", "--user", "carol", "sub", "x")
    f.no("anonymous has no grant", "access", "test", "--anonymous", "sub", "x")
    said = f.run("access", "test", "--user", "carol", "sub", "x", "--json")
    assert said[0] == 1 and json.loads(said[1]) == {"allowed": False, "why": "there is no user 'carol'"}, said
    key = "ab" * 32
    f.write("keys.yaml", "grants:\n  own: {pub: ['u.${id}']}\ndefault: own\n")
    f.ok("access", "test", "--access", "keys.yaml", "--id", key.upper(), "pub", "u." + key)
    f.no("no pattern", "access", "test", "--access", "keys.yaml", "--id", key.upper(), "pub", "u." + key.upper())
    f.write("token", "short\n")
    f.bad("access.yaml:4: token: a token has at least 16 bytes", "access", "check")
    os.chmod(os.path.join(f.path, "token"), 0o644)
    f.bad("access.yaml:4: token can be read by others", "access", "check")
    f.write("access.yaml", kept, 0o644)
    f.write("token", one + "\n")
    f.bad("access.yaml can be read by others: run 'chmod 600' on it, as tokens or passwords stand in it", "access", "check")
    f.bad("access.yaml can be read by others: run 'chmod 600' on it", "user", "add", "bob", "--access", "access.yaml", "--grant", "sensors", stdin=b"x\n")
    assert f.read("access.yaml") == kept
    f.bad("there is no none.yaml: write it first", "user", "add", "bob", "--access", "none.yaml", "--grant", "g", stdin=b"x\n")
    f.write("wrong.yaml", "grants:\n  a: {pub: [a.${id}.b]}\n")
    f.bad(r"wrong.yaml:2: not YAML: ',' or '\]' is expected: a text with", "access", "check", "--access", "wrong.yaml")
    f.write("wrong.yaml", "grants:\n\ta: {pub: [x]}\n")
    f.bad("wrong.yaml:2: not YAML: a tab", "access", "check", "--access", "wrong.yaml")
    f.write("wrong.yaml", "grants:\n  a: {publish: [x]}\n")
    f.bad("wrong.yaml:2: unknown key 'publish': here stand role, pub", "access", "check", "--access", "wrong.yaml")


def test_what_is_added_at_once_is_all_there(f):
    """By processes that run beside each other, to files that are reached by a link and belong to another group."""
    f.ok("realm", "new", "realm.key")
    f.ok("pass", "revoke", "--key", "realm.key", "--list", "list", "f" * 32)
    f.write("access.yaml", "grants:\n  g: {pub: [x]}\n", 0o640)
    other = [(0, 1)] if os.geteuid() == 0 else []  # owner and group
    for name in ("access.yaml", "list"):
        os.symlink(name, os.path.join(f.path, "link." + name))
        for owner, group in other:
            os.chown(os.path.join(f.path, name), owner, group)
    all_of_them = []
    for i in range(8):
        for args in (["user", "add", "u%d" % i, "--access", "link.access.yaml", "--grant", "g"],
                     ["pass", "revoke", "--key", "realm.key", "--list", "link.list", "%032x" % i]):
            all_of_them.append(subprocess.Popen([macula, *args], cwd=f.path, env=f.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    said = [p.communicate(b"pw\n", DEADLINE)[0].decode() for p in all_of_them]
    assert not any(p.returncode for p in all_of_them), said
    assert set(re.findall("'(u[0-9])':", f.read("access.yaml"))) == {"u%d" % i for i in range(8)}, f.read("access.yaml")
    assert sorted(re.findall("number ([0-9]+),", "".join(said)), key=int) == [str(i) for i in range(2, 10)], said
    assert "number 9, 9 of them" in f.read("list")
    for name in ("access.yaml", "list"):
        st = os.stat(os.path.join(f.path, name))
        assert os.path.islink(os.path.join(f.path, "link." + name)) and (not other or (st.st_uid, st.st_gid) == other[0]), (name, st)
    assert stat.S_IMODE(os.stat(os.path.join(f.path, "access.yaml")).st_mode) == 0o640


def test_a_users_line_is_one(f):
    """Whatever names hold, and of a password nothing is left out."""
    for name in ("a\nb", "\x1b[31m", "x" * 65, "\u202ex"):
        f.bad("a user's name is UTF-8 text", "user", "add", name, stdin=b"x\n")
    f.bad("a grant's name is UTF-8 text", "user", "add", "a", "--grant", "g\n", stdin=b"x\n")
    f.write("access.yaml", "grants:\n  g: {sub: [x]}\n")
    f.bad("there is no grant 'g, role: operator'", "user", "add", "a", "--access", "access.yaml", "--grant", "g, role: operator", stdin=b"x\n")
    for typed, meant in ((b"a\0b\n", b"a\0b"), (b"a\rb\r\n", b"a\rb"), (b"ab", b"ab")):
        iterations, salt, digest = re.search(r"pbkdf2-sha256\$(\d+)\$([^$]+)\$([^']+)'", f.ok("user", "add", "a", stdin=typed)).groups()
        assert hashlib.pbkdf2_hmac("sha256", meant, base64.b64decode(salt), int(iterations)) == base64.b64decode(digest), typed
    f.ok("user", "add", "a", stdin=b"x" * 1024 + b"\n")
    f.bad("a password has 1 to 1024", "user", "add", "a", stdin=b"x" * 1025 + b"\n")


def test_mosquittos_files(f):
    salt = os.urandom(12)
    made = [base64.b64encode(x).decode() for x in (salt, hashlib.pbkdf2_hmac("sha512", b"secret", salt, 101, 64))]
    f.write("passwd", "alice:$7$101$%s$%s\n" % tuple(made))
    f.write("acl", "user alice\ntopic read sensors/+/temp\npattern own/%u/#\n")
    f.write("access.yaml", f.ok("user", "import", "passwd", "acl"))
    f.ok("access", "test", "--user", "alice", "sub", "sensors.*.temp")
    f.ok("access", "test", "--user", "alice", "pub", "own.alice.x")
    f.no("no pattern", "access", "test", "--user", "alice", "pub", "sensors.a.temp")
    f.write("acl", "topic deny x\n")
    f.bad("acl:1: deny: grants only allow", "user", "import", "passwd", "acl")


def test_wrong_usage_says_what_to_do(f):
    f.bad("--for goes with `macula pass new.narrow`, not with `macula pass show`", "pass", "show", "x", "--for", "3d")
    f.bad("--user goes with `macula access test`, not with `macula access check`", "access", "check", "--user", "x")
    f.bad("unknown option --exec here: it is one of `macula serve`", "pub", "--exec", "cat", "a", "b")
    f.write("empty.yaml", "")
    f.bad("empty.yaml: it lets nobody in", "access", "check", "--access", "empty.yaml")
    realm, me = start(f)
    new = ["pass", "new", "--key", "realm.key", "--id", me]
    f.bad("--for 90d", *new, "--for", "91d")
    f.bad("client, node or operator", *new, "--role", "admin")
    f.bad("--quota takes NAME=N", *new, "--quota", "messages")
    f.bad("whole segment", *new, "--pub", "a.b*")
    f.bad("at most 64", *new, *[w for i in range(65) for w in ("--pub", "a%d" % i)])
    f.bad("--id takes an id of 64", "pass", "new", "--key", "realm.key")
    f.bad("'macula realm new' makes it", "pass", "new", "--id", me)
    f.bad("holds no pass", "pass", "show", "realm.key")
    f.bad("is no right", "pass", "check", "realm.key", "publish", "x")
    for command, words in (("pass", ["new", "show", "check", "narrow", "revoke"]), ("realm", ["new", "show"]), ("token", ["new"]),
                           ("user", ["add", "import"]), ("access", ["test", "check"])):
        assert re.search("^Example: .*macula " + command, f.ok(command, "--help"), re.M), command
        f.bad("it is `", command, "frob", *(["x"] if command == "realm" else []))
        line = [part for part in f.ok("completion", "bash").split("\n") if re.match(r"\s*%s\) list=" % command, part)]
        assert all(w in line[0] for w in words), (command, line)


failed = 0
for name, case in list(globals().items()):
    if not name.startswith("test_") or (sys.argv[2:] and name[5:] not in sys.argv[2:]):
        continue
    try:
        with Folder() as folder:
            case(folder)
        print("ok", name[5:], flush=True)
    except Exception:
        failed += 1
        print("FAIL %s: %s" % (name[5:], traceback.format_exc()), flush=True)
sys.exit(1 if failed else 0)
