/** The manifest in deploy/kubernetes: its schemas, that its times and names agree, and its container. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { parse as parseJsonc } from "jsonc-parser";
import { join } from "node:path";
import { OVERRIDABLE } from "../../lib/config/override.ts";
import { type ConfigFile, ConfigSchema } from "../../lib/config/schema.ts";
import { Container, readDockerfile } from "../harness/container.ts";
import { runBuildStage, STAGE } from "../harness/dockerfile.ts";
import { testWith } from "../harness/needs.ts";
import { packageProgram } from "../harness/packages.ts";
import { REPOSITORY } from "../harness/project.ts";
import { until } from "../harness/wait.ts";

const SECOND_MS = 1000;
/** What is left for the end itself, after preStop and the drain. */
const SPARE_MS = 5_000;

interface Labels {
  readonly [name: string]: string;
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
  readonly periodSeconds: number;
  readonly failureThreshold: number;
}

/** What these tests read of a pod. */
interface Pod {
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly containers: readonly {
    readonly lifecycle: {
      readonly preStop: { readonly exec: { readonly command: readonly string[] } };
    };
    readonly securityContext: unknown;
    readonly volumeMounts: readonly { readonly mountPath: string; readonly name: string }[];
    readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
    readonly startupProbe: Probe;
    readonly readinessProbe: Probe;
    readonly livenessProbe: { readonly exec: { readonly command: readonly string[] } };
  }[];
  readonly volumes: readonly {
    readonly name: string;
    readonly configMap?: { readonly name: string };
    readonly persistentVolumeClaim?: { readonly claimName: string };
  }[];
}

/** The objects of the manifest, and what these tests read of them. */
interface Objects {
  readonly Deployment: {
    readonly spec: {
      readonly selector: { readonly matchLabels: Labels };
      readonly template: { readonly metadata: { readonly labels: Labels }; readonly spec: Pod };
    };
  };
  readonly ConfigMap: {
    readonly metadata: { readonly name: string };
    readonly data: { readonly "guestbook.jsonc": string };
  };
  readonly PersistentVolumeClaim: { readonly metadata: { readonly name: string } };
  readonly Service: {
    readonly spec: {
      readonly selector: Labels;
      readonly ports: readonly { readonly targetPort: string }[];
    };
  };
}

const KINDS = ["ConfigMap", "Deployment", "PersistentVolumeClaim", "Service"];

/**
 * The objects of the manifest, each held against the schema of its kind.
 *
 * @throws {Error} with what is wrong
 */
async function readManifest(alter = (text: string) => text): Promise<Objects> {
  const text = await Deno.readTextFile(join(REPOSITORY, "deploy/kubernetes/guestbook.yaml"));
  const [command, ...args] = packageProgram("read_manifest.ts");
  const child = new Deno.Command(command, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  await new Blob([alter(text)]).stream().pipeTo(child.stdin);
  const { success, stdout, stderr } = await output;
  const decoder = new TextDecoder();
  if (!success) throw new Error(decoder.decode(stderr));
  const objects = JSON.parse(decoder.decode(stdout));
  assertEquals(Object.keys(objects).sort(), KINDS);
  return objects;
}

/** The config that the image's executable was built with. */
async function readPacked(): Promise<ConfigFile> {
  const path = join(REPOSITORY, "examples/guestbook/holdfast.jsonc");
  return ConfigSchema.parse(parseJsonc(await Deno.readTextFile(path)));
}

Deno.test("the Kubernetes manifest is valid, and one with a wrong value is not", async () => {
  await readManifest();
  await assertRejects(
    () => readManifest((text) => text.replace("replicas: 1", 'replicas: "many"')),
    Error,
    "replicas",
  );
});

Deno.test("the Kubernetes manifest gives a pod time for its announcement and its whole drain", async () => {
  const { Deployment: deployment, ConfigMap: configMap } = await readManifest();
  const override = parseJsonc(configMap.data["guestbook.jsonc"]);
  assertEquals(Object.keys(override).filter((key) => !OVERRIDABLE.includes(key as never)), []);
  const { reload } = ConfigSchema.parse({ ...await readPacked(), ...override });
  const pod = deployment.spec.template.spec;
  const [container] = pod.containers;
  const [program, seconds] = container!.lifecycle.preStop.exec.command;
  assertEquals(program, "sleep");
  const preStopMs = Number(seconds) * SECOND_MS;
  const graceMs = pod.terminationGracePeriodSeconds * SECOND_MS;
  assertEquals(graceMs, preStopMs + reload.shutdownDelayMs + reload.drainDeadlineMs + SPARE_MS);
  // A pod that goes is no longer asked when it leaves its listener.
  const { periodSeconds, failureThreshold } = container!.readinessProbe!;
  assert(preStopMs > periodSeconds * failureThreshold * SECOND_MS);
});

Deno.test("the Kubernetes manifest runs the Dockerfile's image as its user, on its volumes, without a right", async () => {
  const {
    Deployment: deployment,
    ConfigMap: configMap,
    PersistentVolumeClaim: claim,
    Service: service,
  } = await readManifest();
  const image = await readDockerfile();
  const pod = deployment.spec.template.spec;
  const [container, ...others] = pod.containers;
  assertEquals(others, []);
  const { securityContext: ofPod } = pod;
  assertEquals(
    [ofPod.runAsNonRoot, ofPod.runAsUser, ofPod.runAsGroup, ofPod.fsGroup],
    [true, image.user, image.user, image.user],
  );
  assertEquals(ofPod.seccompProfile, { type: "RuntimeDefault" });
  assertEquals(container!.securityContext, {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  });
  const mounts = new Map(container!.volumeMounts.map(({ mountPath, name }) => [mountPath, name]));
  const volumes = pod.volumes.map(({ name }) => name);
  for (const path of [...image.volumes, "/app/guestbook.jsonc"]) {
    assert(volumes.includes(mounts.get(path)!), `${path} is no volume`);
  }
  assertEquals(
    pod.volumes.map(({ configMap, persistentVolumeClaim }) =>
      configMap?.name ?? persistentVolumeClaim?.claimName
    ).filter((name) => name !== undefined).sort(),
    [claim.metadata.name, configMap.metadata.name],
  );
  const { labels } = deployment.spec.template.metadata;
  assertEquals(deployment.spec.selector.matchLabels, labels);
  assertEquals(service.spec.selector, labels);
  const [port] = container!.ports;
  assertEquals(parseJsonc(configMap.data["guestbook.jsonc"]).listen, [
    `0.0.0.0:${port!.containerPort}`,
  ]);
  for (const probe of [container!.startupProbe, container!.readinessProbe]) {
    assertEquals(probe.httpGet, { path: (await readPacked()).readiness!, port: port!.name });
  }
  assertEquals(service.spec.ports[0]!.targetPort, port!.name);
});

testWith(
  { programs: ["bwrap", "curl", "nsenter", "ps", "setpriv", ...STAGE.programs], root: true },
  "the Kubernetes manifest's pod is ready and alive by its own probes, with its own config, and ends in time",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_builds_" });
    try {
      await Deno.chmod(folder, 0o755);
      const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] })
        .output();
      const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
      const root = await runBuildStage(folder, denoDir);
      const { ConfigMap: configMap, Deployment: deployment } = await readManifest();
      const { ports, startupProbe, readinessProbe, livenessProbe, lifecycle } = deployment.spec
        .template.spec.containers[0]!;
      await using container = await Container.start(root, configMap.data["guestbook.jsonc"], "own");
      const { containerPort } = ports[0]!;
      const isOk = async ({ httpGet }: Probe) => {
        const url = `http://127.0.0.1:${containerPort}${httpGet.path}`;
        const within = ["--net", `--target=${await container.pid()}`];
        const { success } = await new Deno.Command("nsenter", {
          args: [...within, "curl", "-sSf", url],
          stdout: "null",
          stderr: "null",
        }).output();
        return success;
      };
      const patienceMs = startupProbe.periodSeconds * startupProbe.failureThreshold * SECOND_MS;
      await until("the pod to have started", () => isOk(startupProbe), patienceMs)
        .catch((error) => {
          throw new Error(`${error.message}\n${container.log.slice(-2000)}`);
        });
      assertEquals(await isOk(readinessProbe), true);
      const alive = await container.exec(...livenessProbe.exec.command);
      assertEquals(alive.code, 0, alive.stderr);
      assertEquals((await container.exec(...lifecycle.preStop.exec.command)).code, 0);
      assertEquals(await container.stop(), 0, container.log.slice(-2000));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
