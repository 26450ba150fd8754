/** Workers of root have no capabilities; what that closes to them is told. */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { HoldfastError } from "../lib/base/error.ts";
import type { Unveil } from "../lib/config/config.ts";
import { readProcess } from "../lib/os/file.ts";
import { type Files, judgePaths } from "../lib/planner/judge_paths.ts";
import { requireConfined } from "../lib/supervisor/require_confined.ts";
import type { WorkerProcess } from "../lib/supervisor/worker_process.ts";
import { makeConfig } from "./harness/config.ts";
import { testWith } from "./harness/needs.ts";
import { denial, OBEYING_APP, tell } from "./harness/obeying_app.ts";
import { readStatus } from "./harness/process.ts";
import { Project } from "./harness/project.ts";
import { Server } from "./harness/server.ts";

// The C library is loaded by the first call and stays, which is no leak of a test.
readProcess(Deno.pid, "status");

const NONE = "0".repeat(16);
const NOBODY = 65_534;

Deno.test("a path is closed to root without capabilities by owner, group and mode", () => {
  const modes: Record<string, [uid: number, gid: number, mode: number]> = {
    "/": [0, 0, 0o755],
    "/home": [0, 0, 0o755],
    "/home/open": [1000, 1000, 0o755],
    "/home/open/data": [1000, 1000, 0o755],
    "/home/open/shared": [1000, 1000, 0o777],
    "/home/open/group": [1000, 0, 0o770],
    "/home/open/root": [0, 0, 0o700],
    "/home/closed": [1000, 1000, 0o750],
    "/home/closed/root": [0, 0, 0o777],
  };
  const files: Files = {
    look: (path) => {
      const [uid, gid, mode] = modes[path] ?? [null, null, null];
      return { uid, gid, mode };
    },
    real: (path) => path,
    list: () => [],
    read: () => "",
  };
  const place = (code: string) => ({ isRoot: true, code, program: "/usr/bin/deno" });
  const closed = (path: string, rights: string, change = {}) => {
    const unveil: Unveil[] = [{ path, rights, exists: true, folder: true }];
    const config = makeConfig({ unveil, wall: "kernel", ...change });
    return judgePaths(config, undefined, place("/home/images"), files).closed
      .map(({ path }) => path);
  };
  const error = assertThrows(
    () =>
      judgePaths(
        makeConfig({ wall: "kernel" }),
        undefined,
        place("/home/closed/root/images"),
        files,
      ),
    HoldfastError,
    "/home/closed,",
  );
  assertEquals([error.kind, error.code], ["config", "code_unreadable"]);
  assertEquals(closed("/home/open/data", "r"), []);
  assertEquals(closed("/home/open/data", "rw"), ["/home/open/data"]);
  assertEquals(closed("/home/open/data", "c"), ["/home/open/data"]);
  for (const name of ["shared", "group", "root"]) {
    assertEquals(closed(`/home/open/${name}`, "rwc"), []);
  }
  assertEquals(closed("/home/closed/root", "r"), ["/home/closed/root"]);
  assertEquals(closed("/home/closed/root", "r", { wall: "deno" }), []);
  const account = { user: "www", uid: 33, gid: 33 };
  assertEquals(closed("/home/closed/root", "r", { account }), []);
});

testWith(
  { root: true },
  "a worker of root uses no other owner's files, and the log names those that are unveiled",
  async () => {
    const project = await Project.create({
      files: { "app.ts": OBEYING_APP, "own/file": "own", "others/file": "others" },
      config: { unveil: { "./own": "rwc", "./others": "rwc" } },
    });
    Deno.chownSync(project.path("others/file"), NOBODY, NOBODY);
    Deno.chmodSync(project.path("others/file"), 0o600);
    Deno.chownSync(project.path("others"), NOBODY, NOBODY);
    Deno.chmodSync(project.path("others"), 0o700);
    await using server = await Server.startOn(project);
    const [pid] = await server.workers();
    const status = readStatus(pid!)!;
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"]) {
      assertEquals(status[set], NONE, set);
    }
    assertEquals(server.eventsOf("path_closed").map(({ path }) => path), [project.path("others")]);
    assertEquals((await tell(server, `return Deno.readTextFileSync("own/file")`)).ok, "own");
    assertEquals(await denial(server, `Deno.readTextFileSync("others/file")`), "PermissionDenied");
    assertEquals(
      await denial(server, `Deno.writeTextFileSync("others/new", "")`),
      "PermissionDenied",
    );
  },
);

testWith(
  { root: true },
  "a worker of root whose code lies in a folder that is closed to it is refused with what to set",
  async () => {
    const project = await Project.create();
    Deno.chownSync(project.folder, NOBODY, NOBODY);
    Deno.chmodSync(project.folder, 0o700);
    await using server = await Server.startOn(project, { wait: "exit" });
    assertEquals((await server.exited()).code, 78);
    assertStringIncludes(server.log, `cannot enter ${project.folder}`);
    assertStringIncludes(server.log, "Set user in");
  },
);

Deno.test("a process that is not held as it was meant to be is given nothing", () => {
  const worker = (change = {}) =>
    ({ pid: Deno.pid, confined: true, displayName: "Worker 1", ...change }) as WorkerProcess;
  const error = assertThrows(() => requireConfined(worker()), HoldfastError, "Seccomp is 0");
  assertEquals(error.code, "wall_missing");
  const account = { uid: 12_345, gid: 12_345 };
  assertThrows(() => requireConfined(worker({ account })), HoldfastError, "Uid is ");
  // The kernel does not show it.
  const gone = { pid: 2 ** 22 + 1 };
  requireConfined(worker(gone));
  assertThrows(
    () => requireConfined(worker({ ...gone, confined: false })),
    HoldfastError,
    "it was not asked about",
  );
});
