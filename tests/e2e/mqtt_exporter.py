#!/usr/bin/env python3
"""prometheus-mqtt-exporter (Debian) reads what devices publish, and $SYS, at a real node: tests/e2e/mqtt_exporter.py BUILD_FOLDER."""
import os
import re
import subprocess
import urllib.request

from _interop import Debian, free_port, main, node, until_true
from _node import plain
from _process import DEADLINE, Process

DEVICES = """mqtt:
  server: tcp://127.0.0.1:%s
  topic_path: v1/devices/me/+
  qos: 1
cache:
  timeout: 60m
metrics:
  - {prom_name: temperature, mqtt_name: temperature, help: of a device, type: gauge}
"""
SYS = """mqtt:
  server: tcp://127.0.0.1:%s
  topic_path: $SYS/broker/#
  device_id_regex: "(?P<deviceid>[^/]*)/broker/.*"
  metric_per_topic_config:
    metric_name_regex: "[^/]*/broker/(?P<metricname>.*)"
  qos: 0
cache:
  timeout: 60m
metrics:
  - {prom_name: connected, mqtt_name: clients/connected, help: clients, type: gauge}
  - {prom_name: retained, mqtt_name: retained messages/count, help: messages, type: gauge}
  - {prom_name: received, mqtt_name: publish/messages/received, help: messages, type: counter}
  - {prom_name: load, mqtt_name: load/publish/received/1min, help: messages a minute, type: gauge}
"""


def scraped(port):
    try:
        with urllib.request.urlopen("http://127.0.0.1:%s/metrics" % port, timeout=DEADLINE) as r:
            return r.read().decode()
    except OSError:
        return ""


def exporter(debian, folder, name, conf):
    path, port = os.path.join(folder, name + ".yaml"), free_port()
    with open(path, "w") as f:
        f.write(conf)
    p = Process([debian.program("prometheus-mqtt-exporter"), "-config", path, "-listen-address", "127.0.0.1", "-listen-port", port], debian.env, text=True)
    return p, port


def value(port, name):
    found = re.search(r"^%s(?:\{[^}]*\})? ([0-9.e+-]+)" % name, scraped(port), re.M)
    return float(found.group(1)) if found else None


def prometheus_mqtt_exporter(folder):
    debian = Debian(folder, "prometheus-mqtt-exporter")
    with node(folder) as n:
        p, port = exporter(debian, folder, "devices", DEVICES % n.mqtt)

        def tell():
            subprocess.run(["mosquitto_pub", "-p", n.mqtt, "-q", "1", "-t", "v1/devices/me/stove", "-m", '{"temperature": 21.5}'], check=True, env=plain(),
                           timeout=DEADLINE)
            return value(port, "temperature") == 21.5

        until_true("the exporter shows what a device has said", tell, lambda: p.err[-600:] + p.out[-600:])
        n.ok("pub", "--retain", "kept", "x")
        q, port = exporter(debian, folder, "sys", SYS % n.mqtt)
        until_true("the exporter shows $SYS", lambda: value(port, "retained") == 1 and (value(port, "connected") or 0) >= 2 and
                   (value(port, "received") or 0) >= 2 and value(port, "load") is not None, lambda: q.err[-600:] + q.out[-600:] + scraped(port)[-800:])
        n.ok("pub", "--retain", "kept.too", "x")
        until_true("the exporter shows a change", lambda: value(port, "retained") == 2, lambda: q.err[-600:])
        p.end()
        q.end()


main(prometheus_mqtt_exporter)
