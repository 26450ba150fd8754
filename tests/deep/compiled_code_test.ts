/** What Deno has compiled for processes that start later is written by none that is behind the wall. */
import { assert, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { until } from "../harness/wait.ts";
import { Server } from "../harness/server.ts";

/** Modules of Deno's that Holdfast does not import: each process compiles them, and would keep that. */
const app = (version: string) => `
  import "node:dgram";
  import "node:vm";
  import "node:zlib";
  export default { fetch: () => new Response("${version}") };
`;

/** The files of the settings that images share, with digests of what is in them. */
function settingsIn(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (path: string): void => {
    for (const { name, isDirectory, isFile } of Deno.readDirSync(path)) {
      const inner = join(path, name);
      if (isDirectory) visit(inner);
      else if (isFile) {
        found[inner] = createHash("sha256").update(Deno.readFileSync(inner)).digest("hex");
      }
    }
  };
  visit(folder);
  return found;
}

Deno.test("what Deno has compiled for later processes is written by no worker", async () => {
  await using server = await Server.start({
    files: { "app.ts": app("one") },
    config: { reload: { idleGraceMs: 100 } },
  });
  const { project } = server;
  const folder = project.path(".holdfast/images/settings");
  const before = settingsIn(folder);
  assert(Object.keys(before).some((path) => path.includes("/deno_dir/v8_code_cache")), "a cache");
  for (const version of ["two", "three"]) {
    await project.write("app.ts", app(version));
    assertEquals((await server.reload()).outcome, "done", server.log);
    assertEquals(await server.text("/"), version);
  }
  const serving = async () => {
    const { generations } = await server.status();
    return generations.find(({ state }) => state === "serving")?.workers[0]?.process?.pid;
  };
  const killed = await serving();
  Deno.kill(killed!, "SIGKILL");
  await until("another worker", async () => ![undefined, killed].includes(await serving()));
  assertEquals(settingsIn(folder), before);
});
