/**
 * Conformance of WebSockets beside Deno's own server with the same app: before, during and after a reload.
 * docs/conformance.md says what each grade that is not `ok` comes from.
 */
import { assert, assertEquals } from "@std/assert";
import { BareServer } from "../harness/bare_server.ts";
import { Authority } from "../harness/certificates.ts";
import { testWith } from "../harness/needs.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { writePair } from "../harness/tls.ts";
import { freePort } from "../harness/ports.ts";
import { CASES } from "../harness/web_socket_cases.ts";
import { forEachCase, type Grades, runCases, sumUp } from "../harness/web_socket_runner.ts";
import { WebSocketWire } from "../harness/web_socket_wire.ts";
import type { Target } from "../load/target.ts";

const ECHO = `
export default {
  fetch(request) {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => socket.send(data));
    socket.addEventListener("error", () => {});
    return response;
  },
};
`;

const WS_ECHO = `
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
const server = createServer((request, response) => response.end("hello"));
new WebSocketServer({ server, perMessageDeflate: true }).on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("error", () => {});
});
server.listen(Number(process.env.PORT ?? 8080));
`;

const WS_FILES = { "deno.json": JSON.stringify({ imports: { ws: "npm:ws@8.23.0" } }) };

/** What Deno's WebSockets do otherwise than a case wants, besides that they close without a word. */
const DENOS = {
  "7.3.6": '["close 1000","end"]',
  "7.7.12": '["close 1002","end"]',
};

/** The package finds only at the end of a message that it is not UTF-8. */
const WS = { "6.4.1": "late", "6.4.2": "late", "6.4.3": "late", "6.4.4": "late" };

/** Nothing is closed by a reload while the cases run, but for what meets a random moment of the hour. */
const RELOAD = { drainDeadlineMs: 3_600_000, spreadMs: 3_600_000, idleGraceMs: 1_000 };

/** The grades of others than `ok`, and than what all of Deno's WebSockets have. */
function oddities(grades: Grades): Grades {
  const usual = ["dropped", "not offered"];
  return Object.fromEntries(
    Object.entries(sumUp(grades).others).filter(([, grade]) => !usual.includes(grade)),
  );
}

const runOn = (target: Target) => runCases(({ offers }) => WebSocketWire.open(target, "/", offers));

/** The cases over connections that were open before a reload, which their old worker goes on to serve. */
async function runAcross(server: Server, target: Target): Promise<Grades> {
  const wires = new Map<string, WebSocketWire>();
  try {
    await forEachCase(async ({ id, offers }) => {
      wires.set(id, await WebSocketWire.open(target, "/", offers));
    });
    const before = (await server.status()).generations.at(-1)!.generation;
    assertEquals((await server.reload()).outcome, "done");
    const old = (await server.status()).generations.find(({ generation }) => generation === before);
    assertEquals(old?.state, "draining");
    return await runCases(({ id }) => Promise.resolve(wires.get(id)!));
  } finally {
    for (const wire of wires.values()) wire[Symbol.dispose]();
  }
}

/** Before, during and after a reload it is as it is without Holdfast. */
async function assertSame(server: Server, targets: Record<string, Target>, bare: Grades) {
  for (const [name, target] of Object.entries(targets)) {
    assertEquals(await runOn(target), bare, `before, ${name}`);
    const during = await runAcross(server, target);
    const went = Object.keys(during).filter((id) => during[id] === "interrupted");
    assert(went.length < CASES.length / 4, `${went.length} were interrupted, ${name}`);
    const expected = Object.fromEntries(
      Object.entries(bare).map(([id, grade]) => [id, went.includes(id) ? "interrupted" : grade]),
    );
    assertEquals(during, expected, `during, ${name}`);
    assertEquals(await runOn(target), bare, `after, ${name}`);
  }
  assertEquals(server.eventsOf("worker_lost"), []);
}

const tcp = (port: number, ca?: string): Target => ({
  kind: "tcp",
  hostname: "127.0.0.1",
  port,
  ca,
});

for (const engine of ["native", "node"] as const) {
  testWith(
    { programs: ["openssl"] },
    `WebSockets of the ${engine} engine are as conformant as Deno's own, across a reload too`,
    async () => {
      await using authority = await Authority.create();
      await using bareServer = await BareServer.start({ app: ECHO });
      const bare = await runOn(tcp(bareServer.port));
      assertEquals(oddities(bare), DENOS);
      const project = await Project.create({
        files: { "app.ts": ECHO },
        config: { engine, reload: { ...RELOAD, maxDraining: 8 } },
      });
      const { port } = project;
      const targets: Record<string, Target> = { plain: tcp(port) };
      if (engine === "native") {
        await writePair(project, await authority.issue());
        const https = freePort();
        const tls = { https: `127.0.0.1:${https}`, cert: "./tls/cert.pem", key: "./tls/key.pem" };
        await project.configure({ listen: [`127.0.0.1:${port}`, tls] });
        targets["TLS"] = tcp(https, authority.cert);
      } else {
        await project.configure({ listen: [`127.0.0.1:${port}`, "unix:./http.sock"] });
        targets["a Unix socket"] = { kind: "unix", path: project.path("http.sock") };
      }
      await using server = await Server.startOn(project);
      await assertSame(server, targets, bare);
    },
  );
}

Deno.test("WebSockets of the package ws are as conformant as without Holdfast", async () => {
  await using bareServer = await BareServer.start({ app: WS_ECHO, files: WS_FILES, own: true });
  const bare = await runOn(tcp(bareServer.port));
  assertEquals(sumUp(bare).others, WS);
  const project = await Project.create({
    files: { "app.ts": WS_ECHO, ...WS_FILES },
    config: { reload: { ...RELOAD, maxDraining: 8 } },
  });
  await cachePackages(project);
  await using server = await Server.startOn(project);
  await assertSame(server, { plain: tcp(project.port) }, bare);
});

/** Workers load by a frozen lock file only. */
async function cachePackages({ folder }: Project): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "app.ts"],
    cwd: folder,
  }).output();
  assert(success, new TextDecoder().decode(stderr));
}
