#!/usr/bin/env python3
"""Runs macula.yaml's pods and load-job.yaml's without a cluster: job-in-chroot.py IMAGE [ARGUMENT of the load test instead of the Job's]...

IMAGE is the folder that ../docker/build-in-chroot.sh made. Each pod gets a network namespace, the image read-only, uid and gid 1000, and
its arguments, variables, ConfigMap and Secrets as the manifests say; the Job starts when all are ready. Ends with the Job's exit code.
Needs root, iproute2 and python3-yaml.
"""
import importlib.util
import os
import re
import shutil
import sys
import tempfile

import yaml

here = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("chroots", os.path.join(here, "..", "docker", "compose-in-chroot.py"))
chroots = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chroots)


def folder(at, files):
    """As a volume of a ConfigMap or a Secret: root's, readable by the pod's group."""
    os.makedirs(at)
    for name, text in files.items():
        with open(os.path.join(at, name), "w") as f:
            f.write(text)
        os.chown(f.name, 0, 1000)
        os.chmod(f.name, 0o440)
    return at


def variables(container, pod, address):
    env = {}
    for e in container.get("env", []):
        of = e.get("valueFrom", {})
        if "fieldRef" in of:
            env[e["name"]] = {"status.podIP": address, "metadata.name": pod}[of["fieldRef"]["fieldPath"]]
        else:
            env[e["name"]] = re.sub(r"\$\((\w+)\)", lambda m: env[m.group(1)], e["value"])
    return env


def service(pod, address, template, folders):
    c = template["containers"][0]
    sources = {v["name"]: v["configMap"]["name"] if "configMap" in v else v["secret"]["secretName"] for v in template["volumes"]
               if "emptyDir" not in v}
    return {"networks": {"mesh": {"ipv4_address": address}}, "environment": variables(c, pod, address), "command": c["args"],
            "mem_limit": c["resources"]["limits"]["memory"].replace("i", ""),
            "volumes": ["%s:%s:ro" % (folders[sources[m["name"]]], m["mountPath"]) for m in c["volumeMounts"] if m["name"] in sources],
            "health": "/usr/lib/macula/live.sh %s" % c["readinessProbe"]["httpGet"]["path"][1:] if "readinessProbe" in c else ""}


def main():
    image = os.path.abspath(sys.argv[1])
    docs = [d for f in ("macula.yaml", "load-job.yaml") for d in yaml.safe_load_all(open(os.path.join(here, f)))]
    of = {d["kind"]: d for d in docs}
    work = tempfile.mkdtemp(prefix="macula-kubernetes.")
    try:
        os.chmod(work, 0o755)
        secrets = {"macula-token": {who: "a-token-for-this-run-only-" + who for who in ("node", "operator", "client")}}
        folders = {n: folder(os.path.join(work, n), f) for n, f in secrets.items()}
        folders["macula"] = folder(os.path.join(work, "config"), of["ConfigMap"]["data"])
        nodes, headless = of["StatefulSet"]["spec"], of["StatefulSet"]["spec"]["serviceName"]
        pods, hosts = {}, ""
        for i in range(nodes["replicas"]):
            pod, address = "macula-%d" % i, "10.78.0.%d" % (10 + i)
            pods[pod] = service(pod, address, nodes["template"]["spec"], folders)
            hosts += "%s %s %s.%s\n" % (address, headless, pod, headless)
        pods["load"] = service("load", "10.78.0.2", of["Job"]["spec"]["template"]["spec"], folders)
        pods["load"]["command"] = sys.argv[2:] or pods["load"]["command"]
        pods["load"]["depends_on"] = {p: {} for p in pods if p != "load"}
        return chroots.run(pods, "load", image, hosts)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
