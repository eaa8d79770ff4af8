#!/usr/bin/env python3
"""The exchange of keys for envelopes and their seals as docs/protocol.md says they are, made with python3-cryptography alone: another
implementation than src/trust. As a program it writes tests/conformance/vectors/agree.txt anew, which tests/unit/trust/test_agree.c
reads: `exchange NAME VERDICT REALM PEM_A PEM_B RUN_A RUN_B NUMBER SECRET_A SECRET_B OFFER ANSWER` and, of the exchange before it,
`seal VERDICT TYPE PAYLOAD SEAL` of envelopes from A to B. All but the number, the type and the words are in hexadecimal digits.
"""
import hashlib
import hmac
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from passes import id_of, pack, spki

OFFER, ANSWER, KEY, NAME, SEAL = b"macula offer 1\0", b"macula answer 1\0", b"macula envelope 1\0", b"macula envelope name 1\0", b"macula seal 1\0"


def sign(key, data):
    return key.sign(data) if isinstance(key, ed25519.Ed25519PrivateKey) else key.sign(data, ec.ECDSA(hashes.SHA256()))


def value_of(secret):
    return x25519.X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(serialization.Encoding.Raw,
                                                                                          serialization.PublicFormat.Raw)


class Side:
    def __init__(self, key, run, secret):
        self.key, self.run, self.secret, self.id, self.value = key, run, secret, id_of(key), value_of(secret)


def offer_text(a, b, number, realm):
    return OFFER + a.id + b.id + a.run + number.to_bytes(8, "big") + a.value + realm


def answer_text(b, a, offer, realm):
    return ANSWER + b.id + a.id + b.run + hashlib.sha256(offer).digest() + b.value + realm


def payload(side, text, **more):
    fields = [(k.encode(), v) for k, v in more.items()] + [(b"instance", side.run), (b"key", spki(side.key)), (b"value", side.value),
                                                            (b"signature", sign(side.key, text))]
    return bytes([0x80 + len(fields)]) + b"".join(pack(k) + pack(v) for k, v in fields)


def expand(secret, salt, info, length=32):
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def agree(a, b, number, realm):
    """The offer, the answer, the key's name, and the keys from a to b and from b to a."""
    said = offer_text(a, b, number, realm)
    answered = answer_text(b, a, said, realm)
    offer = payload(a, said, step=1, number=number)
    answer = payload(b, answered, step=2, of=hashlib.sha256(said).digest())
    secret = x25519.X25519PrivateKey.from_private_bytes(a.secret).exchange(x25519.X25519PublicKey.from_public_bytes(b.value))
    salt = hashlib.sha256(answered).digest()
    return (offer, answer, expand(secret, salt, NAME, 8), expand(secret, salt, KEY + a.id + b.id), expand(secret, salt, KEY + b.id + a.id))


def seal(name, key, source, destination, space, number, kind, data):
    n = (space << 62 | number).to_bytes(8, "big")
    mac = hmac.new(key, SEAL + destination + source + n + bytes([kind]) + data, hashlib.sha256).digest()[:16]
    return name + n + mac


def pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def vectors():
    seeded = [ed25519.Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3)]
    a = Side(seeded[0], b"A" * 16, bytes(range(32)))
    b = Side(seeded[1], b"B" * 16, bytes(range(100, 132)))
    realm, call, out = b"default", pack({b"procedure": b"x.y", b"args": b"7"}), []

    def exchange(name, verdict, a, b, number, offer, answer):
        return "exchange %s %s %s %s %s %s %s %d %s %s %s %s" % (name, verdict, realm.hex(), pem(a.key).hex(), pem(b.key).hex(), a.run.hex(),
                                                                 b.run.hex(), number, a.secret.hex(), b.secret.hex(), offer.hex(), answer.hex())

    offer, answer, name, there, back = agree(a, b, 7, realm)
    out.append(exchange("both_ed25519", "good", a, b, 7, offer, answer))
    sealed = [seal(name, there, a.id, b.id, 0, n, 0x20, call) for n in (1, 2, 70)]
    out += ["seal confirmed 32 %s %s" % (call.hex(), sealed[0].hex()), "seal good 32 %s %s" % (call.hex(), sealed[1].hex()),
            "seal replayed 32 %s %s" % (call.hex(), sealed[0].hex()), "seal good 32 %s %s" % (call.hex(), sealed[2].hex()),
            "seal replayed 32 %s %s" % (call.hex(), seal(name, there, a.id, b.id, 0, 6, 0x20, call).hex()),
            "seal good 32 %s %s" % (call.hex(), seal(name, there, a.id, b.id, 0, 7, 0x20, call).hex()),
            "seal good 16 %s %s" % (call.hex(), seal(name, there, a.id, b.id, 1, 1, 0x10, call).hex()),
            "seal altered 33 %s %s" % (call.hex(), seal(name, there, a.id, b.id, 0, 71, 0x20, call).hex()),
            "seal altered 32 %s %s" % (pack({}).hex(), seal(name, there, a.id, b.id, 0, 71, 0x20, call).hex()),
            "seal altered 32 %s %s" % (call.hex(), seal(name, back, a.id, b.id, 0, 71, 0x20, call).hex()),
            "seal altered 32 %s %s" % (call.hex(), seal(name, there, b.id, a.id, 0, 71, 0x20, call).hex()),
            "seal replayed 32 %s %s" % (call.hex(), seal(name, there, a.id, b.id, 0, 0, 0x20, call).hex()),
            "seal unknown 32 %s %s" % (call.hex(), seal(bytes(8), there, a.id, b.id, 0, 72, 0x20, call).hex()),
            "seal good 32 %s %s" % (call.hex(), seal(name, there, a.id, b.id, 0, 71, 0x20, call).hex())]
    p = Side(ec.generate_private_key(ec.SECP256R1()), b"P" * 16, bytes(range(50, 82)))
    offer, answer, name, there, back = agree(p, b, 1, realm)
    out += [exchange("by_p256", "good", p, b, 1, offer, answer),
            "seal confirmed 32 %s %s" % (call.hex(), seal(name, there, p.id, b.id, 2, 1, 0x20, call).hex())]
    other = Side(seeded[2], b"A" * 16, a.secret)
    forged = payload(a, offer_text(a, b, 7, realm), step=1, number=7).replace(spki(a.key), spki(other.key))
    for name, offer in (("of_another_key", forged), ("by_another", agree(other, b, 7, realm)[0]), ("for_another", agree(a, other, 7, realm)[0]),
                        ("of_another_realm", agree(a, b, 7, b"other")[0]),
                        ("another_number", agree(a, b, 7, realm)[0].replace(b"\xc4\x06number\x07", b"\xc4\x06number\x08")),
                        ("another_run", agree(a, b, 7, realm)[0].replace(b"A" * 16, b"C" * 16))):
        out.append(exchange(name, "forged", a, b, 7, offer, b"\0"))
    return out


if __name__ == "__main__":
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors", "agree.txt"), "w") as f:
        f.write("\n".join(vectors()) + "\n")
