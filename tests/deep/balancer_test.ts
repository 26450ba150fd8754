/** The samples in deploy/ for HAProxy, nginx and Caddy, each run in front of a real Holdfast. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ConfigSchema } from "../../lib/config/schema.ts";
import {
  Balancer,
  type BalancerName,
  BALANCERS,
  type Edit,
  editSample,
} from "../harness/balancer.ts";
import { loadProject, writeGeneration } from "../harness/load_project.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";
import { isAllOk, type LoadReport, rowsOf, runLoad, sampleLinesOf } from "../load/client.ts";
import { freePort } from "../harness/ports.ts";
import { testWith } from "../harness/needs.ts";

const RELOADS = 10;
const PAUSE_BETWEEN_RELOADS_MS = 250;
/** An end if all else fails; the reloads end the load. */
const LOAD_MS = 120_000;

type Upstream = "tcp" | "unix";

/** How a sample listens on a port of this test's, and where it finds the app. */
function edits(name: BalancerName, upstream: Upstream, project: Project, port: number): Edit[] {
  const socket = project.path("app.sock");
  const app = `127.0.0.1:${project.port}`;
  switch (name) {
    case "haproxy":
      return [
        ["bind :80", `bind 127.0.0.1:${port}`],
        ...upstream === "tcp" ? [["one 127.0.0.1:8000", `one ${app}`] as const] : [
          ["    server one 127.0.0.1:8000\n", ""] as const,
          ["#server one unix@/run/app/app.sock", `server one unix@${socket}`] as const,
        ],
      ];
    case "nginx":
      return [
        ["listen 80;", `listen 127.0.0.1:${port};`],
        ...upstream === "tcp" ? [["127.0.0.1:8000", app] as const] : [
          ["    server 127.0.0.1:8000;\n", ""] as const,
          // The workers of nginx are not root, and the project's folder is root's.
          ["#server unix:/run/app/app.sock", `server unix:${socket}`] as const,
        ],
      ];
    case "caddy":
      return [
        [":80 {", `http://127.0.0.1:${port} {`],
        ...upstream === "tcp" ? [["127.0.0.1:8000", app] as const] : [
          ["reverse_proxy 127.0.0.1:8000 {", "reverse_proxy {"] as const,
          ["#to unix//run/app/app.sock", `to unix/${socket}`] as const,
        ],
      ];
  }
}

async function startApp(): Promise<Server> {
  const project = await loadProject({ readiness: "/ready" });
  await Deno.chmod(project.folder, 0o755);
  const socket = { unix: "./app.sock", mode: "0666" };
  await project.configure({ listen: [`127.0.0.1:${project.port}`, socket] });
  return await Server.startOn(project);
}

/** Loads it while it reloads, and gives the account. */
async function loadOverReloads(server: Server, target: string): Promise<LoadReport> {
  const enough = new AbortController();
  const loading = runLoad({ target, durationMs: LOAD_MS, clients: 2, signal: enough.signal });
  loading.catch(() => {}); // it is awaited below; until then its failure must not end the test
  try {
    for (let reload = 1; reload <= RELOADS; reload++) {
      await sleep(PAUSE_BETWEEN_RELOADS_MS);
      await writeGeneration(server.project, `reload_${reload}`);
      assertEquals((await server.hangUp()).event, "reload_done", server.log.slice(-2000));
    }
    // Long enough for the last generation to answer, and for the grace of the first ones to end.
    await sleep(PAUSE_BETWEEN_RELOADS_MS);
  } finally {
    enough.abort();
    await loading;
  }
  return await loading;
}

/** How each sample says the seconds that an idle connection to the app, and a silent one, may last. */
const TIMES: Record<BalancerName, { readonly idle: RegExp; readonly silence: RegExp }> = {
  haproxy: { idle: /pool-purge-delay (\d+)s/, silence: /timeout server (\d+)s/ },
  nginx: { idle: /keepalive_timeout (\d+)s;/, silence: /proxy_read_timeout (\d+)s;/ },
  // Caddy waits for a silent app as long as the client does.
  caddy: { idle: /keepalive (\d+)s/, silence: /()/ },
};

for (const name of BALANCERS) {
  Deno.test(`${name} lets go of an idle connection before the default grace ends, and of a busy one after the drain`, async () => {
    const { reload } = ConfigSchema.parse({ app: "./app.ts", listen: ["127.0.0.1:8000"] });
    const text = await editSample(name, []);
    const [idleMs, silenceMs] = [TIMES[name].idle, TIMES[name].silence].map((wanted) => {
      const seconds = wanted.exec(text)?.[1];
      assert(seconds !== undefined, `${name} says nothing like ${wanted}`);
      return seconds === "" ? Infinity : Number(seconds) * 1000;
    });
    assert(idleMs! < reload.idleGraceMs, `${idleMs} ms`);
    assert(silenceMs! > reload.drainDeadlineMs, `${silenceMs} ms`);
  });

  testWith({ programs: [name] }, `${name} itself finds nothing wrong with its sample`, async () => {
    await using balancer = await Balancer.place(name);
    const { code, stdout, stderr } = await balancer.check();
    assertEquals(code, 0, stdout + stderr);
    assertEquals((stdout + stderr).match(/\[(warn|emerg)\].*|.*not formatted.*/g), null);
  });

  for (const upstream of ["tcp", "unix"] as const) {
    testWith(
      { programs: [name] },
      `${name} loses nothing over ${RELOADS} reloads, with the app on ${upstream}`,
      async () => {
        await using server = await startApp();
        const port = freePort();
        await using balancer = await Balancer.start(
          name,
          edits(name, upstream, server.project, port),
          port,
        );
        await until("the app behind it", async () => {
          const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
          await answer?.body?.cancel();
          return answer?.ok;
        });
        const report = await loadOverReloads(server, `127.0.0.1:${port}`);
        const seen = Object.entries(rowsOf(report)).map((row) => JSON.stringify(row)).join("\n");
        assert(
          isAllOk(report),
          `${seen}\n${sampleLinesOf(report).join("\n")}\n${balancer.log.slice(-2000)}`,
        );
        assert(Object.keys(report.total.generations).length > RELOADS, seen);
        // deno-lint-ignore no-console
        console.log(`${name}, ${upstream}: ${report.total.sent} requests, all answered well`);
      },
    );
  }

  testWith(
    { programs: [name] },
    `${name} tells the app who asks, and passes WebSockets on`,
    async () => {
      await using server = await startApp();
      const port = freePort();
      await using _balancer = await Balancer.start(
        name,
        edits(name, "tcp", server.project, port),
        port,
      );
      const headers = await until("the app behind it", async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/headers`).catch(() => undefined);
        return answer?.ok ? await answer.json() : await answer?.body?.cancel();
      });
      assertEquals(headers["x-forwarded-for"], "127.0.0.1");
      assertEquals(headers["x-forwarded-proto"], "http");
      assertStringIncludes(headers["x-forwarded-host"], "127.0.0.1");
      const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      socket.onopen = () => socket.send("through");
      socket.onmessage = ({ data }) => resolve(data);
      socket.onerror = () => reject(new Error("the WebSocket failed"));
      assertEquals(await promise, "through");
      const closed = new Promise((resolve) => socket.onclose = resolve);
      socket.close();
      await closed;
    },
  );

  testWith(
    { programs: [name, "curl", "ip", "nsenter", "unshare"], root: true },
    `${name} serves on port 80 with its sample as it is shipped`,
    async () => {
      const project = await Project.create({
        config: { listen: ["127.0.0.1:8000"], readiness: "/ready" },
      });
      const own = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"'];
      await using server = await Server.startOn(project, { prefix: own });
      const within = ["nsenter", `--target=${server.pid}`, "--net"];
      await using balancer = await Balancer.start(name, [], undefined, within);
      const answer = await until("an answer by way of port 80", async () => {
        const args = [...within.slice(1), "curl", "-sSf", "http://127.0.0.1/x"];
        const { success, stdout } = await new Deno.Command(within[0]!, { args }).output();
        return success && new TextDecoder().decode(stdout);
      }).catch((error) => {
        throw new Error(`${error.message}\n${balancer.log}`);
      });
      assertEquals(answer, "one /x");
    },
  );
}
