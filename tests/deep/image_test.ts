/** A generation goes on with what was planned, however often its workers die and whatever becomes of all files. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const HONO = "4.13.19";

/** Each of so many workers is killed so often: the waits for the next one grow with each time. */
const [WORKERS, ROUNDS] = [20, 5];

const FILES = {
  "deno.json": JSON.stringify({ imports: { hono: `npm:hono@${HONO}` }, lock: false }),
  "text.ts": `export const text: string = "as planned";`,
  "lazy.ts": `export const lazy: string = ", later too";`,
  "app.ts": `
    import { Hono } from "hono";
    import { text } from "./text.ts";
    const app = new Hono();
    app.get("/", async (context) => context.text(text + (await import("./lazy.ts")).lazy));
    export default app;
  `,
};

/** A DENO_DIR with one package of the user's in it, which is a test's to remove. */
async function copyCache(folder: string): Promise<void> {
  const args = ["info", "--json"];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
  const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
  const place = "npm/registry.npmjs.org/hono";
  await Deno.mkdir(join(folder, "npm/registry.npmjs.org"), { recursive: true });
  const from = join(denoDir, place);
  const copied = await new Deno.Command("cp", { args: ["-r", from, join(folder, place)] }).output();
  if (!copied.success) throw new Error(new TextDecoder().decode(copied.stderr));
}

Deno.test("workers that are killed a hundred times, with the project and DENO_DIR gone, come up as planned", async () => {
  const config = { runtime: "./run", workers: WORKERS };
  const project = await Project.create({ files: FILES, config });
  const denoDir = project.path("cache");
  await copyCache(denoDir);
  await using server = await Server.startOn(project, { env: { DENO_DIR: denoDir } });
  assertEquals(await server.text("/"), "as planned, later too");
  for (const { name } of Deno.readDirSync(project.folder)) {
    const kept = ["run", "holdfast.jsonc"].includes(name);
    if (!kept) await Deno.remove(project.path(name), { recursive: true });
  }
  for (let round = 0; round < ROUNDS; round++) {
    const killed = await server.workers();
    assertEquals(killed.length, WORKERS);
    for (const pid of killed) Deno.kill(pid, "SIGKILL");
    await until("as many others", async () => {
      const living = (await server.workers()).filter((pid) => !killed.includes(pid));
      return living.length === WORKERS;
    });
    const answers = await Promise.all(Array.from({ length: 100 }, () => server.text("/")));
    assertEquals(new Set(answers), new Set(["as planned, later too"]));
  }
});
