/**
 * Makes an executable by `deno compile`: one program that is supervisor, worker, helper and logger,
 * built with what all of them may do, of which each keeps its own.
 */
import { basename, dirname, join, relative, resolve } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { VERSION } from "../base/version.ts";
import { loadConfig, parseConfig } from "../config/load.ts";
import { readConfig } from "../config/read.ts";
import type { Config } from "../config/config.ts";
import { readProject } from "../config/project.ts";
import { NATIVE_FORMAT, type NativeFacts, type Permissions } from "../protocol/native.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { permissionFlags, rolePermissions, unionOf } from "../sandbox/native_policy.ts";
import { loadNative } from "../supervisor/native_system.ts";
import { runProgram } from "../planner/deno.ts";
import { bundle } from "../planner/bundle.ts";
import { checkFiles } from "./check_files.ts";
import { controlSocketPath } from "../supervisor/runtime_folder.ts";
import { readVersion } from "./collect.ts";
import { requireName } from "./portable.ts";
import { replaceOnce, SPAWNER_THREAD } from "./programs.ts";

/** Where the program's modules lie while it is built: in the project, whose settings decide. */
const BUILD_FOLDER = ".holdfast_native";

/** What a build is to make. */
export interface NativeOptions {
  readonly configFile: string;
  readonly output: string;
  /** Where the executable and its data will lie. */
  readonly state: string;
  /**
   * `compile` makes the executable. `interpret` makes a script that has `deno run` do the same with
   * the same permissions, where no base runtime can be had; it needs the build's folder.
   */
  readonly how: "compile" | "interpret";
}

/** What came of it. */
export interface NativeReport {
  readonly output: string;
  readonly bytes: number;
  readonly ms: number;
  /** What the executable may do, all of its processes together. */
  readonly flags: readonly string[];
}

/**
 * Builds.
 *
 * @throws {HoldfastError} if the config is refused, or `deno compile` has no base runtime
 */
export async function buildNative(options: NativeOptions): Promise<NativeReport> {
  const startMs = performance.now();
  const { configFile, output, state, how } = options;
  const name = requireName(basename(output));
  const source = await loadConfig(configFile);
  requireOneProject(source);
  refuseTraces(source);
  const { denoDir, modules } = await checkFiles(source);
  const folder = how === "compile"
    ? join(source.app.project, BUILD_FOLDER)
    : await Deno.makeTempDir({ dir: source.app.project, prefix: `${BUILD_FOLDER}_` });
  if (how === "compile") await makeBuildFolder(folder);
  try {
    const entry = join(folder, "entry.js");
    const programs = await writePrograms(folder, source);
    const place = {
      executable: join(state, name),
      state,
      config: await readText(configFile),
      interpreter: how === "compile" ? null : {
        program: Deno.execPath(),
        args: [] as string[],
        denoDir,
        folder: source.folder,
        files: programs,
        modules: {
          app: [...modules.app],
          helpers: Object.fromEntries(
            Object.entries(modules.helpers).map(([helper, own]) => [helper, [...own]]),
          ),
        },
      },
    };
    const config = await loadNative(place);
    const roles = rolePermissions(config, {
      controlSocket: controlSocketPath(config.runtime),
      programs: [place.executable, ...place.interpreter ? [place.interpreter.program] : []],
    });
    const union = unionOf(roles);
    const flags = permissionFlags(union);
    const lock = readProject(source.app).lockfile === undefined ? "--no-lock" : "--frozen";
    place.interpreter?.args.push("run", "--quiet", "--cached-only", lock, ...flags, entry);
    const facts: NativeFacts = {
      format: NATIVE_FORMAT,
      name,
      versions: {
        app: await readVersion(source.app.project),
        holdfast: VERSION,
        deno: Deno.version.deno,
      },
      protocol: PROTOCOL_VERSION,
      roles,
      ...place,
    };
    await writeEntry(entry, facts, union);
    await Deno.mkdir(dirname(resolve(output)), { recursive: true });
    if (place.interpreter) await writeScript(output, place.interpreter);
    else await compile(source, { entry, output, lock, flags });
    const { size } = await Deno.stat(output);
    return { output, bytes: size, ms: Math.round(performance.now() - startMs), flags };
  } catch (error) {
    if (how === "interpret") await Deno.remove(folder, { recursive: true });
    throw error;
  } finally {
    if (how === "compile") await Deno.remove(folder, { recursive: true });
  }
}

async function readText(configFile: string): Promise<string> {
  return (await readConfig(configFile)).text;
}

/** One program resolves its imports in one way. */
function requireOneProject({ app, helpers }: Config): void {
  const other = helpers.find((helper) => helper.app.project !== app.project);
  if (other === undefined) return;
  throw new HoldfastError(
    `The helper ${other.name} is in the project ${other.app.project}, the app in ${app.project}`,
    {
      kind: "config",
      code: "compile_projects",
      hint: "Move it into the app's project, or build with --portable",
    },
  );
}

/** Deno reads how to trace when it compiles, for every process of the program alike. */
function refuseTraces({ traces }: Config): void {
  if (traces === undefined) return;
  throw new HoldfastError(`Cannot build the traces to ${traces.collector} into this program`, {
    kind: "config",
    code: "compile_traces",
    hint: 'Leave "traces" out, or build with --portable',
  });
}

async function makeBuildFolder(folder: string): Promise<void> {
  try {
    await Deno.mkdir(folder);
  } catch (error) {
    throw new HoldfastError(`Cannot make the build folder ${folder}: ${(error as Error).message}`, {
      kind: "environment",
      code: "compile_folder",
      hint: "Does another build run? If none does, remove the folder",
      cause: error,
    });
  }
}

/** Writes the program of each role; gives the paths of all. */
async function writePrograms(folder: string, config: Config): Promise<string[]> {
  const work = await Deno.makeTempDir({ prefix: "holdfast_bundle_" });
  const written: string[] = [];
  const write = async (path: string, entry: string, alter = (text: string) => text) => {
    const to = join(folder, path);
    await Deno.mkdir(dirname(to), { recursive: true });
    await Deno.writeTextFile(to, alter(await bundle(work, entry)));
    written.push(to);
  };
  const importing = (module: string) => (text: string) =>
    replaceOnce(text, '"holdfast:app"', JSON.stringify(`./${relative(folder, module)}`));
  try {
    await Promise.all([
      write("enter.js", "lib/native/enter.ts"),
      // It looks for Holdfast's own folder two levels up, and for the thread beside itself.
      write(
        "lib/supervisor/main.js",
        "lib/native/supervisor.ts",
        (text) => replaceOnce(text, SPAWNER_THREAD, '"./spawner_thread.js"'),
      ),
      write("lib/supervisor/spawner_thread.js", "lib/supervisor/spawner_thread.ts"),
      write("worker.js", "lib/native/worker.ts", importing(config.app.module)),
      ...config.helpers.map(({ name, app }) =>
        write(`helper_${name}.js`, "lib/native/helper.ts", importing(app.module))
      ),
      write("logger.js", "lib/native/logger.ts"),
      write("metrics.js", "lib/native/metrics.ts"),
      write("resolver.js", "lib/native/resolver.ts"),
      write("folder.js", "lib/native/folder.ts"),
    ]);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return [...written, join(folder, "entry.js")];
}

async function writeEntry(entry: string, facts: NativeFacts, union: Permissions): Promise<void> {
  const programs: Record<string, string> = {
    supervisor: "./lib/supervisor/main.js",
    ...{ worker: "./worker.js", logger: "./logger.js", metrics: "./metrics.js" },
    resolver: "./resolver.js",
    folder: "./folder.js",
  };
  for (const role of Object.keys(facts.roles)) {
    programs[role] ??= `./${role.replace(" ", "_")}.js`;
  }
  const lines = Object.entries(programs).map(([role, path]) =>
    `  ${JSON.stringify(role)}: () => import(${JSON.stringify(path)}),`
  );
  await Deno.writeTextFile(
    entry,
    [
      'import { enter } from "./enter.js";',
      `await enter(${JSON.stringify(facts)}, ${JSON.stringify(union)}, {`,
      ...lines,
      "});",
      "",
    ].join("\n"),
  );
}

async function writeScript(
  output: string,
  { program, args, denoDir }: NonNullable<NativeFacts["interpreter"]>,
): Promise<void> {
  const quote = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;
  const command = [program, ...args].map(quote).join(" ");
  const text = `#!/bin/sh\nDENO_DIR=${quote(denoDir)} exec ${command} "$@"\n`;
  await Deno.writeTextFile(output, text);
  await Deno.chmod(output, 0o755);
}

interface Compilation {
  readonly entry: string;
  readonly output: string;
  readonly lock: string;
  readonly flags: readonly string[];
}

async function compile(source: Config, { entry, output, lock, flags }: Compilation): Promise<void> {
  const { values } = parseConfig(await readText(source.file), source.file);
  const assets = [values, ...Object.values(values.helpers)].flatMap(({ unveil }) =>
    Object.entries(unveil).filter(([path, rights]) => !path.startsWith("/") && !/[wc]/.test(rights))
      .map(([path]) => resolve(source.folder, path))
  );
  const thread = join(dirname(entry), "lib/supervisor/spawner_thread.js");
  const denortBin = Deno.env.get("DENORT_BIN");
  try {
    await runProgram(Deno.execPath(), [
      ...["compile", "--quiet", "--no-check", "--cached-only", lock],
      // It would keep what it compiled in a folder of /tmp that anybody may make first.
      "--no-code-cache",
      ...[thread, ...assets].map((path) => `--include=${path}`),
      ...flags,
      `--output=${resolve(output)}`,
      entry,
    ], {
      cwd: source.app.project,
      ...denortBin !== undefined && { env: { DENORT_BIN: denortBin } },
    });
  } catch (error) {
    throw explainCompile((error as Error).message, denortBin, error);
  }
}

/** What `deno compile` said, and what an operator can do about it. */
export function explainCompile(
  said: string,
  denortBin: string | undefined,
  cause?: unknown,
): HoldfastError {
  const wanted = `denort ${Deno.version.deno} for ${Deno.build.target}`;
  const portable = "or build with --portable, which needs none";
  if (denortBin !== undefined && /base binary|Writing binary|denort|No such file/i.test(said)) {
    return new HoldfastError(
      `deno compile cannot use the base runtime that DENORT_BIN names, ${denortBin}: ${said}`,
      {
        kind: "environment",
        code: "base_runtime",
        hint: `Set DENORT_BIN to ${wanted}, of exactly that version, ${portable}`,
        cause,
      },
    );
  }
  if (/base binary|denort|dl\.deno\.land/i.test(said)) {
    return new HoldfastError(
      `deno compile cannot get its base runtime, ${wanted}, which it downloads: ${said}`,
      {
        kind: "environment",
        code: "base_runtime",
        hint:
          `Set DENORT_BIN to such a program, let this machine reach Deno's downloads, ${portable}`,
        cause,
      },
    );
  }
  return new HoldfastError(`deno compile failed: ${said}`, {
    kind: "environment",
    code: "compile_failed",
    hint: "What it says is above; --portable builds without it",
    cause,
  });
}
