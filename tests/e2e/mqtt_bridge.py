#!/usr/bin/env python3
"""A mosquitto (Debian) that bridges into a node, in both directions: tests/e2e/mqtt_bridge.py BUILD_FOLDER. Messages and retained ones
cross with QoS 0, 1 and 2 and come back to nobody; after either end was killed the bridge stands again."""
import subprocess
import os

from _interop import Debian, free_port, main, node, until_true
from _node import plain
from _process import DEADLINE, Process

CONF = """listener %(own)s 127.0.0.1
allow_anonymous true
connection bridge
address 127.0.0.1:%(node)s
bridge_protocol_version %(version)s
remote_clientid bridge%(version)s
notifications true
notification_topic bridge/state
restart_timeout 1
topic up/# out 2
topic down/# in 2
topic both/# both 1
topic x/# out 1 local/ remote/
"""


def pub(port, *args):
    p = subprocess.run(["mosquitto_pub", "-p", port, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE, env=plain())
    assert p.returncode == 0, (args, p.stdout)


def sub(port, *args):
    p = Process(["stdbuf", "-oL", "mosquitto_sub", "-p", port, "-d", "-F", "GOT %t %p", *args], plain(), text=True)
    p.expect("out", r"^Subscribed \(mid")
    return p


def is_up(port):
    """Whether the bridge says at this end that it stands."""
    p = subprocess.run(["mosquitto_sub", "-p", port, "-t", "bridge/state", "-C", "1", "-W", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=DEADLINE, env=plain())
    return p.stdout.strip() == b"1"


def crossing(version):
    def case(folder):
        debian = Debian(folder, "mosquitto")
        own, at_node = free_port(), free_port()
        conf = os.path.join(folder, "mosquitto.conf")
        with open(conf, "w") as f:
            f.write(CONF % {"own": own, "node": at_node, "version": version})
        n = node(folder, port=at_node)
        words = [debian.program("mosquitto"), "-c", conf, "-v"]
        m = Process(words, debian.env, text=True)
        until_true("the bridge stands", lambda: is_up(own) and is_up(n.mqtt), lambda: m.err[-600:])
        for turn in "first", "node killed", "mosquitto killed":
            there, here = sub(n.mqtt, "-t", "up/#", "-t", "remote/#", "-t", "both/#", "-q", "1"), sub(own, "-t", "down/#", "-t", "both/#", "-q", "1")
            for qos in "012":
                pub(own, "-t", "up/" + qos, "-m", turn + qos, "-q", qos)
                there.expect("out", r"^GOT up/%s %s%s$" % (qos, turn, qos))
                pub(n.mqtt, "-t", "down/" + qos, "-m", turn + qos, "-q", qos)
                here.expect("out", r"^GOT down/%s %s%s$" % (qos, turn, qos))
            pub(own, "-t", "local/x/1", "-m", turn, "-q", "1")
            there.expect("out", r"^GOT remote/x/1 %s$" % turn)
            for port, name in (own, "here"), (n.mqtt, "there"):
                pub(port, "-t", "both/" + name, "-m", turn, "-q", "1")
                there.expect("out", r"^GOT both/%s %s$" % (name, turn))
                here.expect("out", r"^GOT both/%s %s$" % (name, turn))
            for i in range(200):
                if i % 50 == 0:
                    text = "\n".join(str(k) for k in range(i, i + 50)) + "\n"
                    subprocess.run(["mosquitto_pub", "-p", own, "-t", "up/many", "-q", "1", "-l"], input=text.encode(), check=True, timeout=DEADLINE,
                                   env=plain(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            pub(own, "-t", "up/end", "-m", turn, "-q", "1")
            there.expect("out", r"^GOT up/end %s$" % turn)
            many = [line.split()[-1] for line in there.out.splitlines() if line.startswith("GOT up/many ")]
            assert many == [str(k) for k in range(200)], many[:20]
            pub(own, "-t", "up/kept", "-m", "kept " + turn, "-q", "1", "-r")
            there.expect("out", r"^GOT up/kept kept %s$" % turn)
            late = sub(n.mqtt, "-t", "up/kept")
            late.expect("out", r"^GOT up/kept kept %s$" % turn)
            for p in there, here, late:
                p.end()
            both = [line for line in there.out.splitlines() if line.startswith("GOT both/")]
            assert len(both) == 2, both  # what crossed did not come back
            if turn == "first":
                n.process.end()
                n.start()
            elif turn == "node killed":
                m.end()
                m = Process(words, debian.env, text=True)
            up = lambda: is_up(own) and is_up(n.mqtt)
            until_true("the bridge stands again", up, lambda: m.err[-600:])
        m.end()
        n.process.end()

    case.__name__ = "bridge_" + version
    return case


main(crossing("mqttv311"), crossing("mqttv50"))
