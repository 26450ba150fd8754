/** Finds what is watched: of the config, the settings of its projects, and the images that were made. */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { readProject } from "../config/project.ts";
import { findProject, SETTINGS_FILES } from "../config/project_files.ts";
import { realPlace } from "../config/real_place.ts";
import type { ConfigText } from "../config/runtime_place.ts";
import { imagesIn, isFolder } from "../supervisor/image_store.ts";
import { staticPaths, type Watched } from "./watched.ts";

/** Where the text of an image has its modules. */
const IMAGE = /^globalThis\[Symbol\.for\("holdfast\.image"\)\] = (.*);$/m;

/** What a project is made of, as far as that is known. */
export function watchedOf(
  { named, file, folder, raw }: Pick<ConfigText, "named" | "file" | "folder" | "raw">,
  runtime: string,
): Watched {
  const modules = [raw.app, ...helperModules(raw.helpers)]
    .flatMap((each) => typeof each === "string" ? [resolve(folder, each)] : []);
  const projects = [...new Set(modules.map(findProject))];
  const roots = [...new Set([folder, ...projects, ...modules.map((each) => dirname(each))])];
  const envFile = typeof raw.envFile === "string" ? [resolve(folder, raw.envFile)] : [];
  const settings = projects.flatMap((project) => {
    try {
      return readProject({ module: project, project }).settings;
    } catch {
      // What is wrong with them the planner says.
      return [];
    }
  });
  const files = new Set([
    ...[named, file, ...modules, ...envFile, ...settings],
    ...[...roots].flatMap((root) => SETTINGS_FILES.map((name) => join(root, name))),
    ...modulesIn(imagesIn(runtime)),
  ]);
  // A link stays the same when what it leads to is saved.
  for (const file of [...files]) files.add(realPlace(file));
  const own = roots.filter((root) => root !== "/");
  return { roots: own, files, statics: staticPaths(raw.unveil, folder, own) };
}

function helperModules(helpers: unknown): unknown[] {
  if (typeof helpers !== "object" || helpers === null) return [];
  return Object.values(helpers).map((each) => (each as { module?: unknown } | null)?.module);
}

/** The local files of all images: those of a version that is gone do no harm. */
function modulesIn(images: string): string[] {
  if (!isFolder(images)) return [];
  const texts = [...Deno.readDirSync(images)].filter(({ name }) => /^[0-9a-f]{64}$/.test(name))
    .flatMap(({ name }) =>
      [...Deno.readDirSync(join(images, name))].map((part) =>
        join(images, name, part.name, "image.js")
      )
    );
  return texts.flatMap((path) => {
    try {
      const [, image = "{}"] = IMAGE.exec(Deno.readTextFileSync(path)) ?? [];
      const { modules = {} } = JSON.parse(image) as { modules?: Record<string, unknown> };
      return Object.keys(modules).filter((url) => url.startsWith("file:"))
        .map((url) => fileURLToPath(url.replace(/\?.*$/, "")));
    } catch {
      // It was removed just now, or is no folder of a process.
      return [];
    }
  });
}
