import { join } from "node:path";
import { Project, REPOSITORY } from "./project.ts";

/** The example as it is, but for its port. */
export async function guestbookProject(): Promise<Project> {
  const source = join(REPOSITORY, "examples/guestbook");
  const files: Record<string, string> = {};
  for (const path of ["", "public/"]) {
    for (const entry of Deno.readDirSync(join(source, path))) {
      if (!entry.isFile || entry.name === "holdfast.jsonc") continue;
      files[path + entry.name] = await Deno.readTextFile(join(source, path, entry.name));
    }
  }
  return await Project.create({
    files,
    config: { app: "./main.tsx", unveil: { "./public": "r", "./data/": "rwc" } },
  });
}
