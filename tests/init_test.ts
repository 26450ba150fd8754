/** The supervisor as process 1 of a PID namespace, as in a container. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { readStatus } from "./harness/process.ts";
import { Project, REPOSITORY } from "./harness/project.ts";
import { supervisorPermissions } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

/** The processes whose parent is `parent`, zombies too. */
function childrenOf(parent: number): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name))
    .filter((pid) => pid > 0 && Number(readStatus(pid)?.["PPid"]) === parent);
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`as process 1 it reaps orphans, reloads on HUP and exits 0 on ${signal}`, async () => {
    await using project = await Project.create();
    // util-linux; as root, or where user namespaces are allowed.
    const unshare = new Deno.Command("unshare", {
      args: [
        ...Deno.uid() === 0 ? [] : ["--user", "--map-root-user"],
        ...["--pid", "--fork", "--mount-proc", Deno.execPath(), "run"],
        ...[...supervisorPermissions(project), join(REPOSITORY, "main.ts"), "start", "--config"],
        project.configFile,
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
        args: ["--target", String(init), "--pid", "--mount", "sh", "-c", "(sleep 1 & echo left)"],
        stdin: "null",
        stdout: "null",
        stderr: "inherit",
      }).output();
      assertEquals(orphaned.code, 0);
      const isSleep = (pid: number) => readStatus(pid)?.["Name"] === "sleep";
      const orphan = await until("the orphan", () => childrenOf(init!).find(isSleep));
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
  });
}
