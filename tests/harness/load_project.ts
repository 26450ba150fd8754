/** A throw-away project with the app that load tests are served with. */
import { join } from "node:path";
import { Project, REPOSITORY } from "./project.ts";

const LOAD = join(REPOSITORY, "tests/load");

/** The load app, and what a client in front of a balancer wants to know besides. */
const MAIN = `
import app from "./app.ts";

app.get("/headers", (c) => c.json(c.req.header()));
app.post("/empty", (c) => c.text("ok\\n"));

export default app;
`;

/** Makes one, with its packages in the cache: workers load by a frozen lock file only. */
export async function loadProject(
  config: Readonly<Record<string, unknown>> = {},
): Promise<Project> {
  const { imports } = JSON.parse(await Deno.readTextFile(join(REPOSITORY, "deno.json")));
  const project = await Project.create({
    files: {
      "main.ts": MAIN,
      "app.ts": await Deno.readTextFile(join(LOAD, "app.ts")),
      "version.ts": await Deno.readTextFile(join(LOAD, "version.ts")),
      "deno.json": JSON.stringify({ imports: { hono: imports.hono } }),
    },
    config: { app: "./main.ts", ...config },
  });
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "main.ts"],
    cwd: project.folder,
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return project;
}

/** Changes which generation the next reload's app says it is. */
export async function writeGeneration(project: Project, generation: string): Promise<void> {
  await project.write("version.ts", `export const GENERATION = ${JSON.stringify(generation)};\n`);
}
