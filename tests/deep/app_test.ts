import { assert, assertEquals } from "@std/assert";
import { hasProgram } from "../../tools/programs.ts";
import { testWith } from "../harness/needs.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";

/** The version of Hono that this repository has in its own lock file. */
const HONO = "hono@4.13.19";

const APP = `
import { Hono } from "hono";
const app = new Hono();
app.get("/", (c) => c.text("from Hono"));
export default app;
`;

testWith(
  { missing: hasProgram("npm") ? undefined : "no npm" },
  "an app's imports resolve by what npm installs alone",
  async () => {
    const project = await Project.create({
      files: {
        "app.ts": APP,
        "package.json": JSON.stringify({ private: true, type: "module", dependencies: {} }),
      },
    });
    const { success, stderr } = await new Deno.Command("npm", {
      args: ["install", "--no-audit", "--no-fund", HONO],
      cwd: project.folder,
      stdin: "null",
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    await using server = await Server.startOn(project);
    assertEquals(await server.text("/"), "from Hono");
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await server.text("/"), "from Hono");
  },
);
