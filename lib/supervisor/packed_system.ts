/**
 * The effects of a supervisor that runs from a portable executable: image, config and programs come
 * from what it unpacked, and a reload looks whether the executable was replaced.
 */
import { dirname, join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { escapeUntrusted } from "../base/escape.ts";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { overrideOf } from "../config/override.ts";
import { readConfig } from "../config/read.ts";
import { ConfigError } from "../config/problem.ts";
import { covers } from "../base/covers.ts";
import { realPlace } from "../config/real_place.ts";
import { locateRuntime } from "../config/runtime_place.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { readPrebuilt, readPrograms } from "../planner/prebuilt.ts";
import { ENTRIES } from "../planner/programs.ts";
import { configOf, knownConfig } from "./read_config.ts";
import { realSystem, type System } from "./system.ts";
import { packedImageOf, readUnpacked, type Unpacked, UNPACKED_FOLDERS } from "./unpacked.ts";

/** How long the new file may take to unpack itself. */
const UNPACK_DEADLINE_MS = 120_000;

/** How much is read of what an unpacking says. */
const MAX_WORDS = 2_000;

/** What the header of an executable tells the program in it. */
export interface PackedPlace {
  /** The folder to which it was unpacked. */
  readonly unpacked: string;
  /** The executable, by the name under which it was started: a new one is put there. */
  readonly executable: string;
  /** The arguments that it was started with. */
  readonly args: readonly string[];
  /** Where what is written lies. */
  readonly state: string;
  /** A file that is laid over the config, whether it is there or not. */
  readonly override: string;
  /** Whether that file must be there. */
  readonly overrideWanted: "optional" | "required";
}

/** The effects of an executable. */
export async function packedSystem(place: PackedPlace): Promise<System> {
  const first = await readUnpacked(place.unpacked);
  const folderOf = ({ folder }: Unpacked) => join(folder, UNPACKED_FOLDERS.holdfast);
  // Of this supervisor, whatever a reload takes.
  const spawner = await readPrebuilt(ENTRIES.spawner, folderOf(first));
  const known = new Map<string, Unpacked>([[first.folder, first]]);
  let current = first;
  let loads = 0;
  /** What brought a config; one that is brought back may be of a file from before this supervisor. */
  const unpackedOf = ({ file }: Config) =>
    [...known.values()].find(({ folder }) => covers(folder, file));
  const holdfastOf = (config?: Config) => folderOf(config ? unpackedOf(config) ?? first : current);
  return {
    ...realSystem,
    readConfig: async () => {
      // The header has just unpacked, or looked at, what the first one is.
      if (loads++ > 0) current = await unpackAgain(place, first);
      known.set(current.folder, current);
      return knownConfig(await loadPacked(current, place));
    },
    locateRuntime: async (file) => {
      const { folder, runtime } = await locateRuntime(file);
      // There is a link in that place, to the state folder.
      return { folder, runtime: realPlace(runtime) };
    },
    holdfastOf,
    ownProgram: () => ({ program: place.executable, args: place.args }),
    loadPrograms: async (holdfast) => ({
      ...await readPrograms(holdfast),
      ...spawner !== undefined && { spawner },
    }),
    planCode: (read, plan) => {
      const config = configOf(read);
      // One that is brought back has its image.
      const found = unpackedOf(config) ?? ("kept" in read && read.kept ? first : undefined);
      if (!found) throw new Error(`${config.file} is of no executable that is known here`);
      return plan(packedImageOf(found, [place.executable, place.override]));
    },
  };
}

/** The config in it, with what may differ on this machine laid over it. */
async function loadPacked({ folder, facts }: Unpacked, place: PackedPlace): Promise<Config> {
  const override = await readOverride(place);
  const config = await loadConfig(join(folder, facts.config), override);
  // What is written lies in the state folder; there are links to it.
  const real = <T extends { readonly path: string }>(address: T): T => ({
    ...address,
    path: realPlace(address.path),
    text: `unix:${realPlace(address.path)}`,
  });
  const logs = config.log.folder;
  const listen = config.listen.map((address) => address.kind === "unix" ? real(address) : address);
  const runtime = realPlace(config.runtime);
  for (const address of listen) {
    if (address.kind === "unix") requireWritable(address.path, runtime, place.override);
  }
  const log = { ...config.log, folder: logs === undefined ? undefined : realPlace(logs) };
  // What is unpacked lies elsewhere with each version.
  return { ...config, named: place.executable, runtime, log, listen };
}

/** Which sockets this program may make was decided when it was built. */
function requireWritable(path: string, runtime: string, override: string): void {
  if (Deno.permissions.querySync({ name: "write", path }).state === "granted") return;
  throw new HoldfastError(`${override}: this program may make no socket at ${path}`, {
    kind: "config",
    code: "socket_not_granted",
    hint: `Listen on one in ${runtime}, or build a program that listens there`,
  });
}

async function readOverride({ override, overrideWanted, state }: PackedPlace) {
  if (overrideWanted === "optional" && !await exists(override)) return undefined;
  const { text } = await readConfig(override);
  return overrideOf(override, text, state);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

/**
 * Has the executable that lies there now unpack itself, if that was not done, and look at what it
 * unpacked. It is the same trust as the next start's, and the name is the one by which this program
 * was started: nothing that a worker says or writes has a part in it.
 *
 * @throws {HoldfastError} if it cannot be taken without a restart
 */
async function unpackAgain(place: PackedPlace, first: Unpacked): Promise<Unpacked> {
  const folder = await runUnpack(place);
  if (dirname(folder) !== dirname(place.unpacked)) {
    throw new HoldfastError(
      `${place.executable} unpacked itself to ${escapeUntrusted(folder, 200)}, and not beside ` +
        place.unpacked,
      { kind: "environment", code: "unpack_failed", hint: "Is it an executable of Holdfast?" },
    );
  }
  const unpacked = await readUnpacked(folder);
  const { facts } = unpacked;
  const refuse = (found: string) =>
    new HoldfastError(`${place.executable} cannot be taken by a reload: ${found}`, {
      kind: "config",
      code: "restart_needed",
      hint: "Take it by an upgrade (USR2), restart, or put the old file back",
    });
  if (facts.protocol !== PROTOCOL_VERSION) {
    throw refuse(
      `its workers speak protocol ${facts.protocol}, this supervisor ${PROTOCOL_VERSION}`,
    );
  }
  // The one program that this supervisor may run is the one that it was started with.
  if (facts.program !== first.facts.program) {
    throw refuse(
      `it brings Deno ${facts.versions.deno} (${
        facts.program.slice(0, 12)
      }), this supervisor may ` +
        `run its own alone, ${first.facts.versions.deno} (${first.facts.program.slice(0, 12)})`,
    );
  }
  if (facts.name !== first.facts.name) {
    throw refuse(`it is ${facts.name}, this is ${first.facts.name}`);
  }
  return unpacked;
}

async function runUnpack({ executable, unpacked, state }: PackedPlace): Promise<string> {
  const failed = (found: string, cause?: unknown) =>
    new HoldfastError(`Cannot unpack ${executable}: ${found}`, {
      kind: "environment",
      code: "unpack_failed",
      hint: "Put the executable in its place by a rename, whole and with its mode",
      cause,
    });
  try {
    const { success, stdout, stderr } = await new Deno.Command(executable, {
      args: ["--unpack", "--state", state],
      env: { HOLDFAST_CACHE: dirname(unpacked) },
      cwd: "/",
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      detached: true,
      signal: AbortSignal.timeout(UNPACK_DEADLINE_MS),
    }).spawn().output();
    const words = new TextDecoder().decode(success ? stdout : stderr).trim().slice(0, MAX_WORDS);
    if (success && words.startsWith("/") && !words.includes("\n")) return words;
    throw failed(escapeUntrusted(words, MAX_WORDS) || "it said nothing");
  } catch (error) {
    if (error instanceof HoldfastError || error instanceof ConfigError) throw error;
    throw failed((error as Error).message, error);
  }
}
