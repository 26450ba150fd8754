/** The supervisor as process 1 of a PID namespace, as in a container. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { findMissing, type Needs } from "./needs.ts";
import { readStatus } from "./process.ts";
import { HOLDFAST, Project } from "./project.ts";
import { supervisorPermissions } from "./server.ts";
import { until } from "./wait.ts";

/** util-linux; as root, or where user namespaces are allowed. */
const UNSHARE = [
  ...Deno.uid() === 0 ? [] : ["--user", "--map-root-user"],
  ...["--pid", "--fork", "--mount-proc"],
];

/** What it takes to be process 1 here. */
export function firstProcessNeeds(): Needs {
  const programs = ["nsenter", "unshare"] as const;
  if (findMissing({ programs }) !== undefined) return { programs };
  const { success } = new Deno.Command("unshare", {
    args: [...UNSHARE, "true"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).outputSync();
  return success ? {} : { missing: "no PID namespace to be had" };
}

/** The processes whose parent is `parent`, zombies too. */
function childrenOf(parent: number): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name))
    .filter((pid) => pid > 0 && Number(readStatus(pid)?.["PPid"]) === parent);
}

/** Has it serve, leaves it an orphan, reloads it, and ends it. */
export async function liveAsFirstProcess(signal: "SIGTERM" | "SIGINT"): Promise<void> {
  await using project = await Project.create();
  const unshare = new Deno.Command("unshare", {
    args: [
      ...UNSHARE,
      ...[Deno.execPath(), "run", ...supervisorPermissions(project), join(HOLDFAST, "main.ts")],
      ...["start", "--config", project.configFile],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let ended = false;
  void unshare.status.then(() => ended = true);
  try {
    const answer = () => fetch(project.origin).then((response) => response.text(), () => "");
    await until("it to serve", async () => {
      assert(!ended, "it ended; does unshare work here?");
      return await answer() === "one /";
    });
    const [init] = childrenOf(unshare.pid);
    assertEquals(readStatus(init!)!["NSpid"]!.split(/\s+/).at(-1), "1");
    // A shell in its namespace leaves a child behind, as docker exec does.
    const orphaned = await new Deno.Command("nsenter", {
      args: ["--target", String(init), "--pid", "--mount", "sh", "-c", "(sleep 600 & echo left)"],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).output();
    assertEquals(orphaned.code, 0);
    const isSleep = (pid: number) => readStatus(pid)?.["Name"] === "sleep";
    const orphan = await until("the orphan", () => childrenOf(init!).find(isSleep));
    Deno.kill(orphan, "SIGTERM");
    await until("the orphan to be reaped", () => readStatus(orphan) === undefined);
    await project.write("app.ts", 'export default { fetch: () => new Response("two") };');
    Deno.kill(init!, "SIGHUP");
    await until("the new code", async () => await answer() === "two");
    Deno.kill(init!, signal);
    assertEquals((await unshare.status).code, 0);
  } finally {
    if (!ended) { for (const pid of childrenOf(unshare.pid)) Deno.kill(pid, "SIGKILL"); }
    await unshare.status;
  }
}
