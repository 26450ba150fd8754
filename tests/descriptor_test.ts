/** What the supervisor has open stays with it: a process gets what it is handed, and nothing else. */
import { assert, assertEquals } from "@std/assert";
import { PLAIN_APP, Project } from "./harness/project.ts";
import { Server } from "./harness/server.ts";

const HELPER = `
const anything = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
export default { echo: { input: anything, output: anything, handle: (value) => value } };
`;

/** Every listening socket of the machine by its inode: the path, or the port. */
function listeningSockets(): Map<string, string> {
  const found = new Map<string, string>();
  const rows = (path: string) =>
    Deno.readTextFileSync(path).trim().split("\n").slice(1).map((row) => row.trim().split(/\s+/));
  // Flag 0x10000 is __SO_ACCEPTCON; state 0A is TCP_LISTEN.
  for (const [, , , flags, , , inode, path] of rows("/proc/net/unix")) {
    if (flags === "00010000") found.set(inode!, path ?? "");
  }
  for (const row of rows("/proc/net/tcp")) {
    if (row[3] === "0A") found.set(row[9]!, String(parseInt(row[1]!.split(":")[1]!, 16)));
  }
  return found;
}

/** What a process could take connections from. */
function listenersOf(pid: number): string[] {
  const sockets = listeningSockets();
  return Array.from(Deno.readDirSync(`/proc/${pid}/fd`), ({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
    } catch {
      return "";
    }
  }).flatMap((link) => sockets.get(/^socket:\[(\d+)\]$/.exec(link)?.[1] ?? "") ?? []).sort();
}

Deno.test("a worker holds its own listeners alone, a helper none, and neither the control socket", async () => {
  const project = await Project.create({
    files: { "app.ts": PLAIN_APP, "helper.ts": HELPER },
    config: { helpers: { echo: { module: "./helper.ts" } } },
  });
  const socket = project.path("app.sock");
  await project.configure({ listen: [`127.0.0.1:${project.port}`, `unix:${socket}`] });
  await using server = await Server.startOn(project);
  const roles = new Map(
    server.events.filter(({ event }) => event === "worker_ready")
      .map(({ role, pid }) => [role as string, pid as number]),
  );
  assertEquals([...roles.keys()].sort(), ["helper echo.0", "worker"]);
  const supervisor = server.events.find(({ event }) => event === "serving")!["pid"] as number;
  // The test itself must see what it says is not there.
  assert(listenersOf(supervisor).some((path) => path.endsWith("control.sock")));
  assertEquals(listenersOf(roles.get("worker")!), [socket, String(project.port)]);
  assertEquals(listenersOf(roles.get("helper echo.0")!), []);
});
