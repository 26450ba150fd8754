import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import * as z from "zod/mini";
import { VERSION } from "../lib/base/version.ts";
import { REPOSITORY } from "./harness/project.ts";

/** Which folders under lib/ the files of a folder may import from, besides their own. */
const MAY_IMPORT: Record<string, string[]> = {
  std: [],
  base: ["std"],
  os: ["sandbox"],
  protocol: ["base"],
  config: ["base"],
  sandbox: ["base", "protocol", "config"],
  planner: ["base", "protocol", "config", "child", "supervisor", "sandbox"],
  supervisor: ["base", "protocol", "config", "sandbox", "os", "planner"],
  child: ["base", "protocol", "sandbox"],
  worker: ["base", "protocol", "child", "helper"],
  helper: ["base", "protocol", "child"],
  logger: ["base", "protocol", "child"],
  metrics: ["base", "protocol", "child"],
  resolver: ["base", "protocol", "child"],
  acme: ["base", "protocol", "child"],
  audit: [
    "base",
    "protocol",
    "config",
    "sandbox",
    "os",
    "planner",
    "supervisor",
    "worker",
    "helper",
  ],
  compile: ["base", "protocol", "config", "sandbox", "planner", "supervisor", "init"],
  native: [
    ...["base", "protocol", "child", "planner", "worker", "helper", "logger", "metrics"],
    ...["resolver", "cli"],
  ],
  cli: [
    "std",
    "base",
    "protocol",
    "config",
    "sandbox",
    "os",
    "planner",
    "supervisor",
    "audit",
    "compile",
    "init",
    "learn",
    "service",
    "doctor",
  ],
  learn: ["base", "config", "supervisor"],
  init: ["base", "config"],
  service: ["base", "protocol", "config"],
  doctor: ["base", "config", "service"],
  dev: ["base", "protocol", "config", "planner", "supervisor", "cli"],
  injector: ["base", "protocol", "child", "worker"],
};

/** Which packages they may import. */
const MAY_USE: Record<string, string[]> = {
  std: ["@logtape/logtape", "minimist"],
  base: [],
  os: [],
  protocol: ["zod/mini"],
  config: ["zod", "zod/mini", "jsonc-parser", "leven"],
  sandbox: [],
  planner: ["zod/mini", "jsonc-parser", "cjs-module-lexer", "es-module-lexer"],
  supervisor: ["zod/mini"],
  child: ["zod/mini"],
  worker: [],
  helper: ["holdfast:app"],
  logger: ["zod/mini"],
  metrics: ["zod/mini", "prom-client"],
  resolver: ["zod/mini"],
  acme: ["zod/mini"],
  audit: ["zod/mini"],
  compile: ["zod", "jsonc-parser"],
  native: [],
  learn: ["jsonc-parser"],
  init: ["zod/mini", "jsonc-parser", "hono", "hono/deno"],
  service: [],
  doctor: [],
  cli: ["zod/mini", "leven", "fast-string-truncated-width", "fast-wrap-ansi"],
  dev: ["zod/mini", "jsonc-parser"],
  injector: ["holdfast:app"],
};

/** What an auditor must read. */
const PRIVILEGED = ["supervisor", "os", "sandbox"];

interface SourceFile {
  readonly path: string;
  readonly zone: string;
  readonly text: string;
}

function* sourceFiles(folder = join(REPOSITORY, "lib")): Generator<SourceFile> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = join(folder, name);
    if (isDirectory) yield* sourceFiles(path);
    else if (/\.tsx?$/.test(name)) {
      const zone = path.slice(join(REPOSITORY, "lib").length + 1).split("/")[0]!;
      yield { path, zone, text: Deno.readTextFileSync(path) };
    }
  }
}

function importsOf(text: string): string[] {
  // Examples in comments import too, but only for their reader.
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
  return [...code.matchAll(/(?<!")\b(?:from|import)\s*\(?\s*"([^"\n]+)"/g)].map((match) =>
    match[1]!
  );
}

Deno.test("every folder of lib/ imports only what its process may run", () => {
  const faults: string[] = [];
  for (const { path, zone, text } of sourceFiles()) {
    // Programs are in there, as text that an attacker would write.
    if (path.includes("/audit/attempts/")) continue;
    for (const specifier of importsOf(text)) {
      if (specifier.startsWith(".")) {
        const target = join(path, "..", specifier);
        const [folder] = target.slice(join(REPOSITORY, "lib").length + 1).split("/");
        const inLib = target.startsWith(join(REPOSITORY, "lib") + "/");
        const allowed = inLib
          ? folder === zone || MAY_IMPORT[zone]!.includes(folder!)
          : isEntry(zone, target);
        if (!allowed) faults.push(`${path} imports ${specifier}`);
      } else if (!specifier.startsWith("node:")) {
        const allowed = MAY_USE[zone]!.includes(specifier) ||
          specifier.startsWith("@std/") && MAY_IMPORT[zone]!.includes("std");
        if (!allowed) faults.push(`${path} uses ${specifier}`);
      }
    }
  }
  assertEquals(faults, []);
});

/** The files outside lib/ that a folder may import. */
function isEntry(zone: string, target: string): boolean {
  const name = target.slice(REPOSITORY.length + 1);
  return name === "supervisor.ts" && zone === "cli";
}

Deno.test("the foreign function interface is in lib/os, in the first lines of a process, and in the audit", () => {
  const users = [...sourceFiles()].filter(({ path, text }) =>
    /Deno\.dlopen|UnsafePointer/.test(text) && !path.endsWith("lib/child/later_filter.ts")
  );
  assert(users.length > 0);
  assertEquals(
    users.filter(({ zone }) => !["os", "audit"].includes(zone)).map(({ path }) => path),
    [],
  );
});

Deno.test("the privileged side speaks no HTTP and runs no shell", () => {
  const banned =
    /node:https?\b|Deno\.serve|\bfetch\(|\bhono\b|shell:|\bexec\(|\beval\(|new Function/;
  const faults = [...sourceFiles()]
    .filter(({ zone, text }) => PRIVILEGED.includes(zone) && banned.test(text));
  assertEquals(faults.map(({ path }) => path), []);
});

/** What starts a program that nothing confines, and why. */
const UNCONFINED: Record<string, string> = {
  "lib/supervisor/rehearsal.ts": "the new supervisor of an upgrade, which takes this one's place",
  "lib/supervisor/native_system.ts": "the new file of an executable, which the next start runs",
  "lib/supervisor/packed_system.ts": "the same, of a portable one",
};

Deno.test("the privileged side starts a program from a confined thread, with three exceptions", () => {
  const starts = /Deno\.Command|runProgram\(|child_process/;
  const found = [...sourceFiles()]
    .filter(({ zone, text }) =>
      PRIVILEGED.includes(zone) && starts.test(text.replace(/\/\*[\s\S]*?\*\//g, ""))
    );
  assertEquals(
    found.map(({ path }) => path.slice(REPOSITORY.length + 1)).sort(),
    Object.keys(UNCONFINED).sort(),
  );
});

Deno.test("a role is put into a text by roleText", () => {
  const faults = [...sourceFiles()].filter(({ zone, text }) =>
    zone === "supervisor" && /\$\{[\w.]*\.role\}/.test(text)
  );
  assertEquals(faults.map(({ path }) => path), []);
});

Deno.test("nothing prints past the log and the terminal", () => {
  // The one that runs in browsers has no other way.
  const faults = [...sourceFiles()].filter(({ path, text }) =>
    /\bconsole\./.test(text) && !path.endsWith("/dev/page_script.ts")
  );
  assertEquals(faults.map(({ path }) => path), []);
});

/** What the supervisor loads besides Holdfast's own files, and why it must. */
const PRIVILEGED_PACKAGES: Record<string, string> = {
  "@logtape/logtape": "puts the lines of the log together",
  "jsonc-parser": "finds the runtime folder in a config, and what its text grants",
  "zod/mini": "checks what other processes say, and what is left over an exec",
};

/** What the privileged process runs: its main thread, and the threads from which it spawns. */
const PRIVILEGED_ENTRIES = ["supervisor.ts", "lib/supervisor/spawner_thread.ts"];

/** At most so many lines, as `wc` counts them, are loaded by the supervisor. It may only become less. */
const MAX_PRIVILEGED_LINES = 19_041;

const Graph = z.object({
  modules: z.array(z.object({ specifier: z.string(), local: z.optional(z.string()) })),
});

async function modulesOf(entry: string) {
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", entry],
    cwd: REPOSITORY,
  }).output();
  assertEquals(code, 0);
  return Graph.parse(JSON.parse(new TextDecoder().decode(stdout))).modules;
}

Deno.test("what the privileged process loads is known by name and counted", async () => {
  const modules = (await Promise.all(PRIVILEGED_ENTRIES.map(modulesOf))).flat();
  const packages = modules.flatMap(({ specifier }) =>
    specifier.match(/^npm:\/?(@?[^@]+)@[^/]+(\/.*)?$/)?.slice(1).join("") ?? []
  );
  assertEquals([...new Set(packages)].sort(), Object.keys(PRIVILEGED_PACKAGES).sort());
  const own = [
    ...new Set(
      modules.flatMap(({ local }) => local?.startsWith(`${REPOSITORY}/`) ? [local] : []),
    ),
  ];
  const lines = own.reduce(
    (sum, path) => sum + Deno.readTextFileSync(path).split("\n").length - 1,
    0,
  );
  // deno-lint-ignore no-console
  console.log(`privileged side: ${lines} lines in ${own.length} files`);
  assert(lines <= MAX_PRIVILEGED_LINES, `${lines} lines`);
  // None of these runs there.
  const foreign = own.filter((path) =>
    /\/lib\/(audit|compile|worker|helper|child|logger|metrics|resolver|acme|dev|injector)\//.test(
      path,
    )
  );
  assertEquals(foreign, []);
});

Deno.test("the version in the code is that of deno.json", () => {
  const { version } = JSON.parse(Deno.readTextFileSync(join(REPOSITORY, "deno.json")));
  assertEquals(VERSION, version);
});
