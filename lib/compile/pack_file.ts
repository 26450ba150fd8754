/**
 * An executable file: a header, which is a shell script, and after it the deno program and a tar of a folder,
 * each compressed.
 */
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { HoldfastError } from "../base/error.ts";
import { MAIN_PROGRAM } from "./programs.ts";

/** What of the header is for one file. */
export interface HeaderValues {
  readonly NAME: string;
  readonly VERSIONS: string;
  /** Whether an app is in it, or Holdfast for the app of the working folder. */
  readonly KIND: "app" | "holdfast";
  readonly MODE: "700" | "755";
  readonly RUNTIME: string;
  readonly SOCKETS: string;
  /** Prints the flags of a supervisor of Holdfast's. */
  readonly FLAGS: string;
}

/** What a file consists of. */
export interface PackedFile {
  readonly bytes: number;
  readonly programBytes: number;
  readonly codeBytes: number;
  /** SHA-256 of the second part. */
  readonly hash: string;
}

/** The variables that would change what Deno does: of an app all, of Holdfast those that its npm package takes out. */
const FOREIGN = {
  app: "DENO_[A-Za-z0-9_]*\\|NODE_OPTIONS\\|NODE_EXTRA_CA_CERTS",
  holdfast: "DENO_CONFIG\\|DENO_NO_PACKAGE_JSON\\|DENO_V8_FLAGS\\|NODE_OPTIONS",
};

/** The deno program that runs this, and its SHA-256. */
export async function readProgram(): Promise<{ bytes: Uint8Array<ArrayBuffer>; hash: string }> {
  const bytes = await Deno.readFile(Deno.execPath());
  return { bytes, hash: await sha256(bytes) };
}

/** Writes a file of a folder and the deno program. */
export async function packFile(
  output: string,
  stage: string,
  program: { readonly bytes: Uint8Array<ArrayBuffer>; readonly hash: string },
  values: HeaderValues,
): Promise<PackedFile> {
  const [packedProgram, packedCode] = await Promise.all([
    compress(program.bytes),
    packFolder(stage),
  ]);
  const hash = await sha256(packedCode);
  const header = await fillHeader({
    ...values,
    PROGRAM_BYTES: String(packedProgram.length),
    CODE_BYTES: String(packedCode.length),
    PROGRAM_HASH: program.hash,
    CODE_HASH: hash,
    ENTRY: MAIN_PROGRAM,
    FOREIGN: FOREIGN[values.KIND],
  });
  await writeExecutable(output, [header, packedProgram, packedCode]);
  return {
    bytes: header.length + packedProgram.length + packedCode.length,
    programBytes: packedProgram.length,
    codeBytes: packedCode.length,
    hash,
  };
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
