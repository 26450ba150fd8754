/** Writes a config for the project in a folder, or a new app with one. */
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { VERSION } from "../base/version.ts";
import { workingFolder } from "../config/spelled_path.ts";
import { type Found, inspect } from "../init/inspect.ts";
import { configText, newApp } from "../init/templates.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import type { CliCommand } from "./command.ts";
import { printLine } from "./terminal.ts";

/** Files that a folder may have and still be a place for a new app. */
const HARMLESS = /^(\.git|\.gitignore|\.DS_Store|LICENSE.*|README.*)$/i;

/** How many modules are named of which any may be the app. */
const MAX_NAMED = 5;

/** Asks on a terminal; elsewhere, or with --yes, the proposal is taken. */
function ask(question: string, proposed: string, yes: boolean): string {
  if (yes || !Deno.stdin.isTerminal()) return proposed;
  return prompt(`${question}`, proposed)?.trim() || proposed;
}

/** Writes files, none over another; says so for each. */
async function write(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    if (existsSync(path)) {
      printLine(`  kept     ${name}`);
      continue;
    }
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.writeTextFile(path, text, { createNew: true });
    printLine(`  written  ${name}`);
  }
}

/** Makes `holdfast.jsonc`: asks at most three questions, and none with `--yes`. */
export const init: CliCommand = async ({ config: file, yes }) => {
  const folder = dirname(file);
  if (existsSync(file)) {
    throw new HoldfastError(`${file} is there already`, {
      kind: "usage",
      code: "config_exists",
      hint: "See what it means: holdfast check, holdfast explain; or remove it first",
    });
  }
  await Deno.mkdir(folder, { recursive: true });
  // A package of npm lies in node_modules; its schema and its command are there.
  const hasPackage = basename(dirname(HOLDFAST_FOLDER)) === "node_modules";
  if (readdirSync(folder).every((name) => HARMLESS.test(name))) {
    const name = basename(folder).toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(
      /^[._-]+/,
      "",
    );
    printLine(`A new app in ${folder}:`);
    await write(folder, newApp(HOLDFAST_FOLDER, name || "app", hasPackage));
    printLine(describeNext(folder, hasPackage ? ["npm install"] : [], hasPackage));
    return EXIT.ok;
  }
  const found = inspect(folder);
  const app = ask("Which module is the app?", found.app ?? "", yes);
  requireApp(folder, app, found);
  const port = Number(ask("Which port is it to listen on?", String(found.port), yes));
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new HoldfastError("A port is a number from 1 to 65535", { kind: "usage", code: "usage" });
  }
  printLine(`The app in ${folder}:`);
  printLine(`  app      ${app}${app === found.app ? `, since ${found.why}` : ""}`);
  for (const line of describeFound(found)) printLine(`  ${line}`);
  const isInstalled = existsSync(join(folder, "node_modules/holdfast"));
  await write(folder, { [basename(file)]: configText({ ...found, app, port }, isInstalled) });
  // It may run from a folder that npm will throw away.
  const steps = hasPackage && !isInstalled ? [`npm install holdfast@${VERSION}`] : [];
  printLine(describeNext(folder, [...steps, "holdfast check"], isInstalled || hasPackage));
  return EXIT.ok;
};

function requireApp(folder: string, app: string, { others }: Found): void {
  if (app !== "" && existsSync(join(folder, app))) return;
  const none = others.length === 0
    ? `No module in ${folder} looks like an app`
    : `Several modules in ${folder} look like an app: ${others.slice(0, MAX_NAMED).join(", ")}`;
  throw new HoldfastError(app === "" ? none : `No ${app}`, {
    kind: "usage",
    code: "app_not_found",
    hint: "It is the module that exports the app or starts its server: build it first if it is " +
      'what a build makes, or write {"app": "./FILE", "listen": ["127.0.0.1:8000"]} to holdfast.jsonc',
  });
}

function describeFound({ unveil, tmp, net, env, envFile, misplaced }: Found): string[] {
  return [
    ...Object.entries(unveil).map(([path, rights]) =>
      `unveil   ${path}  ${rights === "r" ? "read" : "read, written and created"}`
    ),
    ...tmp ? ["tmp      a folder for temporary files"] : [],
    ...net.length > 0 ? [`net      ${net.join(", ")}`] : [],
    ...env.length > 0 ? [`env      ${env.join(", ")}`] : [],
    ...envFile === undefined ? [] : [`envFile  ${envFile}`],
    ...misplaced.map((path) =>
      `look at  ${path} is written where code lies, which no config can allow: keep it in ./data/`
    ),
  ];
}

function describeNext(folder: string, steps: readonly string[], hasPackage: boolean): string {
  const place = relative(workingFolder(), folder);
  const word = /^[\w./-]+$/.test(place) ? place : `'${place.replaceAll("'", `'\\''`)}'`;
  const all = [...place === "" ? [] : [`cd ${word}`], ...steps, "holdfast start"];
  const command = (step: string) =>
    hasPackage && step.startsWith("holdfast") ? `npx ${step}` : step;
  return ["", "Next:", ...all.map((step) => `  ${command(step)}`)].join("\n");
}
