"""Clients of MQTT that mean harm, for attack.py: each is told or closed as it should be, with a line in the log and a counter, and an honest
pair beside them loses nothing. Each comes from a loopback address of its own."""
import re
import socket
import ssl
import struct
import threading

from _node import metric_of
from _watched import PATIENCE, check, wait_for

CONNACK, PUBACK, SUBACK, DISCONNECT = 0x20, 0x40, 0x90, 0xe0
UPGRADE = (b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(s)) + s


def packet(first, body):
    n, head = len(body), bytes([first])
    while True:
        head += bytes([n & 127 | (128 if n > 127 else 0)])
        n >>= 7
        if not n:
            return head + body


def connect_packet(client, will=None):
    flags = 2 | (0x0c if will else 0)
    body = text("MQTT") + bytes([5, flags]) + struct.pack(">H", 0) + b"\0" + text(client)
    return packet(0x10, body + (b"\0" + text(will[0]) + text(will[1]) if will else b""))


def publish_packet(topic, payload, qos=0, number=1, props=b""):
    return packet(0x30 | qos << 1, text(topic) + (struct.pack(">H", number) if qos else b"") + bytes([len(props)]) + props + payload)


class Client:
    """Bytes to one of the node's ports, and packets back."""

    def __init__(self, address, source):
        host, port = address.rsplit(":", 1)
        self.s = socket.socket()
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.s.settimeout(PATIENCE)
        self.s.bind((source, 0))
        self.s.connect((host, int(port)))
        self.kept = b""

    def send(self, data):
        """As much as it takes: whoever is refused may be so before the end."""
        try:
            self.s.sendall(data)
        except (ConnectionError, socket.timeout):
            pass
        return self

    def more(self):
        try:
            data = self.s.recv(65536)
        except ConnectionError:
            data = b""
        self.kept += data
        return bool(data)

    def next(self):
        """First byte and body of the next packet; None: the connection is over."""
        while True:
            n, shift, i = 0, 0, 1
            while i < len(self.kept) and i < 5:
                n |= (self.kept[i] & 127) << shift
                shift += 7
                i += 1
                if not self.kept[i - 1] & 128:
                    if len(self.kept) >= i + n:
                        found, self.kept = (self.kept[0], self.kept[i:i + n]), self.kept[i + n:]
                        return found
                    break
            if not self.more():
                return None

    def rest(self):
        """All that comes until the connection is over."""
        while self.more():
            pass
        return self.kept

    def enter(self, name, will=None):
        first, body = self.send(connect_packet(name, will)).next()
        assert (first, body[1]) == (CONNACK, 0), body
        return self

    def reason(self):
        """With which the node ended it."""
        while True:
            found = self.next()
            if not found:
                return None
            if found[0] == DISCONNECT:
                return found[1][0]

    def subscribe(self, topic, qos):
        self.send(packet(0x82, struct.pack(">H", 1) + b"\0" + text(topic) + bytes([qos])))
        while self.next()[0] != SUBACK:
            pass
        return self

    def reset(self):
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.s.close()


class Honest(threading.Thread):
    """One that publishes with QoS 1, a message after the other, and one that hears them."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.reader = Client(address, "127.0.0.2").enter("reader").subscribe("honest", 1)
        self.writer = Client(address, "127.0.0.3").enter("writer")
        self.stopping, self.wrong, self.count = False, "", 0
        self.start()

    def run(self):
        try:
            while not self.stopping:
                self.writer.send(publish_packet("honest", b"%d" % self.count, 1, 1 + self.count % 60000))
                while self.writer.next()[0] != PUBACK:
                    pass
                while (found := self.reader.next())[0] & 0xf0 != 0x30:
                    pass
                body = found[1]
                assert body.endswith(b"honest" + body[8:10] + b"\0%d" % self.count), body
                self.reader.send(packet(PUBACK, body[8:10]))
                self.count += 1
        except Exception as e:  # what went wrong is what is asked for
            self.wrong = "after %d: %r" % (self.count, e)

    def end(self):
        self.stopping = True
        self.join(PATIENCE)
        self.writer.s.close()
        self.reader.s.close()
        return self.wrong or ("" if self.count else "nothing was said")


def client_hello():
    context = ssl.create_default_context()
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


class Mqtt:
    """Those that are slow begin first, and the storms come last, as they use up the lines of the log."""

    OPTIONS = ["--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0", "--mqtt-ws", "127.0.0.1:0", "--mqtt-pool", "{16}MiB", "--max-clients", "{64}",
               "--connect-timeout", "5s", "--log-level", "warn"]

    def __init__(self, node, count):
        self.node, self.count, self.process, self.held = node, count, node.process, []
        self.mqtt, self.mqtts, self.ws = (node.said.ready[k][0] for k in ("mqtt", "mqtts", "mqtt_ws"))
        self.sources = iter("127.0.1.%d" % i for i in range(1, 250))
        self.honest = Honest(self.mqtt)
        half = [self.at(self.mqtt).send(b"\x10\xa0\x8d\x06\0\4MQTT"), self.at(self.ws).send(UPGRADE), self.at(self.mqtts), self.at(self.ws)]
        self.told()
        self.broken()
        self.strangers()
        self.check("half a CONNECT ends", half[0].rest() == b"", r"mqtt_closed .*no CONNECT came in time")
        self.check("half a handshake of WebSocket ends", half[1].rest().startswith(b"HTTP/1.1 408 "))
        self.check("half a handshake of TLS ends", half[2].rest() is not None, r"mqtt_tls_refused .*its handshake took longer")
        self.check("nothing at all ends", half[3].rest().startswith(b"HTTP/1.1 408 "))
        self.deaf()
        self.hogs()
        self.wills()
        self.resets()
        text = node.get("/metrics")
        for name, least in ("connections_ended", 12), ("websocket_refused", 3), ("tls_refused", 2):
            value = metric_of(text, "mqtt_%s_total" % name)
            check("mqtt: it is counted: %s" % name, value >= least, str(value))
        wrong = self.honest.end()
        check("mqtt: an honest pair loses nothing", not wrong, wrong)

    def at(self, address):
        c = Client(address, next(self.sources))
        self.held.append(c)
        return c

    def check(self, what, ok, line=None):
        said = not line or wait_for(PATIENCE, lambda: re.search(line, self.node.said.err))
        check("mqtt: " + what, ok and bool(said), "" if ok else "not told")

    def told(self):
        """What breaks a rule of MQTT has its reason code."""
        four = packet(0x82, struct.pack(">H", 1) + b"\0" + text("a") + b"\0")
        many = b"".join(publish_packet("many", b"x", 2, i) for i in range(1, 65536))
        for name, sent, code in (("256 MB", b"\x30\xff\xff\xff\x7f", 0x95), ("65,535 identifiers", many, 0x93),
                                 ("alias 0", publish_packet("a", b"", props=b"\x23\0\0"), 0x94),
                                 ("alias 65,535", publish_packet("a", b"", props=b"\x23\xff\xff"), 0x94),
                                 ("malformed UTF-8", publish_packet(b"\xc0\x80", b""), 0x81),
                                 ("flags", b"\x80" + four[1:], 0x81), ("a second CONNECT", connect_packet("twice"), 0x82)):
            c = self.at(self.mqtt).enter("told")
            got = c.send(sent).reason()
            check("mqtt: %s: 0x%02x" % (name, code), got == code, str(got))
        self.check("what was wrong is logged", True, r"mqtt_closed .*name=\"told\" reason=0x82")

    def broken(self):
        """Before CONNECT there is no such code: the connection is closed."""
        for name, sent in ("256 MB at first", b"\x10\xff\xff\xff\x7f"), ("PUBLISH at first", publish_packet("a", b"x")), ("PINGREQ at first", b"\xc0\0"):
            self.check(name, self.at(self.mqtt).send(sent).rest() == b"", r"mqtt_closed .*(larger|not CONNECT)")
        answer = self.at(self.mqtt).send(connect_packet(b"\xff\xfe")).rest()
        self.check("a client id that is no text", answer[:1] in (b"", b"\x20"), r"mqtt_closed .*reason=0x81")

    def strangers(self):
        """Who speaks another protocol than the port."""
        hello = client_hello()
        self.check("HTTP on mqtt", self.at(self.mqtt).send(b"GET / HTTP/1.1\r\n\r\n").rest() == b"", r"mqtt_closed .*looks like HTTP")
        self.check("TLS on mqtt", self.at(self.mqtt).send(hello).rest() == b"", r"mqtt_closed .*looks like TLS")
        self.check("MQTT on mqtts", self.at(self.mqtts).send(connect_packet("a")).rest() == b"", r"mqtt_tls_refused .*looks like MQTT")
        for name, sent, status, why in (("MQTT on mqtt_ws", connect_packet("a"), b"400", "MQTT without WebSocket"),
                                        ("TLS on mqtt_ws", hello, b"400", "WebSocket over TLS"),
                                        ("a wrong subprotocol", UPGRADE + b"Sec-WebSocket-Protocol: wamp\r\n\r\n", b"400", "offer mqtt"),
                                        ("an origin that is not ours", UPGRADE + b"Origin: http://evil.example\r\n\r\n", b"403", "this origin")):
            answer = self.at(self.ws).send(sent).rest()
            self.check(name, answer.startswith(b"HTTP/1.1 " + status) and why.encode() in answer, "websocket_refused .*" + why)

    def deaf(self):
        """One that subscribes and never reads is ended, or loses messages, which is counted; its publisher goes on."""
        deaf = self.at(self.mqtt).enter("deaf").subscribe("flood", 0)
        writer = self.at(self.mqtt).enter("flood")
        payload = b"x" * 20000
        for i in range(600):
            writer.send(publish_packet("flood", payload, 1, 1 + i))
            while (found := writer.next()) and found[0] != PUBACK:
                pass
        deaf.s.settimeout(PATIENCE)
        check("mqtt: who publishes to one that never reads goes on", found is not None)

        def counted():
            text = self.node.get("/metrics")
            return metric_of(text, "messages_dropped_total") + metric_of(text, "slow_consumers_total") + metric_of(text, "mqtt_messages_lost_total")
        check("mqtt: one that never reads is counted", wait_for(PATIENCE, counted))

    def hogs(self):
        """22 of one address, each with a will and most of a packet of 1 MB: they have a share of mqtt_pool, and others have room."""
        source, hogs = next(self.sources), []
        for i in range(22):
            c = Client(self.mqtt, source)
            self.held.append(c)
            first, body = c.send(connect_packet("hog%d" % i, ("w", b"x" * 60000))).next()
            if first == CONNACK and not body[1]:
                hogs.append(c.send(b"\x30\xc0\x84\x3d\0\1h" + b"x" * 900000))
        self.check("who takes a share of the pool alone is ended", len(hogs) > 1, r"mqtt_closed .*holds its share of mqtt_pool")
        large = self.at(self.mqtt).enter("large", ("w", b"x" * 60000)).send(publish_packet("large", b"x" * 900000, 1, 1))
        check("mqtt: others have room beside it", (large.next() or (0, 0))[0] == PUBACK)
        for c in hogs:
            c.reset()

    def wills(self):
        source = next(self.sources)
        for _ in range(50):
            some = [Client(self.mqtt, source).send(connect_packet("will%d" % i, ("w", b"x" * 1000))) for i in range(20)]
            for c in some:
                first, body = c.next()
                assert (first, body[1]) == (CONNACK, 0), body
                c.reset()
        check("mqtt: wills by the thousand", True)

    def resets(self):
        """Until its address has no budget left; another one has."""
        source, before = next(self.sources), metric_of(self.node.get("/metrics"), "mqtt_connections_refused_total")
        line = r"mqtt_refused address=%s:.*lead to nothing" % re.escape(source)

        def more():
            for _ in range(500):
                try:
                    Client(self.mqtt, source).reset()
                except ConnectionError:
                    pass
            return re.search(line, self.node.said.err)
        self.check("resets by the thousand", wait_for(PATIENCE, more))
        check("mqtt: who resets is refused, which is counted", metric_of(self.node.get("/metrics"), "mqtt_connections_refused_total") > before)
        Client(self.mqtt, next(self.sources)).enter("others").s.close()

    def ready(self):
        return True

    def end(self):
        for c in self.held:
            c.s.close()
