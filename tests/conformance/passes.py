#!/usr/bin/env python3
"""Passes and lists of what was revoked as docs/protocol.md says they are, made and read with python3-cryptography alone: another
implementation than src/trust. As a program it writes tests/conformance/vectors/passes.txt anew, which tests/unit/trust/test_vectors.c
reads: `pass NAME VERDICT NOW REALM HOLDER BYTES` and `list NAME ERROR NUMBER REALM SERIAL BYTES`, ids and bytes in hexadecimal digits.
"""
import hashlib
import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PASS, NARROWED, REVOKED = b"macula pass 1\0", b"macula narrowed pass 1\0", b"macula revoked 1\0"


# ---- MessagePack, as much of it as passes have -----------------------------------------------------------------------------------
def pack(v):
    if isinstance(v, int):
        for most, head, size in ((0x7F, b"", 1), (0xFF, b"\xcc", 1), (0xFFFF, b"\xcd", 2), (0xFFFFFFFF, b"\xce", 4)):
            if v <= most:
                return head + v.to_bytes(size, "big")
        return b"\xcf" + v.to_bytes(8, "big")
    if isinstance(v, bytes):
        size = 1 if len(v) < 256 else 2 if len(v) < 65536 else 4
        return {1: b"\xc4", 2: b"\xc5", 4: b"\xc6"}[size] + len(v).to_bytes(size, "big") + v
    if isinstance(v, dict):
        return bytes([0x80 + len(v)]) + b"".join(pack(k) + pack(v[k]) for k in sorted(v))
    head = bytes([0x90 + len(v)]) if len(v) < 16 else b"\xdc" + len(v).to_bytes(2, "big")
    return head + b"".join(pack(x) for x in v)


def unpack(b, at=0):
    """The value at `at`, and where it ends."""
    c, n = b[at], 0
    at += 1
    if c < 0x80:
        return c, at
    if 0xC4 <= c <= 0xC6 or 0xCC <= c <= 0xCF or c == 0xDC:
        size = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xDC: 2}[c]
        n = int.from_bytes(b[at:at + size], "big")
        at += size
        if c >= 0xCC and c != 0xDC:
            return n, at
        if c <= 0xC6:
            return b[at:at + n], at + n
    elif c < 0x90:
        pairs = {}
        for _ in range(c & 15):
            k, at = unpack(b, at)
            pairs[k], at = unpack(b, at)
        return pairs, at
    elif c < 0xA0:
        n = c & 15
    else:
        raise ValueError("0x%02x is in no pass" % c)
    values = []
    for _ in range(n):
        v, at = unpack(b, at)
        values.append(v)
    return values, at


# ---- keys ---------------------------------------------------------------------------------------------------------------------
def spki(key):
    public = key if hasattr(key, "verify") else key.public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def id_of(key):
    return hashlib.sha256(spki(key)).digest()


def sign(key, data):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big")


def verify(key_der, data, signature):
    key = serialization.load_der_public_key(key_der)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        else:
            r, s = (int.from_bytes(signature[i:i + 32], "big") for i in (0, 32))
            assert s <= ORDER // 2
            key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


# ---- passes -------------------------------------------------------------------------------------------------------------------
def claims(serial, holder, begin, end, delegate=0, role=0, quotas=None, pub=(), sub=(), call=(), serve=()):
    lists = [[p.encode() for p in patterns] for patterns in (pub, sub, call, serve)]
    return pack([1, serial, holder, role, begin, end, delegate, quotas or {}] + lists)


def issue(realm, c):
    return pack([[spki(realm), c, sign(realm, PASS + c)]])


def narrow(first, holder, c):
    link = unpack(first)[0][0]
    over = NARROWED + hashlib.sha256(pack(link)).digest() + c
    return pack([link, [spki(holder), c, sign(holder, over)]])


def read(data):
    """[(id of who signed, claims as a list)] of a pass whose signatures are right and whose spelling is the one; else an exception."""
    links, end = unpack(data)
    assert end == len(data) and pack(links) == data and 1 <= len(links) <= 2, "another spelling"
    out, before = [], None
    for key, c, signature in links:
        over = PASS + c if before is None else NARROWED + hashlib.sha256(pack(before)).digest() + c
        assert verify(key, over, signature), "a wrong signature"
        said, end = unpack(c)
        assert end == len(c) and pack(said) == c, "another spelling"
        out.append((hashlib.sha256(key).digest(), said))
        before = [key, c, signature]
    return out


def revoke(realm, number, entries):
    content = pack([1, number, b"".join(s + until.to_bytes(8, "big") for s, until in sorted(entries))])
    return pack([spki(realm), content, sign(realm, REVOKED + content)])


def read_list(data):
    """(id of who signed, number, [(serial, until)])"""
    (key, content, signature), end = unpack(data)
    assert end == len(data) and verify(key, REVOKED + content, signature)
    (version, number, entries), end = unpack(content)
    assert version == 1 and end == len(content) and len(entries) % 24 == 0
    found = [(entries[i:i + 16], int.from_bytes(entries[i + 16:i + 24], "big")) for i in range(0, len(entries), 24)]
    assert found == sorted(found)
    return hashlib.sha256(key).digest(), number, found


# ---- vectors ------------------------------------------------------------------------------------------------------------------
def vectors():
    def seeded(n):
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)
    realm, alice, bob, carol = seeded(1), seeded(2), seeded(3), ec.generate_private_key(ec.SECP256R1())
    now = 1800000000

    def line(name, verdict, data, holder, at=now):
        return "pass %s %s %d %s %s %s" % (name, verdict, at, id_of(realm).hex(), id_of(holder).hex(), data.hex())
    first = claims(b"1" * 16, id_of(alice), now - 10, now + 3600, 1, 0, {0: 4, 5: 100}, ["plant.${id}.**", "log.*"], ["cmd.**"], ["math.*"])
    p = issue(realm, first)
    few = dict(sub=["cmd.door"], quotas={0: 1, 5: 100})
    q = narrow(p, alice, claims(b"2" * 16, id_of(carol), now, now + 60, **few))
    of_carol = issue(realm, claims(b"3" * 16, id_of(carol), now - 10, now + 3600, 1, 1, serve=["**"]))
    r = narrow(of_carol, carol, claims(b"4" * 16, id_of(bob), now, now + 60, 0, 1, serve=["a.**"]))
    many = claims(b"5" * 16, id_of(bob), 0, 90 * 86400, pub=["t%d.*" % i for i in range(64)])
    out = [line("issued", "good", p, alice), line("narrowed", "good", q, carol), line("narrowed_by_p256", "good", r, bob),
           line("sixty_four", "good", issue(realm, many), bob, 86400)]
    out += [line("others", "others", p, bob), line("expired", "expired", p, alice, now + 3601), line("early", "early", p, alice, now - 11),
            line("foreign", "foreign", issue(bob, first), alice), line("one_more", "malformed", p + b"\0", alice),
            line("too_many", "malformed", issue(realm, many[:-3] + pack([b"t"]) + pack([]) * 2), bob, 86400)]
    wide = narrow(p, alice, claims(b"2" * 16, id_of(carol), now, now + 60, sub=["**"], quotas={0: 1, 5: 100}))
    out += [line("wider", "wider", wide, carol),
            line("wider_id", "wider", narrow(p, alice, claims(b"2" * 16, id_of(bob), now, now + 60, pub=["plant.${id}.x"],
                                                              quotas={0: 1, 5: 1})), bob),
            line("by_another", "forged", narrow(p, bob, claims(b"2" * 16, id_of(carol), now, now + 60, **few)), carol)]
    link, part = unpack(p)[0][0], unpack(q)[0][1]
    elsewhere = issue(realm, claims(b"9" * 16, id_of(alice), now - 10, now + 3600, 1, 0, {0: 4, 5: 100}, sub=["cmd.**"]))
    out += [line("elsewhere", "forged", pack([unpack(elsewhere)[0][0], part]), carol),
            line("not_signed", "forged", pack([[link[0], link[1], bytes(64)]]), alice),
            line("long_number", "malformed", pack([[link[0], link[1].replace(b"\x9c\x01", b"\x9c\xcc\x01", 1), link[2]]]), alice)]
    entries = [(bytes([i]) * 16, now + i) for i in (7, 3, 200)]
    good = revoke(realm, 3, entries)
    out += ["list good ok 3 %s %s %s" % (id_of(realm).hex(), "03" * 16, good.hex()),
            "list empty ok 70000 %s %s %s" % (id_of(realm).hex(), "-", revoke(realm, 70000, []).hex()),
            "list foreign not_authorized 3 %s %s %s" % (id_of(realm).hex(), "-", revoke(bob, 3, entries).hex()),
            "list changed bad_signature 3 %s %s %s" % (id_of(realm).hex(), "-", good.replace(b"\x03" * 16, b"\x04" * 16).hex()),
            "list not_rising invalid_argument 3 %s %s %s" % (id_of(realm).hex(), "-", good.replace(b"\x03" * 16, b"\x09" * 16).hex())]
    return out


if __name__ == "__main__":
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors", "passes.txt"), "w") as f:
        f.write("\n".join(vectors()) + "\n")
