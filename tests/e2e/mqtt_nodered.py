#!/usr/bin/env python3
"""Node-RED from npm, with its own MQTT nodes, against a real node: tests/e2e/mqtt_nodered.py BUILD_FOLDER. It is some 100 MB, so only
./test --full, or naming the case, has it."""
import json
import os
import subprocess
import sys

from _cases import FULL
from _interop import free_port, main, node, npm, until_true
from _node import plain
from _process import DEADLINE, Process

HERE = "here"  # of the flow


def flows(port, version):
    """A message on in/# goes on to out/..., upper-cased by a function node; what a retained one said is published as such."""
    return [
        {"id": HERE, "type": "tab", "label": "flow"},
        {"id": "broker", "type": "mqtt-broker", "name": "", "broker": "127.0.0.1", "port": port, "clientid": "", "autoConnect": True, "usetls": False,
         "protocolVersion": version, "keepalive": "60", "cleansession": True, "birthTopic": "red/state", "birthQos": "1", "birthRetain": "true",
         "birthPayload": "up", "birthMsg": {}, "closeTopic": "red/state", "closeQos": "1", "closeRetain": "true", "closePayload": "closed", "closeMsg": {},
         "willTopic": "red/state", "willQos": "1", "willRetain": "true", "willPayload": "lost", "willMsg": {}, "sessionExpiry": ""},
        {"id": "in", "type": "mqtt in", "z": HERE, "name": "", "topic": "in/#", "qos": "2", "datatype": "auto-detect", "broker": "broker", "nl": False,
         "rap": True, "rh": 0, "inputs": 0, "wires": [["change"]]},
        {"id": "change", "type": "function", "z": HERE, "name": "", "outputs": 1, "libs": [], "initialize": "", "finalize": "", "wires": [["out"]],
         "func": "msg.topic = msg.topic.replace('in/', 'out/'); msg.payload = String(msg.payload).toUpperCase(); return msg;"},
        {"id": "out", "type": "mqtt out", "z": HERE, "name": "", "topic": "", "qos": "1", "retain": "true", "respTopic": "", "contentType": "",
         "userProps": "", "correl": "", "expiry": "", "broker": "broker", "wires": []},
    ]


def pub(n, *args):
    subprocess.run(["mosquitto_pub", "-p", n.mqtt, *args], check=True, env=plain(), timeout=DEADLINE)


def sub(n, *args):
    p = Process(["stdbuf", "-oL", "mosquitto_sub", "-p", n.mqtt, "-d", "-F", "GOT %t %p %r", *args], plain(), text=True)
    p.expect("out", r"^Subscribed \(mid")
    return p


def node_red(folder):
    if not FULL and "node_red" not in sys.argv[2:]:
        print("   node_red: only in ./test --full, or when it is named")
        return
    modules = npm(os.path.join(folder, "npm"), "node-red@4", timeout=DEADLINE)
    with node(folder) as n:
        for version in "4", "5":
            user = os.path.join(folder, "user" + version)
            os.mkdir(user)
            with open(os.path.join(user, "flows.json"), "w") as f:
                json.dump(flows(n.mqtt, version), f)
            with open(os.path.join(user, "settings.js"), "w") as f:
                f.write("module.exports = { uiHost: '127.0.0.1', flowFile: 'flows.json', telemetry: { enabled: false, updateNotification: false } }\n")
            red = Process(["node", os.path.join(modules, "node-red", "red.js"), "-u", user, "-p", free_port(), "-s", os.path.join(user, "settings.js")],
                          plain(HOME=user), text=True)
            state = sub(n, "-t", "red/state", "-q", "1")
            state.expect("out", r"^GOT red/state up")
            reader = sub(n, "-t", "out/#", "-q", "1")

            def answered():
                pub(n, "-t", "in/first", "-m", "hello", "-q", "1")
                return "GOT out/first HELLO" in reader.out

            until_true("Node-RED answers", answered, lambda: red.out[-800:] + red.err[-400:])
            for i in range(100):
                pub(n, "-t", "in/%d" % i, "-m", "m%d" % i, "-q", str(i % 3))
            for i in range(100):
                reader.expect("out", r"^GOT out/%d M%d " % (i, i))
            sub(n, "-t", "out/5", "-q", "1").expect("out", r"^GOT out/5 M5 1$")  # it was published retained
            red.end()  # killed: its will
            state.expect("out", r"^GOT red/state lost")
            for i in ("first", *range(100)):
                pub(n, "-t", "out/%s" % i, "-n", "-r")


main(node_red)
