#!/usr/bin/env python3
"""mqtt.js from npm in Node against a real node, over TCP: tests/e2e/mqtt_js_tcp.py BUILD_FOLDER. Both versions of MQTT: QoS 0, 1 and 2,
overlapping filters, large messages, retained ones, wills, sessions that go on."""
import os

from _interop import here, main, node, npm, run
from _node import plain


def mqtt_js(folder):
    modules = npm(os.path.join(folder, "npm"), "mqtt@5")
    with node(folder) as n:
        code, said = run(["node", os.path.join(here, "mqtt_js_tcp.js"), n.mqtt], env=plain(NODE_PATH=modules))
        assert (code, said) == (0, "ok\n"), (code, said)


main(mqtt_js)
