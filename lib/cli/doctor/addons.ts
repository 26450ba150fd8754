/** Packages of a project that have code of the machine's own. Nothing of them is run. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import type { AddonFacts } from "../../doctor/facts.ts";
import { foldersAbove } from "../../config/paths.ts";

/** What a package with an addon has in its folder, or in its name. */
const SIGNS = /^(binding\.gyp|prebuilds|build|bin|binding|.*\.node)$/;
const PLATFORM = /(linux|android|darwin|win32|freebsd)-?(x64|arm64|arm|ia32|universal|gnu|musl)?/;

/** So many folders of a package are looked into. */
const MAX_FOLDERS = 300;

/** Folders of a package that have nothing that runs. */
const SKIPPED = new Set(["node_modules", ".git", "test", "tests", "docs", "src", "deps"]);

/**
 * Those of the node_modules folders of projects, and of the folders above them; and of Deno's cache, as
 * far as a lock names them.
 */
export function findAddons(
  projects: readonly string[],
  locks: readonly string[],
  denoDir: string | undefined,
): AddonFacts[] {
  const folders = new Set(
    projects.flatMap((project) => [project, ...foldersAbove(project)])
      .map((folder) => join(folder, "node_modules")).filter((folder) => existsSync(folder)),
  );
  const found = new Map<string, AddonFacts>();
  const cached = denoDir === undefined ? [] : locks.flatMap((lock) => lockedIn(lock, denoDir));
  for (const { name, path } of [...[...folders].flatMap(packagesIn), ...cached]) {
    if (found.has(name)) continue;
    const file = addonOf(name, path);
    if (file !== undefined) found.set(name, { name, file });
  }
  return [...found.values()].sort((a, b) => a.name < b.name ? -1 : 1);
}

interface Package {
  readonly name: string;
  readonly path: string;
}

/** Also what Deno and pnpm keep in a folder of their own, where each package lies in a node_modules again. */
function packagesIn(folder: string): Package[] {
  return list(folder).flatMap((name) => {
    const path = join(folder, name);
    if (name === ".deno" || name === ".pnpm") {
      return list(path).flatMap((each) => packagesIn(join(path, each, "node_modules")));
    }
    if (name.startsWith(".")) return [];
    return name.startsWith("@")
      ? list(path).map((each) => ({ name: `${name}/${each}`, path: join(path, each) }))
      : [{ name, path }];
  });
}

/** Where Deno keeps packages, whichever registry they came from. */
const REGISTRY = "npm/registry.npmjs.org";

/** The packages that a lock names, as Deno's cache has them. */
function lockedIn(lock: string, denoDir: string): Package[] {
  try {
    const { npm = {} } = JSON.parse(readFileSync(lock, "utf8")) as { npm?: object };
    return Object.keys(npm).flatMap((id) => {
      const [, name, version] = /^(@?[^@]+)@([^_]+)/.exec(id) ?? [];
      return name && version ? [{ name, path: join(denoDir, REGISTRY, name, version) }] : [];
    });
  } catch {
    return [];
  }
}

/** The first addon in a package's folder; or what builds one, if it was not built. */
function addonOf(name: string, folder: string): string | undefined {
  const names = list(folder);
  if (!PLATFORM.test(name) && !names.some((each) => SIGNS.test(each))) {
    return names.includes("lib") && list(join(folder, "lib")).includes("binding")
      ? "lib/binding"
      : undefined;
  }
  const queue = [folder];
  for (let count = 0; queue.length > 0 && count < MAX_FOLDERS; count++) {
    const current = queue.shift()!;
    for (const each of entries(current)) {
      const path = join(current, each.name);
      if (each.isFile() && each.name.endsWith(".node")) return relative(folder, path);
      if (each.isDirectory() && !SKIPPED.has(each.name)) queue.push(path);
    }
  }
  return existsSync(join(folder, "binding.gyp")) ? "binding.gyp" : undefined;
}

function entries(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
