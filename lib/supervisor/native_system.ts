/**
 * The effects of a supervisor in an executable that `deno compile` made: image, config and policy are
 * built in, every process is this program again, and a reload looks whether the file was replaced.
 */
import { dirname, join, resolve } from "node:path";
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";
import { escapeUntrusted } from "../base/escape.ts";
import type { Config } from "../config/config.ts";
import { overrideOf } from "../config/override.ts";
import { parseConfig } from "../config/parse.ts";
import { warnOfOldName } from "../config/old_name.ts";
import { readConfig } from "../config/read.ts";
import { resolveConfig } from "../config/resolve.ts";
import {
  DESCRIBE,
  LISTED_KINDS,
  NativeFacts,
  type Permissions,
  ROLE_VARIABLE,
} from "../protocol/native.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import type { Command } from "../sandbox/worker_command.ts";
import { runProgram } from "../planner/deno.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { isFolder } from "./image_store.ts";
import { keepProgram, keptProgram, stampOf } from "./kept_program.ts";
import { configOf, knownConfig } from "./read_config.ts";
import { realSystem, type System } from "./system.ts";
import { UNPACKED_FOLDERS } from "./unpacked.ts";

/** How much is repeated of what a new file says that cannot be understood. */
const MAX_WORDS = 500;

/** The file that is laid over the config. */
export interface NativeOverride {
  readonly file: string;
  readonly wanted: "optional" | "required";
  /** The arguments that this program was started with. */
  readonly args: readonly string[];
}

/** The effects of an executable. */
export function nativeSystem(first: NativeFacts, override: NativeOverride): System {
  // By what of a config stays the same when a supervisor changes the rest.
  const factsOf = new WeakMap<Config["app"], NativeFacts>();
  let current = first;
  let known = stampOf(first.executable);
  let loads = 0;
  const of = (config?: Config) => config && factsOf.get(config.app) || current;
  return {
    ...realSystem,
    readConfig: async () => {
      const stamp = stampOf(first.executable);
      if (loads++ > 0 && stamp !== known) {
        current = await describeAgain(first);
        known = stamp;
      }
      const config = await loadNative(current, await readOverride(override, current.state));
      requireGranted(config, override.file);
      factsOf.set(config.app, current);
      return knownConfig(config);
    },
    locateRuntime: () => Promise.resolve({ folder: first.state, runtime: runtimeOf(first) }),
    // Its own code is in the file.
    holdfastOf: (config) => of(config).executable,
    ownProgram: () => ({ program: first.executable, args: [...override.args] }),
    // What is started has its program in it.
    loadPrograms: () => Promise.resolve({ ...NO_PROGRAMS }),
    planCode: async (read, plan) => {
      const facts = of(configOf(read));
      const planned = await plan({
        folder: join(HOLDFAST_FOLDER, UNPACKED_FOLDERS.image),
        // Each process knows where the files in it are.
        files: undefined,
        guarded: [facts.executable, override.file],
      });
      const { folder } = planned.code;
      // A command that only looks has it kept nowhere.
      if (isFolder(folder)) keepProgram(folder, facts, known);
      return planned;
    },
    commandOf: (config, who, _, { image }) => {
      const kept = image === undefined ? undefined : keptProgram(dirname(dirname(image)));
      return nativeCommand(kept ?? of(config), who);
    },
    plannerCommand: (_, config) => nativeCommand(of(config), "planner"),
  };
}

const NO_PROGRAMS = {
  ...{ worker: "", helper: "", logger: "", metrics: "", resolver: "", acme: "", planner: "" },
};

/** Every process is the same program; a variable says which one it is to be. */
function nativeCommand(
  { executable, interpreter }: Pick<NativeFacts, "executable" | "interpreter">,
  role: string,
): Command {
  const env = { [ROLE_VARIABLE]: role };
  if (interpreter === null) return { program: executable, args: [], env, files: [] };
  const { program, args, denoDir, files } = interpreter;
  return { program, args: [...args], env: { ...env, DENO_DIR: denoDir }, files: [files] };
}

/**
 * The config of an executable, on this machine.
 *
 * @param facts what it takes to find what the config names
 * @param override what is laid over it
 * @throws {ConfigError} as `loadConfig` does
 */
export async function loadNative(
  { executable, state, config, interpreter }: Pick<
    NativeFacts,
    "executable" | "state" | "config" | "interpreter"
  >,
  override?: Parameters<typeof resolveConfig>[1],
): Promise<Config> {
  return await resolveConfig({
    file: executable,
    folder: state,
    text: config,
    warn: warnOfOldName,
    // The modules are in the program; what it starts in is where its data is.
    placeApp: () => Promise.resolve({ module: executable, project: state }),
    unveilFrom: (path, rights) => {
      if (path.startsWith("/") || /[wc]/.test(rights)) return state;
      // What is only read is in the program too, where no permission is asked for.
      return interpreter?.folder;
    },
  }, override);
}

async function readOverride(
  { file, wanted }: Pick<NativeOverride, "file" | "wanted">,
  state: string,
) {
  if (wanted === "optional" && !await Deno.lstat(file).then(() => true, () => false)) {
    return undefined;
  }
  const { text } = await readConfig(file);
  return overrideOf(file, text, state);
}

/** What this program may bind and write was decided when it was built. */
function requireGranted(config: Config, override: string): void {
  const granted = (descriptor: Deno.PermissionDescriptor) =>
    Deno.permissions.querySync(descriptor).state === "granted";
  const refuse = (what: string, hint: string) => {
    throw new HoldfastError(`${override}: this program was built without the right to ${what}`, {
      kind: "config",
      code: "not_granted",
      hint,
    });
  };
  for (const address of [...config.listen, ...config.metrics ? [config.metrics.listen] : []]) {
    if (address.tls) refuse("serve HTTPS", "Build it with --portable, or let a proxy end TLS");
    if (address.kind === "systemd") continue;
    const host = address.kind === "unix"
      ? `unix:${address.path}`
      : address.text.replace(/^localhost:/, "127.0.0.1:");
    if (granted({ name: "net", host })) continue;
    refuse(
      `listen on ${address.text}`,
      "Listen on an address of the build, or on 127.0.0.1, 0.0.0.0, [::1] or [::]",
    );
  }
}

function runtimeOf({ config, executable, state }: NativeFacts): string {
  const { runtime } = parseConfig(config, executable).values;
  return resolve(state, runtime);
}

/**
 * Asks the file that lies there now what it is. It is the same trust as the next start's, and its
 * name was built in: nothing that a worker says or writes has a part in it.
 *
 * @throws {HoldfastError} if it cannot be taken without a restart
 */
async function describeAgain(first: NativeFacts): Promise<NativeFacts> {
  const { executable } = first;
  const refuse = (found: string, cause?: unknown) =>
    new HoldfastError(`${executable} cannot be taken by a reload: ${found}`, {
      kind: "config",
      code: "restart_needed",
      hint: "Take it by an upgrade (USR2), restart, or put the old file back",
      cause,
    });
  let facts: NativeFacts;
  try {
    const text = await runProgram(executable, [DESCRIBE], { cwd: "/" });
    facts = z.parse(NativeFacts, JSON.parse(text));
  } catch (error) {
    throw refuse(escapeUntrusted((error as Error).message, MAX_WORDS), error);
  }
  if (facts.protocol !== PROTOCOL_VERSION) {
    throw refuse(
      `its workers speak protocol ${facts.protocol}, this supervisor ${PROTOCOL_VERSION}`,
    );
  }
  for (const key of ["executable", "state", "name"] as const) {
    if (facts[key] !== first[key]) {
      throw refuse(`its ${key} is ${facts[key]}, that of this one ${first[key]}`);
    }
  }
  const missing = findMissing(facts.roles.supervisor, first.roles.supervisor);
  if (missing !== undefined) {
    throw refuse(`its supervisor needs ${missing}, which this one has not`);
  }
  return facts;
}

/** The first thing that one supervisor has and the other has not. */
function findMissing(wanted?: Permissions, own?: Permissions): string | undefined {
  if (wanted === undefined || own === undefined) return "to be described";
  for (const kind of LISTED_KINDS) {
    const name = wanted[kind].find((each) => !own[kind].includes(each));
    if (name !== undefined) return `${kind} of ${name}`;
  }
  return undefined;
}
