#!/usr/bin/env python3
"""paho for C (Debian) against a real node: tests/e2e/mqtt_paho_c.py BUILD_FOLDER. Both versions of MQTT: QoS 0, 1 and 2, retained messages,
a session that goes on, taking over."""
import os
import subprocess

from _interop import Debian, here, main, node, run
from _process import DEADLINE


def paho_c(folder):
    debian = Debian(folder, "libpaho-mqtt-dev", "libpaho-mqtt1.3")
    program = os.path.join(folder, "mqtt_paho_c")
    subprocess.run([*os.environ.get("CC", "cc").split(), "-o", program, os.path.join(here, "mqtt_paho_c.c"), "-I" + debian.path("usr", "include"),
                    *("-L" + p for p in debian.libraries), "-lpaho-mqtt3c"], check=True, timeout=DEADLINE)
    with node(folder) as n:
        for version in "3", "5":
            code, said = run([program, n.mqtt, version], env=debian.env)
            assert (code, said) == (0, "ok\n"), "version %s: %s, %s" % (version, code, said)


main(paho_c)
