// Called by check.sh, in a folder with node_modules: node check.mjs FILE... Prints a line a manifest; exits with 1 on any mistake.
import { readFileSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { parseAllDocuments } from "yaml";

let mistakes = 0;
const wrong = (where, what) => (mistakes++, console.log(`FAIL ${where}: ${what}`));
const docs = [];
for (const file of process.argv.slice(2))
  // kubectl reads YAML 1.1: 0440 is octal there.
  for (const d of parseAllDocuments(readFileSync(file, "utf8"), { version: "1.1", uniqueKeys: true })) {
    const where = `${file.split("/").pop()} ${d.get("kind")}/${d.getIn(["metadata", "name"]) ?? d.getIn(["metadata", "generateName"])}`;
    d.errors.forEach((e) => wrong(where, e.message));
    docs.push({ where, object: d.toJS() });
  }

// Schemas: values at run time, unknown fields at compile time.
let source = "";
for (const [i, { where, object }] of docs.entries()) {
  const { apiVersion, kind } = object;
  try {
    const model = (await import(`kubernetes-models/${apiVersion}`))[kind];
    if (!model) throw new Error(`${apiVersion} has no ${kind}`);
    new model(object).validate();
  } catch (e) {
    wrong(where, e.message);
  }
  source += `import type { I${kind} as T${i} } from "kubernetes-models/${apiVersion}";\nexport const d${i}: T${i} = ${JSON.stringify(object, null, 1)};\n`;
}
writeFileSync("manifests.ts", source);
const tsc = spawnSync("node", ["node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "manifests.ts"]);
if (tsc.status !== 0) wrong("fields", tsc.stdout.toString());

// Names.
const all = (kind) => docs.map((d) => d.object).filter((o) => o.kind === kind);
const named = (kind, name) => all(kind).find((o) => o.metadata.name === name);
const selects = (selector, labels) => Object.entries(selector).every(([k, v]) => labels[k] === v);
const nodes = all("StatefulSet")[0];
const podLabels = nodes.spec.template.metadata.labels;
for (const { where, object: o } of docs) {
  const selector = o.kind === "Service" ? o.spec.selector : o.spec?.selector?.matchLabels;
  if (selector && !selects(selector, podLabels)) wrong(where, "its selector finds no node");
  if (o.kind === "Service")
    for (const p of o.spec.ports)
      if (!nodes.spec.template.spec.containers[0].ports.some((c) => c.name === p.targetPort && c.protocol === p.protocol))
        wrong(where, `no container port ${p.targetPort}/${p.protocol}`);
  const pod = o.spec?.template?.spec;
  if (!pod) continue;
  const volumes = (pod.volumes ?? []).concat(o.spec.volumeClaimTemplates?.map((c) => ({ name: c.metadata.name })) ?? []);
  for (const v of volumes) {
    if (v.configMap && !named("ConfigMap", v.configMap.name)) wrong(where, `no ConfigMap ${v.configMap.name}`);
    if (v.secret && !named("Secret", v.secret.secretName)) wrong(where, `no Secret ${v.secret.secretName}`);
  }
  for (const c of pod.containers) {
    for (const m of c.volumeMounts) if (!volumes.some((v) => v.name === m.name)) wrong(where, `no volume ${m.name}`);
    for (const probe of [c.startupProbe, c.livenessProbe, c.readinessProbe])
      if (probe && !c.ports.some((p) => p.name === probe.httpGet.port)) wrong(where, `no port ${probe.httpGet.port}`);
    for (const e of c.env ?? [])
      for (const [, pod0, service] of (e.value ?? "").matchAll(/([a-z]+-\d+)\.([a-z-]+):/g)) {
        if (service !== nodes.spec.serviceName || Number(pod0.split("-").pop()) >= nodes.spec.replicas || !pod0.startsWith(`${nodes.metadata.name}-`))
          wrong(where, `${pod0}.${service} is not a pod of the StatefulSet`);
      }
  }
}
if (!named("Service", nodes.spec.serviceName)) wrong("StatefulSet", `no Service ${nodes.spec.serviceName}`);
for (const [file, text] of Object.entries(named("ConfigMap", "macula").data)) writeFileSync(file, text);

if (!mistakes) docs.forEach(({ where }) => console.log(`ok ${where}`));
process.exit(mistakes ? 1 : 0);
