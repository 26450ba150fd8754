/**
 * Makes a portable executable: a header, which is a shell script, and after it the deno program that
 * runs this and a tar of the app with its config, its packages and Holdfast's own programs.
 */
import { basename, dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { HoldfastError } from "../base/error.ts";
import { VERSION } from "../base/version.ts";
import { loadConfig } from "../config/load.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { IMAGE_FILE, IMAGE_FOLDERS, IMAGE_FORMAT, ImageFacts } from "../supervisor/image.ts";
import { runProgram } from "../planner/deno.ts";
import { checkFiles } from "./check_files.ts";
import { collect, type Collection } from "./collect.ts";
import { bundlePrograms, MAIN_PROGRAM } from "./programs.ts";

/** The header needs what it is told about a name to be one word. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

/** What the sizes and the times of a build are. */
export interface BuildReport {
  readonly output: string;
  readonly bytes: number;
  readonly programBytes: number;
  readonly codeBytes: number;
  readonly ms: number;
  /** SHA-256 of the part that is the app. */
  readonly hash: string;
}

/** What is built, and where to. */
export interface BuildOptions {
  readonly configFile: string;
  readonly output: string;
  /** Changes what is packed before it is packed, for tests of what comes of that. */
  readonly alterStage?: (folder: string) => Promise<void>;
}

/** Checks the name of an executable. */
export function requireName(name: string): string {
  if (NAME.test(name)) return name;
  throw new HoldfastError(`Cannot name an executable ${JSON.stringify(name)}`, {
    kind: "usage",
    code: "output_name",
    hint: "Use letters, digits and any of . _ - in --output",
  });
}

/**
 * Builds.
 *
 * @throws {HoldfastError} if the config is refused, or does not run from what was packed
 */
export async function buildPortable(options: BuildOptions): Promise<BuildReport> {
  const startMs = performance.now();
  const { configFile, output, alterStage } = options;
  const name = requireName(basename(output));
  const config = await loadConfig(configFile);
  const { denoDir } = await checkFiles(config);
  const stage = await Deno.makeTempDir({ prefix: "holdfast_compile_" });
  try {
    const collection = await collect({ config, denoDir, stage, output });
    await bundlePrograms(join(stage, IMAGE_FOLDERS.holdfast));
    const program = await Deno.readFile(Deno.execPath());
    const programHash = await sha256(program);
    const facts = describeImage(name, collection, programHash);
    await Deno.writeTextFile(join(stage, IMAGE_FILE), `${JSON.stringify(facts)}\n`);
    const links = collection.links.map(({ link, target }) => `${link}|${target}\n`);
    await Deno.writeTextFile(join(stage, "links"), links.join(""));
    const probes = await writeProbes(stage, collection);
    await Deno.writeTextFile(
      join(stage, "probes"),
      probes.map((probe) => `${probe.join("|")}\n`).join(""),
    );
    await requireWhole(stage, probes);
    await alterStage?.(stage);
    const [packedProgram, packedCode] = await Promise.all([compress(program), packFolder(stage)]);
    const hash = await sha256(packedCode);
    const header = await fillHeader({
      NAME: name,
      VERSIONS: `${facts.versions.app ?? "(no version)"}, Holdfast ${VERSION}, Deno ` +
        Deno.version.deno,
      PROGRAM_BYTES: String(packedProgram.length),
      CODE_BYTES: String(packedCode.length),
      PROGRAM_HASH: programHash,
      CODE_HASH: hash,
      MARKER,
      MODE: config.account === undefined ? "700" : "755",
      RUNTIME: collection.runtime,
      SOCKETS: collection.sockets.join("\n"),
      ENTRY: MAIN_PROGRAM,
    });
    await writeExecutable(output, [header, packedProgram, packedCode]);
    return {
      output,
      bytes: header.length + packedProgram.length + packedCode.length,
      programBytes: packedProgram.length,
      codeBytes: packedCode.length,
      ms: Math.round(performance.now() - startMs),
      hash,
    };
  } finally {
    await Deno.remove(stage, { recursive: true });
  }
}

function describeImage(name: string, collection: Collection, program: string): ImageFacts {
  return ImageFacts.parse({
    format: IMAGE_FORMAT,
    name,
    versions: { app: collection.version, holdfast: VERSION, deno: Deno.version.deno },
    protocol: PROTOCOL_VERSION,
    program,
    config: collection.config,
    modules: collection.modules,
  });
}

/** What a probe ends with when everything was loaded. */
const MARKER = "holdfast: all modules were loaded";

/**
 * Writes a probe beside each entry: a module that loads and links the entry, and runs nothing of it,
 * since what it imports first throws. It looks whether what was packed is all that is needed, and has
 * Deno cache what it finds out about it.
 *
 * @returns for each probe its project, its name and what it takes of the lock file
 */
async function writeProbes(stage: string, { entries }: Collection): Promise<string[][]> {
  const probes: string[][] = [];
  for (const [index, { module, project, locked }] of entries.entries()) {
    const probe = `.holdfast_probe_${index}.js`;
    const throwing = `data:application/javascript,throw new Error("${MARKER}")`;
    const imports = [throwing, `./${relative(project, module)}`];
    await Deno.writeTextFile(
      join(stage, project, probe),
      imports.map((specifier) => `import ${JSON.stringify(specifier)};\n`).join(""),
    );
    probes.push([project, probe, locked ? "--frozen" : "--no-lock"]);
  }
  return probes;
}

/** Runs the probes with nothing of this user's settings and caches, as the header will. */
async function requireWhole(stage: string, probes: readonly string[][]): Promise<void> {
  const denoDir = join(stage, IMAGE_FOLDERS.denoDir);
  for (const [project, probe, lock] of probes) {
    const args = ["run", "--quiet", "--no-prompt", "--cached-only", lock!, probe!];
    const found = await runProgram(Deno.execPath(), args, { cwd: join(stage, project!), denoDir })
      .then(() => "it ran", (error: Error) => error.message);
    if (found.includes(MARKER)) continue;
    throw new HoldfastError(
      `The modules of ${project} do not load from what was packed: ${found}`,
      {
        kind: "config",
        code: "pack_incomplete",
        hint: "Import only files of the project and packages that its lock file names",
      },
    );
  }
  // What Deno has just cached is bound to this place.
  for await (const { name } of Deno.readDir(denoDir)) {
    if (name !== "npm" && name !== "remote") {
      await Deno.remove(join(denoDir, name), { recursive: true });
    }
  }
}

const compressBytes = promisify(gzip);

/** The same bytes for the same input, on the same Deno. */
async function compress(bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await compressBytes(bytes, { level: 6 }));
}

/** A tar that is the same for the same files: by name, of nobody, from no time. */
async function packFolder(folder: string): Promise<Uint8Array<ArrayBuffer>> {
  const { success, stdout, stderr } = await new Deno.Command("tar", {
    args: [
      ...["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"],
      ...["--format=gnu", "--mode=u=rwX,go=rX", "-C", folder, "-cf", "-", "."],
    ],
    env: { LC_ALL: "C" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (success) return await compress(stdout);
  throw new HoldfastError(`Cannot pack: ${new TextDecoder().decode(stderr).trim()}`, {
    kind: "environment",
    code: "tar_failed",
    hint: "A build needs GNU tar; what it builds needs any",
  });
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** How much room the header has for its own length. */
const LENGTH_CHARS = 12;

async function fillHeader(values: Readonly<Record<string, string>>): Promise<Uint8Array> {
  const template = await Deno.readTextFile(new URL("./header.sh", import.meta.url));
  for (const value of Object.values(values)) {
    if (!/['\r]/.test(value)) continue;
    throw new HoldfastError(`The header cannot hold ${JSON.stringify(value)}`, {
      kind: "config",
      code: "pack_name",
      hint: "Leave quotes out of the names of the runtime folder and of Unix sockets",
    });
  }
  const filled = template.replace(/@([A-Z_]+)@/g, (whole, key) => values[key] ?? whole);
  const encoder = new TextEncoder();
  const marker = "@HEAD_BYTES@";
  const { length } = encoder.encode(filled.replace(marker, " ".repeat(LENGTH_CHARS)));
  const header = filled.replace(marker, String(length).padEnd(LENGTH_CHARS));
  const left = header.match(/@[A-Z_]+@/);
  if (left) throw new Error(`The header's ${left[0]} was not filled in`);
  return encoder.encode(header);
}

/** Renamed into place: nobody ever starts half of it. */
async function writeExecutable(output: string, parts: readonly Uint8Array[]): Promise<void> {
  const unfinished = join(dirname(output), `.${basename(output)}.${crypto.randomUUID()}`);
  try {
    const file = await Deno.open(unfinished, { createNew: true, write: true, mode: 0o755 });
    try {
      for (const part of parts) {
        for (let at = 0; at < part.length;) at += await file.write(part.subarray(at));
      }
      await file.sync();
    } finally {
      file.close();
    }
    await Deno.chmod(unfinished, 0o755);
    await Deno.rename(unfinished, output);
  } catch (error) {
    await Deno.remove(unfinished).catch(() => {});
    throw new HoldfastError(`Cannot write ${output}: ${(error as Error).message}`, {
      kind: "environment",
      code: "output_failed",
      hint: "Name a file with --output in a folder that you may write",
      cause: error,
    });
  }
}
