/** An error of the app's shows where it was thrown, and ends no worker, whatever became of the files. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Held } from "./harness/held.ts";
import { testWith } from "./harness/needs.ts";
import { isAlive, processesIn } from "./harness/process.ts";
import { HOLDFAST, Project, REPOSITORY } from "./harness/project.ts";
import { runLongCommand, Server } from "./harness/server.ts";
import { mountSmall, whyNoSmallDisk } from "./harness/small_disk.ts";
import { until } from "./harness/wait.ts";

/** How long an upgrade by a command may take. */
const LONG_MS = 120_000;

/** In it the line that throws is another one than in what it is compiled to. */
const PRICE = (version: string) => `
interface Order { readonly sum: number; readonly price: number }

type Checked = (order: Order) => number;

export const VERSION = "${version}";
export const check: Checked = ({ sum, price }: Order): number => {
  if (sum + price * 1.2 > 0) throw new Error("too much of " + VERSION);
  return sum;
};
`;

const PAGE = `
interface Props { readonly price: number }
declare namespace JSX { interface IntrinsicElements { b: unknown } }
const h = (_: string, __: unknown, ...children: unknown[]) => children.join("");

export const page = ({ price }: Props): unknown => {
  const rows: string[] = [];
  return <b>{rows[price * 2 + 1].length}</b>;
};
`;

/** Says where its errors were thrown; a request to \`/hold\` does when it has ended. */
const APP = `
import { check, VERSION } from "./price.ts";
import { page } from "./page.tsx";
const encoder = new TextEncoder();
function stackOf(order: () => unknown): string {
  try {
    return String(order());
  } catch (error) {
    return VERSION + " " + (error as Error).stack!;
  }
}
export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/pid") return new Response(String(Deno.pid));
    if (pathname === "/jsx") return new Response(stackOf(() => page({ price: 7 })));
    if (pathname === "/throw") check({ sum: 1, price: 2 });
    if (pathname !== "/hold") return new Response(stackOf(() => check({ sum: 1, price: 2 })));
    return new Response(new ReadableStream({
      async start(controller) {
        controller.enqueue(encoder.encode("held "));
        await request.text();
        controller.enqueue(encoder.encode(stackOf(() => check({ sum: 1, price: 2 }))));
        controller.close();
      },
    }));
  },
};
`;

const FILES = {
  "app.ts": APP,
  "price.ts": PRICE("one"),
  "page.tsx": PAGE,
  "deno.json": JSON.stringify({
    compilerOptions: { jsx: "react", jsxFactory: "h" },
  }),
};

/** A newer version: its error is thrown some lines further down. */
function newer(version: string): string {
  return `// A comment.\n\n// Another one.\n${PRICE(version)}`;
}

/** As an editor or an operator does, who looks whether the newer version is right. */
async function checkByHand(project: Project): Promise<void> {
  const args = ["cache", "--quiet", "--no-lock", "app.ts"];
  const { success } = await new Deno.Command(Deno.execPath(), { args, cwd: project.folder })
    .output();
  assert(success);
}

/** Has the app throw in every way, and looks whether it lives and knows the lines. */
async function assertThrows(server: Server, version: string, line: number): Promise<void> {
  const pid = await server.text("/pid");
  assertMatch(await server.text("/"), new RegExp(`^${version} .*price\\.ts:${line}:\\d+`, "s"));
  assertMatch(await server.text("/jsx"), /page\.tsx:8:\d+/);
  const threw = server.eventsOf("worker_output").length;
  const response = await server.get("/throw");
  assertEquals(response.status, 500);
  await response.body?.cancel();
  const { text } = await server.waitFor("worker_output", threw + 1);
  assertStringIncludes(String(text), `price.ts:${line}:`);
  assertEquals(await server.text("/pid"), pid);
}

/** Folders in which code is kept compiled. */
function foldersOf({ runtime }: Project): string[] {
  return Array.from(Deno.readDirSync(runtime), ({ name }) => name)
    .filter((name) => name.startsWith("deno_dir_"));
}

const ONE_LINE = 8;
const NEWER_LINE = ONE_LINE + 3;

Deno.test("an app's error names its line and ends no worker: after reloads, a replacement, an upgrade, and in a drain", async (t) => {
  await using server = await Server.start({
    files: FILES,
    config: { reload: { idleGraceMs: 100, drainDeadlineMs: 60_000 } },
  });
  const { project } = server;

  await t.step("a newer version of the files was checked by hand", async () => {
    await project.write("price.ts", newer("checked"));
    await checkByHand(project);
    await assertThrows(server, "one", ONE_LINE);
  });

  await t.step("a reload was refused", async () => {
    const app = "export function open() { throw new Error('no good') }\n" + APP;
    await project.write("app.ts", app);
    assertEquals((await server.reload()).outcome, "refused");
    await assertThrows(server, "one", ONE_LINE);
    assertEquals(foldersOf(project).length, 1);
    await project.write("app.ts", APP);
  });

  // The runtime keeps what it once looked up: those that drain must not have thrown before.
  await t.step("in a drain, while the newer version serves", async () => {
    assertEquals((await server.reload()).outcome, "done");
    using held = await Held.begin(project);
    await project.write("price.ts", PRICE("two"));
    await checkByHand(project);
    assertEquals((await server.reload()).outcome, "done");
    await assertThrows(server, "two", ONE_LINE);
    const line = new RegExp(`^held checked .*price\\.ts:${NEWER_LINE}:\\d+`, "s");
    assertMatch(await held.release(), line);
    await server.waitFor("generation_ended", 2);
    await until("one folder alone", () => foldersOf(project).length === 1);
  });

  await t.step(
    "a worker that takes another's place runs changed files, nobody having reloaded",
    async () => {
      await project.write("price.ts", newer("changed"));
      const pid = Number(await server.text("/pid"));
      Deno.kill(pid, "SIGKILL");
      await until("another worker", async () => {
        return await server.text("/pid").then((text) => Number(text) !== pid, () => false);
      });
      await assertThrows(server, "changed", NEWER_LINE);
    },
  );

  await t.step("in the drain of an upgrade, and after it", async () => {
    assertEquals((await server.reload()).outcome, "done");
    using held = await Held.begin(project);
    await project.write("price.ts", PRICE("upgraded"));
    const done = await runLongCommand(LONG_MS, project, "upgrade");
    assertEquals(done.code, 0, done.stderr);
    await assertThrows(server, "upgraded", ONE_LINE);
    const line = new RegExp(`^held changed .*price\\.ts:${NEWER_LINE}:\\d+`, "s");
    assertMatch(await held.release(), line);
    await server.waitFor("former_process_ended");
    await until("one folder alone", () => foldersOf(project).length === 1);
  });
});

Deno.test("compiled code that a supervisor left when it was killed is removed at the next start", async () => {
  const config = { reload: { idleGraceMs: 100 } };
  const project = await Project.create({ files: FILES, config });
  const start = [`${HOLDFAST}/main.ts`, "start", "--config", project.configFile];
  const killed = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", ...start],
    cwd: REPOSITORY,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  await until("it serves", () => {
    return fetch(`${project.origin}/pid`).then((response) => response.text(), () => undefined);
  });
  const left = foldersOf(project);
  assertEquals(left.length, 1);
  killed.kill("SIGKILL");
  await killed.status;
  await until("its worker to leave", () => !processesIn(project.folder).some(isAlive));
  await using server = await Server.startOn(project);
  await assertThrows(server, "one", ONE_LINE);
  const now = foldersOf(project);
  assertEquals([now.length, now.includes(left[0]!)], [1, false]);
});

testWith(
  { missing: whyNoSmallDisk() },
  "a reload that has no room for compiled code is refused with the reason, and the old version goes on",
  async () => {
    const project = await Project.create({ files: FILES, config: { runtime: "./run" } });
    await Deno.mkdir(project.runtime);
    const disk = await mountSmall(project.runtime);
    await using server = await Server.startOn(project);
    // Before the server looks what it has left behind, its folder must be an ordinary one.
    await using unmounting = new AsyncDisposableStack();
    unmounting.defer(async () => {
      await server.stop();
      await disk?.[Symbol.asyncDispose]();
    });
    const ballast = project.path("run/ballast");
    await Deno.writeFile(ballast, new Uint8Array(2 ** 20)).catch(() => {});
    await project.write("price.ts", newer("two") + "//".padEnd(64 * 1024, "x"));
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertMatch(reason!, /Cannot keep compiled code in .*No space left/);
    await assertThrows(server, "one", ONE_LINE);
    assertEquals(foldersOf(project).length, 1);
    await Deno.remove(ballast);
    assertEquals((await server.reload()).outcome, "done");
    await assertThrows(server, "two", NEWER_LINE);
    await server.stop();
    assertEquals(foldersOf(project), []);
  },
);
