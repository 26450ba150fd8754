import { cp } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { Project, REPOSITORY } from "./project.ts";

/** A copy of the example, and of what it imports of Holdfast, in folders as in the repository. */
export async function copyGuestbook(): Promise<GuestbookCopy> {
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
  const copy = new GuestbookCopy(folder);
  await cp(join(REPOSITORY, "lib/helper/mod.ts"), join(folder, "lib/helper/mod.ts"));
  await cp(join(REPOSITORY, "examples/guestbook"), copy.path("."), {
    recursive: true,
    filter: (from) => !/\/(data|log|\.holdfast)$/.test(from),
  });
  return copy;
}

/** The example's project, to be changed. */
export class GuestbookCopy implements AsyncDisposable {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  get configFile(): string {
    return this.path("holdfast.jsonc");
  }

  path(relative: string): string {
    return join(this.#root, "examples/guestbook", relative);
  }

  /** Changes the text of a file. */
  async change(relative: string, from: string | RegExp, to: string): Promise<void> {
    const path = this.path(relative);
    const text = await Deno.readTextFile(path);
    if (text.search(from) < 0) throw new Error(`${path} has no ${from}`);
    await Deno.writeTextFile(path, text.replace(from, to));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#root, { recursive: true });
  }
}

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
