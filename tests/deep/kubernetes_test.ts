/** The manifest in deploy/kubernetes: its schemas, and that its times and names agree. */
import { assert, assertEquals } from "@std/assert";
import { parse as parseJsonc } from "jsonc-parser";
import { Deployment } from "kubernetes-models/apps/v1";
import { ConfigMap, PersistentVolumeClaim, Service } from "kubernetes-models/v1";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { OVERRIDABLE } from "../../lib/config/override.ts";
import { type ConfigFile, ConfigSchema } from "../../lib/config/schema.ts";
import { readDockerfile } from "../harness/container.ts";
import { REPOSITORY } from "../harness/project.ts";

const SECOND_MS = 1000;
/** What is left for the end itself, after preStop and the drain. */
const SPARE_MS = 5_000;

interface Objects {
  readonly deployment: Deployment;
  readonly configMap: ConfigMap;
  readonly claim: PersistentVolumeClaim;
  readonly service: Service;
}

/** The objects of the manifest, each held against the schema of its kind. */
async function readManifest(alter = (text: string) => text): Promise<Objects> {
  const path = join(REPOSITORY, "deploy/kubernetes/guestbook.yaml");
  const documents = parseAllDocuments(alter(await Deno.readTextFile(path)));
  const objects = new Map(documents.map((document) => {
    assertEquals(document.errors, []);
    const object = document.toJS();
    return [object.kind, object];
  }));
  assertEquals(objects.size, documents.length);
  const found = {
    deployment: new Deployment(objects.get("Deployment")),
    configMap: new ConfigMap(objects.get("ConfigMap")),
    claim: new PersistentVolumeClaim(objects.get("PersistentVolumeClaim")),
    service: new Service(objects.get("Service")),
  };
  for (const object of Object.values(found)) object.validate();
  assertEquals(documents.length, Object.keys(found).length);
  return found;
}

/** The config that the image's executable was built with. */
async function readPacked(): Promise<ConfigFile> {
  const path = join(REPOSITORY, "examples/guestbook/holdfast.jsonc");
  return ConfigSchema.parse(parseJsonc(await Deno.readTextFile(path)));
}

Deno.test("the Kubernetes manifest is valid, and one with a wrong value is not", async () => {
  await readManifest();
  let refused = "";
  try {
    await readManifest((text) => text.replace("replicas: 1", 'replicas: "many"'));
  } catch (error) {
    refused = String(error);
  }
  assert(refused.includes("replicas"), refused);
});

Deno.test("the Kubernetes manifest gives a pod time for its announcement and its whole drain", async () => {
  const { deployment, configMap } = await readManifest();
  const override = parseJsonc(configMap.data!["guestbook.jsonc"]!);
  assertEquals(Object.keys(override).filter((key) => !OVERRIDABLE.includes(key as never)), []);
  const { reload } = ConfigSchema.parse({ ...await readPacked(), ...override });
  const pod = deployment.spec!.template!.spec!;
  const [container] = pod.containers;
  const [program, seconds] = container!.lifecycle!.preStop!.exec!.command!;
  assertEquals(program, "sleep");
  const preStopMs = Number(seconds) * SECOND_MS;
  const graceMs = pod.terminationGracePeriodSeconds! * SECOND_MS;
  assertEquals(graceMs, preStopMs + reload.announceMs + reload.drainDeadlineMs + SPARE_MS);
  // A pod that goes is no longer asked when it leaves its listener.
  const { periodSeconds, failureThreshold } = container!.readinessProbe!;
  assert(preStopMs > periodSeconds! * failureThreshold! * SECOND_MS);
});

Deno.test("the Kubernetes manifest runs the Dockerfile's image as its user, on its volumes, without a right", async () => {
  const { deployment, configMap, claim, service } = await readManifest();
  const image = await readDockerfile();
  const pod = deployment.spec!.template!.spec!;
  const [container, ...others] = pod.containers;
  assertEquals(others, []);
  const { securityContext: ofPod } = pod;
  assertEquals(
    [ofPod!.runAsNonRoot, ofPod!.runAsUser, ofPod!.runAsGroup, ofPod!.fsGroup],
    [true, image.user, image.user, image.user],
  );
  assertEquals(ofPod!.seccompProfile, { type: "RuntimeDefault" });
  assertEquals(container!.securityContext, {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  });
  const mounts = new Map(container!.volumeMounts!.map(({ mountPath, name }) => [mountPath, name]));
  const volumes = pod.volumes!.map(({ name }) => name);
  for (const path of [...image.volumes, "/app/guestbook.jsonc"]) {
    assert(volumes.includes(mounts.get(path)!), `${path} is no volume`);
  }
  assertEquals(
    pod.volumes!.map(({ configMap, persistentVolumeClaim }) =>
      configMap?.name ?? persistentVolumeClaim?.claimName
    ).filter((name) => name !== undefined).sort(),
    [claim.metadata!.name, configMap.metadata!.name],
  );
  const { labels } = deployment.spec!.template!.metadata!;
  assertEquals(deployment.spec!.selector.matchLabels, labels);
  assertEquals(service.spec!.selector, labels);
  const [port] = container!.ports!;
  assertEquals(parseJsonc(configMap.data!["guestbook.jsonc"]!).listen, [
    `0.0.0.0:${port!.containerPort}`,
  ]);
  for (const probe of [container!.startupProbe, container!.readinessProbe]) {
    assertEquals(probe!.httpGet, { path: (await readPacked()).readiness!, port: port!.name! });
  }
  assertEquals(service.spec!.ports![0]!.targetPort, port!.name);
});
