/**
 * The guestbook as people use it, in a real browser, and an app of all parts of the runtime, behind the
 * whole wall: what the kernel refuses meanwhile is written down by strace, and must be what the runtime
 * is known to do without.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { guestbookProject } from "../harness/guestbook.ts";
import { testWith } from "../harness/needs.ts";
import { packageProgram } from "../harness/packages.ts";
import { freePort } from "../harness/ports.ts";
import { REPOSITORY } from "../harness/project.ts";
import { Server } from "../harness/server.ts";

const CHROMIUM = "/usr/bin/chromium";

/** Refusals that are no alarm, each with what the runtime does instead. */
const KNOWN: readonly [pattern: RegExp, why: string][] = [
  [/^clone3\(.* ENOSYS /, "libc asks again with clone"],
  [/^fchown\(/, "SQLite gives root's files to the owner of the database, if it may"],
  [/^ioctl\(\d+, TCGETS/, "a look whether a device is a terminal"],
  [/^openat\(AT_FDCWD, "\/(proc|sys)\//, "sizes of the machine; there are defaults"],
  [/^openat\(AT_FDCWD, "\/etc\/(passwd|nsswitch\.conf)"/, "the home folder, where HOME is not set"],
  [/^socket\(AF_UNIX, /, "the cache of the name service, on the way to the home folder"],
  [
    /^(openat|unlink)\(.*\/(dep_analysis|node_analysis|v8_code)_cache_v2/,
    "Deno goes on without it",
  ],
  [/^(mkdir|symlink|readlink)\(.*\/node_compat_bin/, "a name for programs that it may not start"],
  [/^openat\(AT_FDCWD, "[^"]*\/\.npmrc"|^mkdir\(.*\/deno_dir\/npm"/, "Deno looks for npm packages"],
  [/^openat\(AT_FDCWD, "[^"]*\/\.holdfast\/lock"/, "the spawner's own probe of Landlock"],
  [/^pidfd_open\(/, "the runtime waits for children by SIGCHLD instead"],
  [
    /^prlimit64\(\d+, RLIMIT_\w+, NULL/,
    "the supervisor, where it may set limits by the user's ids alone",
  ],
  [/^readlink\("\//, "the runtime looks where its own program lies, which may be a closed home"],
  [/^sched_getaffinity\(\d+/, "libc asks about its own threads by number"],
  [/^rt_sigreturn\(/, "what a call was answered before a signal came"],
  [/^kill\(\d+, SIGKILL\)/, "a planner's runtime forgets programs that have ended"],
];

/** One pixel. */
const PNG = Uint8Array.from(
  atob(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  ),
  (character) => character.charCodeAt(0),
);

/** Has strace write down what fails in a server and all that it starts; it ends with the server. */
async function watchRefusals(server: Server): Promise<() => Promise<string[]>> {
  const folder = await Deno.makeTempDir();
  // Fast enough: its first worker is spawned a bundling later.
  const strace = new Deno.Command("strace", {
    // A file for each thread: in one file a call is split where another thread's comes between.
    args: ["-ff", "-qq", "-Z", "-s", "256", "-o", `${folder}/t`, "-p", `${server.pid}`],
    stdin: "null",
    stderr: "null",
  }).spawn();
  return async () => {
    await strace.status;
    return [...Deno.readDirSync(folder)]
      .flatMap(({ name }) => Deno.readTextFileSync(`${folder}/${name}`).split("\n"))
      .filter((line) => /= -1 (EPERM|EACCES|ENOSYS) |^--- SIGSYS/.test(line));
  };
}

function assertKnown(server: Server, refused: readonly string[]): void {
  // Without these, nobody was behind a wall, or nobody looked.
  assert(refused.some((line) => line.startsWith("clone3(")), "no worker was seen");
  assert(refused.some((line) => line.includes("/.holdfast/lock")), "no spawner was seen");
  assertEquals(refused.filter((line) => !KNOWN.some(([pattern]) => pattern.test(line))), []);
  // A library that is told nothing may complain.
  const alarms = ["exec_denied", "call_denied", "worker_lost", "worker_violation", "worker_output"];
  for (const alarm of alarms) assertEquals(server.eventsOf(alarm), []);
}

testWith(
  { programs: ["chromium", "strace"], root: true },
  "in a browser, with SQLite and over reloads, the wall refuses nothing that the guestbook needs",
  async () => {
    const project = await guestbookProject();
    await using server = await Server.startOn(project, { wait: "nothing" });
    const refusals = await watchRefusals(server);
    await server.waitFor("serving");
    await useGuestbook(server);
    assertEquals((await server.stop()).code, 0);
    assertKnown(server, await refusals());
  },
);

/** Has a browser use the guestbook, and reloads where that wants it. */
async function useGuestbook(server: Server): Promise<void> {
  const photo = server.project.path("photo.png");
  await Deno.writeFile(photo, PNG);
  const [command, ...args] = packageProgram(
    "browse_guestbook.ts",
    server.project.origin,
    CHROMIUM,
    photo,
  );
  const child = new Deno.Command(command, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const complaints = new Response(child.stderr).text();
  const orders = child.stdin.getWriter();
  let reloads = 0;
  for await (const _line of child.stdout) {
    assertEquals((await server.hangUp()).event, "reload_done");
    reloads++;
    await orders.write(new TextEncoder().encode("done\n"));
  }
  await orders.close().catch(() => {});
  assertEquals((await child.status).code, 0, await complaints);
  assertEquals(reloads, 2);
}

for (const engine of ["native", "node"]) {
  testWith(
    { programs: ["strace"], root: true },
    `the wall refuses nothing that an app of all parts of the runtime needs, on the ${engine} engine`,
    async () => {
      const [port, helperPort] = [freePort(), freePort()];
      await using server = await Server.start({
        files: {
          "app.ts": await Deno.readTextFile(join(REPOSITORY, "tests/doubles/busy_app.ts")),
          "data/file.txt": "",
        },
        config: {
          engine,
          listen: [`127.0.0.1:${port}`, "unix:./app.sock"],
          metrics: { listen: `127.0.0.1:${helperPort}` },
          log: { folder: "./log" },
          unveil: { "./data": "rwc" },
          net: [`localhost:${port}`],
        },
        wait: "nothing",
      });
      const refusals = await watchRefusals(server);
      await server.waitFor("serving");
      const ask = async (path: string) =>
        await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
      const parts: string[] = JSON.parse(await ask("/"));
      assert(parts.length > 5);
      for (const part of parts) assertEquals(await ask(`/${part}?port=${port}`), "done", part);
      await (await fetch(`http://127.0.0.1:${helperPort}/metrics`)).text();
      assertEquals((await server.hangUp()).event, "reload_done");
      assertEquals((await server.stop()).code, 0);
      assertKnown(server, await refusals());
    },
  );
}
