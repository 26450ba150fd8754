/** Unix sockets in `net`: what takes several servers, or an upgrade. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Held, HOLDING_APP } from "../harness/held.ts";
import { Wire } from "../harness/http.ts";
import { GATE, GATE_FILES, GATE_UNVEIL, untilWorkers } from "../harness/life.ts";
import { testWith } from "../harness/needs.ts";
import { tell } from "../harness/obeying_app.ts";
import { readStatus } from "../harness/process.ts";
import { Project, REPOSITORY } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import {
  ask,
  DIALLING,
  DIALLING_APP,
  idsOf,
  openProject,
  UNIX_SERVER,
  UnixServer,
} from "../harness/unix_server.ts";
import { until } from "../harness/wait.ts";

const DOUBLES = join(REPOSITORY, "tests/doubles");

const NATIVE = {
  ...UNIX_SERVER,
  missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64",
};

/** The supervisor's thread that dials as a user is nothing that this user could signal or look into. */
async function assertUnreachable(supervisor: number, uid: number): Promise<void> {
  const threads = [...Deno.readDirSync(`/proc/${supervisor}/task`)].map(({ name }) => Number(name));
  const dialling = threads.filter((tid) =>
    readStatus(tid)?.Uid?.split("\t").map(Number).join() === [0, uid, 0, uid].join()
  );
  assertEquals(dialling.length, 1);
  const { CapEff, CapPrm, Groups } = readStatus(dialling[0]!)!;
  assertEquals([CapEff, CapPrm, Groups?.trim()], ["0".repeat(16), "0".repeat(16), ""]);
  const attack =
    `for what in "kill -0 $$" "kill -0 $0" "head -c 1 /proc/$0/environ" "ls /proc/$0/fd"
    do $what >/dev/null 2>&1 && echo done || echo refused; done`;
  const { stdout } = await new Deno.Command("setpriv", {
    args: [
      ...[`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"],
      ...["sh", "-c", attack, `${dialling[0]}`],
    ],
    cwd: "/",
  }).output();
  const found = new TextDecoder().decode(stdout).trim().split("\n");
  assertEquals(found, ["done", "refused", "refused", "refused"]);
}

testWith(
  { programs: ["python3", "setpriv"], root: true },
  "a Unix socket that is closed to the worker's user is closed to the worker",
  async () => {
    await using closed = await UnixServer.start({ mode: 0o600 });
    for (const open of [true, false]) {
      const project = await Project.create({
        files: { "app.ts": DIALLING_APP },
        config: { net: [`unix:${closed.path}`] },
      });
      // Else its own account cannot reach the project, and it is uid 0 without any capability.
      if (open) await Deno.chmod(project.folder, 0o755);
      await Deno.chown(closed.path, open ? 0 : 12345, 0);
      await using server = await Server.startOn(project);
      const [worker] = await server.workers();
      const { uid } = idsOf(worker!);
      assertEquals(uid === 0, !open);
      assertEquals((await ask(server, closed.path)).denied, "PermissionDenied");
      const { reason, address } = await server.waitFor("dial_denied");
      assertStringIncludes(`${reason}`, `uid ${uid} may not connect to it`);
      assertEquals(address, `unix:${closed.path}`);
      if (open) await assertUnreachable(server.pid, uid);
      // It is told, and no alarm.
      assertEquals(await server.workers(), [worker]);
    }
  },
);

testWith(NATIVE, "a worker that dials a Unix socket which is not in net is replaced", async () => {
  await using echo = await UnixServer.start();
  await using other = await UnixServer.start();
  await using server = await Server.start({
    files: { "app.ts": `export { default } from "file://${DOUBLES}/native_app.ts";` },
    config: { net: [`unix:${echo.path}`] },
    entry: [join(DOUBLES, "wide_supervisor.ts")],
  });
  const ended = tell(
    server,
    `const to = Uint8Array.of(1, 0, ...new TextEncoder().encode("${other.path}"), 0);
    return native.call(42, native.call(41, 1, 1, 0), to, to.length);`,
  ).catch(() => {});
  const { how } = await server.waitFor("worker_lost");
  assertEquals(how, "tried connect (killed by SIGKILL)");
  await ended;
  assertEquals(other.peers.length, 0);
});

testWith(
  NATIVE,
  "a thread that waits for a server during an upgrade gets its answer after it",
  async () => {
    await using full = await UnixServer.start({ holds: true });
    await using server = await Server.start({
      files: { "app.ts": `export { default } from "file://${DOUBLES}/native_app.ts";` },
      config: {
        net: [`unix:${full.path}`],
        reload: { drainDeadlineMs: 60_000, idleGraceMs: 30_000 },
      },
      entry: [join(DOUBLES, "wide_supervisor.ts")],
    });
    // A thread of its own: the worker answers for itself meanwhile. Each try may wait for some seconds.
    const thread = `
    const { symbols } = Deno.dlopen("libc.so.6", {
      socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
      connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    });
    const to = Uint8Array.of(1, 0, ...new TextEncoder().encode("${full.path}"), 0);
    const NONBLOCK = 2048;
    while (symbols.connect(symbols.socket(1, 1 | NONBLOCK, 0), to, to.length) === 0);
    console.log("full");
    let tries = 0;
    while (symbols.connect(symbols.socket(1, 1, 0), to, to.length) !== 0 && ++tries < 40);
    postMessage(tries < 40 ? "connected" : "not connected");`;
    const code = `const thread = new Worker(${
      JSON.stringify(`data:text/javascript,${encodeURIComponent(thread)}`)
    }, { type: "module" });
return await new Promise((resolve) => thread.onmessage = ({ data }) => resolve(data));`;
    using wire = await Wire.open(server.project.port);
    await wire.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${code.length}\r\n\r\n${code}`);
    await server.waitFor("worker_output");
    server.signal("SIGUSR2");
    await server.waitFor("serving", 2);
    await full.accept();
    let text = "";
    for await (const piece of wire.body(await wire.head())) text += new TextDecoder().decode(piece);
    assertEquals(JSON.parse(text), { ok: "connected" });
  },
);

testWith(
  UNIX_SERVER,
  "an old worker dials its Unix sockets after an upgrade, as itself",
  async () => {
    await using echo = await UnixServer.start();
    const app = HOLDING_APP.replace("export default", "const holding =") + DIALLING + `
    export default {
      fetch(request) {
        const url = new URL(request.url);
        return url.searchParams.has("path") ? answer(url) : holding.fetch(request);
      },
    };`;
    const project = await openProject({
      files: { "app.ts": app, ...GATE_FILES },
      config: {
        unveil: GATE_UNVEIL,
        net: [`unix:${echo.path}`],
        reload: { drainDeadlineMs: 60_000, idleGraceMs: 30_000 },
      },
    });
    await using server = await Server.startOn(project);
    const [worker] = await server.workers();
    const expected = idsOf(worker!);
    using held = await Held.begin(server.project);
    await server.project.write("app.ts", app + GATE);
    server.signal("SIGUSR2");
    await untilWorkers(server, 2);
    await server.project.write("gate/open", "");
    await server.waitFor("upgrading");
    await until("the exec", async () => {
      return await server.status().then((status) => status.upgrades === 1, () => false);
    });
    // The new one waits at the gate: the old one answers.
    const { uid, gid } = (await ask(server, echo.path)).ok!;
    assertEquals({ uid, gid }, expected);
    await server.project.write("gate/open", "");
    await server.waitFor("serving", 2);
    assertEquals((await ask(server, echo.path)).ok?.uid, expected.uid);
    assertEquals(await held.release(), "one whole");
    assertEquals(server.eventsOf("dial_denied"), []);
  },
);
