/**
 * Makes a portable executable: a header, which is a shell script, and after it the deno program that
 * runs this and a tar of the app's image, its config, its files and Holdfast's own programs.
 */
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { HoldfastError } from "../base/error.ts";
import { VERSION } from "../base/version.ts";
import { loadConfig } from "../config/load.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import {
  FACTS_FILE,
  UNPACKED_FOLDERS,
  UNPACKED_FORMAT,
  UnpackedFacts,
} from "../supervisor/unpacked.ts";
import { collect, type Collection } from "./collect.ts";
import { nameOf, requireFileName } from "./name.ts";
import { BuildImage } from "./pack_image.ts";
import { bundlePrograms, MAIN_PROGRAM } from "./programs.ts";

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
  /** The name of the app; the default is that of the config, or of its folder. */
  readonly name?: string | undefined;
  /** Told what is done next. */
  readonly onStep?: (what: string) => void;
  /** Changes what is packed before it is packed, for tests of what comes of that. */
  readonly alterStage?: (folder: string) => Promise<void>;
}

/**
 * Builds.
 *
 * @throws {HoldfastError} if a module is missing or broken, or if the config is refused
 */
export async function buildPortable(options: BuildOptions): Promise<BuildReport> {
  const startMs = performance.now();
  const { configFile, output, alterStage, onStep = () => {} } = options;
  requireFileName(basename(output));
  const config = await loadConfig(configFile);
  const name = await nameOf(config, options.name);
  onStep("looking at the app's code");
  await using image = await BuildImage.make(config);
  const stage = await Deno.makeTempDir({ prefix: "holdfast_compile_" });
  try {
    const collection = await collect({
      ...{ config, modules: image.modules, stage, output, places: "kept" },
    });
    await image.pack(collection.root, join(stage, UNPACKED_FOLDERS.image));
    onStep("bundling Holdfast's programs");
    await bundlePrograms(join(stage, UNPACKED_FOLDERS.holdfast));
    const program = await Deno.readFile(Deno.execPath());
    const programHash = await sha256(program);
    const facts = describe(name, collection, programHash);
    await Deno.writeTextFile(join(stage, FACTS_FILE), `${JSON.stringify(facts)}\n`);
    const links = collection.links.map(({ link, target }) => `${link}|${target}\n`);
    await Deno.writeTextFile(join(stage, "links"), links.join(""));
    await alterStage?.(stage);
    onStep("packing");
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

function describe(name: string, collection: Collection, program: string): UnpackedFacts {
  return UnpackedFacts.parse({
    format: UNPACKED_FORMAT,
    name,
    versions: { app: collection.version, holdfast: VERSION, deno: Deno.version.deno },
    protocol: PROTOCOL_VERSION,
    program,
    config: collection.config,
  });
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
