/** Makes the image of an app at a build, in a form that does not know where anything lies. */
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { createHash } from "node:crypto";
import type { Config } from "../config/config.ts";
import { listModules, makeImage, writeFiles } from "../planner/make_image.ts";
import { folderUrl } from "../planner/packed_image.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { digestOf, imageFolders } from "../protocol/image.ts";
import { IMAGE_KEY, type ModuleImage } from "../protocol/module_image.ts";
import { moveImage, OPEN_PLACE } from "../protocol/move_image.ts";
import { PACKED, PACKED_MODULES } from "../protocol/packed_image.ts";
import type { Plan } from "../protocol/plan.ts";
import { programData } from "../protocol/program_data.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { findDenoDir, type ImageFolders, openImages } from "../supervisor/image_store.ts";

/** An image that was made for a build, in a folder that is removed at the end. */
export class BuildImage implements AsyncDisposable {
  readonly plan: Plan;
  /** Of each process, by the name of its folder. */
  readonly images: ReadonlyMap<string, ModuleImage>;
  readonly #folder: string;
  readonly #staging: string;

  private constructor(folder: string, staging: string, plan: Plan, names: readonly string[]) {
    this.#folder = folder;
    this.#staging = staging;
    this.plan = plan;
    this.images = new Map(
      names.map((name) => {
        const text = Deno.readTextFileSync(join(staging, "image", name, "image.js"));
        // What is between the name of the value and the end of the statement.
        const start = programData(IMAGE_KEY, 0).indexOf("0;");
        return [name, JSON.parse(text.slice(start, text.lastIndexOf(";")))];
      }),
    );
  }

  /**
   * Makes it.
   *
   * @throws {HoldfastError} if a module is missing or broken, or if the config is refused
   */
  static async make(config: Config): Promise<BuildImage> {
    const made = await Deno.makeTempDir({ prefix: "holdfast_compile_" });
    const folder = await Deno.realPath(made);
    try {
      const denoDir = findDenoDir();
      const folders: ImageFolders = openImages(folder, denoDir);
      const { plan } = await makeImage({
        ...{ config, images: folder, denoDir, network: "names", unimported: "named" },
        ...{ staging: folders.staging, compiled: folders.compiled },
        facts: { denoProgram: denoProgram(), holdfast: HOLDFAST_FOLDER },
      });
      return new BuildImage(folder, folders.staging, plan, imageFolders(config));
    } catch (error) {
      await Deno.remove(folder, { recursive: true });
      throw error;
    }
  }

  /** The local files that are modules of it. */
  get modules(): string[] {
    const urls = [...this.images.values()].flatMap(({ modules }) => Object.keys(modules));
    const files = urls.filter((url) => url.startsWith("file:")).map((url) => fileURLToPath(url));
    return [...new Set(files)];
  }

  /**
   * Copies the packages.
   *
   * @returns by what they are called in the plan, what they are called in the folder: by what is in them
   */
  async copyPackages(folder: string): Promise<Map<string, string>> {
    const copied = new Map<string, string>();
    for (const id of new Set(this.plan.processes.map((each) => each.packages))) {
      if (id === "") continue;
      const from = join(this.#staging, "packages", id);
      const digest = digestTree(from);
      copied.set(id, digest);
      await copyTree(from, join(folder, digest));
    }
    return copied;
  }

  /**
   * Writes it: the same bytes for the same files, wherever they lie.
   *
   * @param root the folder of the app's files
   * @param program says which program it is for, where that has the packages in it
   */
  async pack(root: string, folder: string, program?: string): Promise<void> {
    const packages = program === undefined
      ? await this.copyPackages(join(folder, PACKED.packages))
      : undefined;
    const processes: Plan["processes"] = this.plan.processes.map((each) =>
      packages === undefined
        ? { packages: "", layout: "cache", project: "" }
        : { ...each, packages: packages.get(each.packages) ?? "" }
    );
    const files = new Map<string, string>();
    const sources = new Map<string, string>();
    for (const [name, image] of this.images) {
      const moved = moveImage(image, folderUrl(root), OPEN_PLACE);
      const modules = Object.entries(moved.modules).map(([url, module]) =>
        [url, { ...module, source: withPlainMap(module.source, url) }] as const
      );
      for (const [url, { source }] of modules) sources.set(url, source);
      const packed = { ...moved, modules: Object.fromEntries(modules) };
      files.set(join(name, PACKED_MODULES), JSON.stringify(packed));
      for (const file of ["deno.json", "deno.lock"]) {
        files.set(join(name, file), this.read(join(name, file)));
      }
    }
    if (program !== undefined) sources.set("holdfast", program);
    const ofPackages = this.read("modules").split("\n").filter((line) => / npm:/.test(line));
    files.set("modules", [...ofPackages, await listModules(sources)].join("\n"));
    files.set("packages", [...new Set(processes.map((each) => each.packages))].sort().join("\n"));
    writeFiles(files, join(folder, PACKED.image));
    const plan: Plan = { digest: await digestOf(files), processes };
    await Deno.writeTextFile(join(folder, PACKED.plan), JSON.stringify(plan));
  }

  /** The path of a file of it. */
  path(name: string): string {
    return join(this.#staging, "image", name);
  }

  /** Reads a file of it. */
  read(name: string): string {
    return Deno.readTextFileSync(this.path(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

const SOURCE_MAP = "\n//# sourceMappingURL=data:application/json;base64,";

/**
 * A module whose source map names its file without a folder: a stack shows the place of the module then,
 * wherever that is.
 */
function withPlainMap(source: string, url: string): string {
  const at = source.lastIndexOf(SOURCE_MAP);
  if (at < 0) return source;
  const from = at + SOURCE_MAP.length;
  const end = source.indexOf("\n", from);
  const base64 = source.slice(from, end < 0 ? undefined : end);
  const map = JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(base64)));
  const plain = JSON.stringify({ ...map, sources: [basename(new URL(url).pathname)] });
  const encoded = new TextEncoder().encode(plain).toBase64();
  return source.slice(0, from) + encoded + (end < 0 ? "" : source.slice(end));
}

/** A digest of the files of a folder, by their paths and what is in them. */
function digestTree(folder: string): string {
  const hash = createHash("sha256");
  for (const path of filesIn(folder).sort()) {
    const bytes = Deno.readFileSync(path);
    hash.update(`${relative(folder, path)} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}

function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesIn(join(folder, name)) : join(folder, name)
  );
}

async function copyTree(from: string, to: string): Promise<void> {
  for (const path of filesIn(from)) {
    const place = join(to, relative(from, path));
    await Deno.mkdir(dirname(place), { recursive: true });
    await Deno.copyFile(path, place);
  }
}
