import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { Project, REPOSITORY } from "./project.ts";

/** The example as it is, but for its port and the way to Holdfast's own modules. */
export async function guestbookProject(): Promise<Project> {
  const source = join(REPOSITORY, "examples/guestbook");
  const files: Record<string, string> = {};
  for (const folder of ["", "helpers", "public"]) {
    for (const entry of Deno.readDirSync(join(source, folder))) {
      if (!entry.isFile || entry.name === "holdfast.jsonc") continue;
      const path = join(source, folder, entry.name);
      files[relative(source, path)] = await Deno.readTextFile(path);
    }
  }
  const link = "holdfast_helper.ts";
  files[link] = files[link]!.replace(
    /"(\.\.\/[^"]+)"/,
    (_, path) => JSON.stringify(pathToFileURL(join(dirname(join(source, link)), path)).href),
  );
  return await Project.create({
    files,
    config: {
      app: "./main.tsx",
      unveil: { "./public": "r", "./data/": "rwc" },
      helpers: {
        thumbnails: {
          module: "./helpers/thumbnails.ts",
          instances: 2,
          timeoutMs: 10_000,
          memoryBytes: 1_610_612_736,
        },
        notify: { module: "./helpers/notify.ts" },
      },
    },
  });
}
