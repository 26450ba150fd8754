/**
 * Makes an executable by `deno compile`: one program that is supervisor, worker, helper and logger,
 * built with what all of them may do, of which each keeps its own.
 */
import { basename, dirname, join, relative, resolve } from "node:path";
import { cp } from "node:fs/promises";
import { HoldfastError } from "../base/error.ts";
import { VERSION } from "../base/version.ts";
import { loadConfig } from "../config/load.ts";
import { readConfig } from "../config/read.ts";
import type { Config } from "../config/config.ts";
import { NATIVE_FORMAT, type NativeFacts, type Permissions } from "../protocol/native.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { permissionFlags, rolePermissions, unionOf } from "../sandbox/native_policy.ts";
import { loadNative } from "../supervisor/native_system.ts";
import { UNPACKED_FOLDERS } from "../supervisor/unpacked.ts";
import { runProgram } from "../planner/deno.ts";
import { bundleAll } from "../planner/bundle.ts";
import { controlSocketPath } from "../supervisor/runtime_folder.ts";
import { collect, readVersion } from "./collect.ts";
import { nameOf, requireFileName } from "./name.ts";
import { BuildImage } from "./pack_image.ts";
import { replaceOnce, SPAWNER_THREAD } from "./programs.ts";

/** What a build is to make. */
export interface NativeOptions {
  readonly configFile: string;
  readonly output: string;
  /** The name of the app; the default is that of the config, or of its folder. */
  readonly name?: string | undefined;
  /** Where the executable and its data will lie. */
  readonly state: string;
  /**
   * `compile` makes the executable. `interpret` makes a script that has `deno run` do the same with
   * the same permissions, where no base runtime can be had; it needs the build's folder.
   */
  readonly how: "compile" | "interpret";
  /** Told what is done next. */
  readonly onStep?: (what: string) => void;
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
  const { configFile, output, state, how, onStep = () => {} } = options;
  requireFileName(basename(output));
  const source = await loadConfig(configFile);
  const name = await nameOf(source, options.name);
  requireOneProject(source);
  refuseTraces(source);
  refuseJitless(source);
  refuseUnbuildable(source);
  refuseTls(source);
  onStep("looking at the app's code");
  await using image = await BuildImage.make(source);
  const made = await Deno.makeTempDir({ prefix: "holdfast_compile_" });
  const folder = await Deno.realPath(made);
  try {
    const entry = join(folder, "entry.js");
    const denoDir = join(folder, "deno_dir");
    const { root } = await collect({
      ...{ config: source, modules: image.modules, stage: folder, output, places: "none" },
    });
    await Deno.mkdir(join(folder, UNPACKED_FOLDERS.app), { recursive: true });
    const packages = await writePackages(image, source, { folder, denoDir });
    onStep("bundling Holdfast's programs");
    const program = await writePrograms(folder);
    await image.pack(root, join(folder, UNPACKED_FOLDERS.image), program);
    const place = {
      executable: join(state, basename(output)),
      state,
      config: await readText(configFile),
      interpreter: how === "compile" ? null : {
        program: Deno.execPath(),
        args: [] as string[],
        denoDir,
        folder: join(folder, UNPACKED_FOLDERS.app, relative(root, source.folder)),
        files: folder,
      },
    };
    const config = await loadNative(place);
    const roles = rolePermissions(config, {
      controlSocket: controlSocketPath(config.runtime),
      programs: [place.executable, ...place.interpreter ? [place.interpreter.program] : []],
    });
    const union = unionOf(roles);
    const flags = permissionFlags(union);
    const settings = [
      `--config=${join(folder, "deno.json")}`,
      `--lock=${join(folder, "deno.lock")}`,
      "--frozen",
    ];
    place.interpreter?.args.push("run", "--quiet", "--cached-only", ...settings, ...flags, entry);
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
      packages,
      ...place,
    };
    await writeEntry(entry, facts, union);
    await Deno.mkdir(dirname(resolve(output)), { recursive: true });
    onStep("making the executable");
    if (place.interpreter) await writeScript(output, place.interpreter);
    else await compile({ folder, entry, output, settings, flags });
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
/** Whether V8 compiles is the same for all processes of such a program. */
function refuseJitless(config: Config): void {
  if (![config, ...config.helpers].some(({ jitless }) => jitless)) return;
  throw new HoldfastError("Cannot build a process without V8's compilers into this program", {
    kind: "config",
    code: "compile_jitless",
    hint: 'Leave "jitless" out, or build with --portable',
  });
}

function refuseTraces({ traces }: Config): void {
  if (traces === undefined) return;
  throw new HoldfastError(`Cannot build the traces to ${traces.collector} into this program`, {
    kind: "config",
    code: "compile_traces",
    hint: 'Leave "traces" out, or build with --portable',
  });
}

/**
 * Deno's permissions are compiled in: folders for temporary files have no name before, and native code would
 * be granted to every process.
 */
function refuseUnbuildable(config: Config): void {
  const addon = config.helpers.find(({ native }) => native);
  if (addon !== undefined) {
    throw new HoldfastError(
      `Cannot build native code of the helper ${addon.name} into this program`,
      {
        kind: "config",
        code: "compile_addon",
        hint: 'Leave "native" out, or build with --portable',
      },
    );
  }
  if (![config, ...config.helpers].some(({ tmp }) => tmp)) return;
  throw new HoldfastError('Cannot build "tmp" into this program', {
    kind: "config",
    code: "compile_tmp",
    hint: 'Unveil a folder with "rwc" and set TMPDIR in "env", or build with --portable',
  });
}

/** Its worker would have to keep the name by which it listens, or give up what the app has. */
function refuseTls({ listen }: Config): void {
  const https = listen.find(({ tls }) => tls !== undefined);
  if (https === undefined) return;
  throw new HoldfastError(`This program cannot serve HTTPS on ${https.text}`, {
    kind: "config",
    code: "compile_https",
    hint: "Build with --portable, or let a proxy in front end TLS",
  });
}

/** The packages that an image imports, as `npm:/NAME@VERSION`. */
const PACKAGE = /^npm:\/?((?:@[^/]+\/)?[^@/]+)@([^/]+)/;

/**
 * Writes the packages of an image and what names them: they become a part of the program.
 *
 * @returns from where a role finds its packages, if they are in folders called node_modules
 */
async function writePackages(
  image: BuildImage,
  config: Config,
  { folder, denoDir }: { folder: string; denoDir: string },
): Promise<Record<string, string>> {
  const copies = join(folder, "packages");
  const copied = await image.copyPackages(copies);
  const found: Record<string, string> = {};
  for (const [index, { packages, layout, project }] of image.plan.processes.entries()) {
    const id = copied.get(packages);
    if (id === undefined || layout !== "node_modules") continue;
    const role = index === 0 ? "worker" : `helper ${config.helpers[index - 1]!.name}`;
    found[role] = `./${join("packages", id, project, "packages.js")}`;
  }
  await Deno.mkdir(join(denoDir, "npm"), { recursive: true });
  const isCache = Object.keys(found).length === 0;
  if (isCache) {
    for (const id of copied.values()) {
      await cp(join(copies, id, "npm"), join(denoDir, "npm"), { recursive: true });
    }
    await Deno.remove(copies, { recursive: true }).catch(() => {});
  }
  const { text: lock, specifiers } = lockOf(image);
  const imported = [...image.images.values()].flatMap(({ modules, aliases }) => [
    ...Object.values(aliases),
    ...Object.values(modules).flatMap(({ imports }) => Object.values(imports)),
  ]);
  const packages = [...new Set(imported)].filter((each) => {
    const [, name, version] = PACKAGE.exec(each) ?? [];
    return name !== undefined && Object.hasOwn(specifiers, `npm:${name}@${version}`);
  });
  const [first] = image.images.keys();
  await Deno.copyFile(image.path(join(first!, "deno.json")), join(folder, "deno.json"));
  await Deno.writeTextFile(join(folder, "deno.lock"), lock);
  // Nobody runs it: what it names is found when the program is built.
  const lines = packages.sort().map((each) => `  () => import(${JSON.stringify(each)}),`);
  const text = `export const packages = [\n${lines.join("\n")}\n];\n`;
  await Deno.writeTextFile(join(folder, "packages.js"), text);
  return found;
}

/** The lock of an image, with the packages of its module graphs and nothing else of npm. */
function lockOf(image: BuildImage): { text: string; specifiers: Record<string, string> } {
  const used = image.read("modules").split("\n").flatMap((line) =>
    / npm:(.*)$/.exec(line)?.slice(1) ?? []
  );
  const [first] = image.images.keys();
  const lock = JSON.parse(image.read(join(first!, "deno.lock")));
  const ids = Object.keys(lock.npm ?? {}).filter((id) =>
    used.some((name) => id.startsWith(`${name}@`))
  );
  const specifiers: Record<string, string> = {};
  for (const [specifier, version] of Object.entries<string>(lock.specifiers ?? {})) {
    const name = /^npm:(@?[^@]+)@/.exec(specifier)?.[1];
    if (ids.includes(`${name}@${version}`)) specifiers[specifier] = version;
  }
  // As an image names them: without what they were resolved beside.
  for (const id of ids) {
    const [, name, version] = /^(@?[^@]+)@(.*)$/.exec(id)!;
    specifiers[`npm:${name}@${version!.replace(/_.*$/, "")}`] = version!;
  }
  const npm = Object.fromEntries(ids.map((id) => [id, lock.npm[id]]));
  return { text: JSON.stringify({ version: lock.version, specifiers, npm }), specifiers };
}

/** Where each of Holdfast's own programs lies: it looks for Holdfast's folder two levels up. */
const OWN_PROGRAMS: Readonly<Record<string, string>> = {
  "lib/native/enter.ts": "enter.js",
  "lib/native/supervisor.ts": "lib/supervisor/main.js",
  "lib/supervisor/spawner_thread.ts": "lib/supervisor/spawner_thread.js",
  "lib/native/planner.ts": "planner.js",
  "lib/native/worker.ts": "worker.js",
  "lib/native/helper.ts": "helper.js",
  "lib/native/logger.ts": "logger.js",
  "lib/native/metrics.ts": "metrics.js",
  "lib/native/resolver.ts": "resolver.js",
};

/** What of Holdfast is bundled into an executable. */
export const NATIVE_PROGRAMS: readonly string[] = Object.keys(OWN_PROGRAMS);

/** Writes Holdfast's own programs; gives a text that changes with any of them. */
async function writePrograms(folder: string): Promise<string> {
  const work = await Deno.makeTempDir({ prefix: "holdfast_bundle_" });
  try {
    const texts = await bundleAll(work, Object.keys(OWN_PROGRAMS));
    for (const [index, path] of Object.values(OWN_PROGRAMS).entries()) {
      const to = join(folder, path);
      await Deno.mkdir(dirname(to), { recursive: true });
      const text = texts[index]!;
      const isMain = path === "lib/supervisor/main.js";
      await Deno.writeTextFile(
        to,
        isMain ? replaceOnce(text, SPAWNER_THREAD, '"./spawner_thread.js"') : text,
      );
    }
    return JSON.stringify([Deno.version, texts]);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function writeEntry(entry: string, facts: NativeFacts, union: Permissions): Promise<void> {
  const programs: Record<string, string> = { supervisor: "./lib/supervisor/main.js" };
  for (const role of Object.keys(facts.roles)) {
    programs[role] ??= `./${role.split(" ")[0]}.js`;
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
  readonly folder: string;
  readonly entry: string;
  readonly output: string;
  readonly settings: readonly string[];
  readonly flags: readonly string[];
}

/** What lies in the program besides the modules that import each other. */
const INCLUDED = [
  ...[UNPACKED_FOLDERS.app, UNPACKED_FOLDERS.image, "packages"],
  ...["packages.js", "lib/supervisor/spawner_thread.js"],
];

async function compile(
  { folder, entry, output, settings, flags }: Compilation,
): Promise<void> {
  const included = INCLUDED.map((name) => join(folder, name)).filter(isThere);
  const denortBin = Deno.env.get("DENORT_BIN");
  try {
    await runProgram(Deno.execPath(), [
      ...["compile", "--quiet", "--no-check", "--cached-only", ...settings],
      // It would keep what it compiled in a folder of /tmp that anybody may make first.
      "--no-code-cache",
      ...included.map((path) => `--include=${path}`),
      ...flags,
      `--output=${resolve(output)}`,
      entry,
    ], {
      cwd: folder,
      ...denortBin !== undefined && { env: { DENORT_BIN: denortBin } },
    });
  } catch (error) {
    throw explainCompile((error as Error).message, denortBin, error);
  }
}

function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
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
