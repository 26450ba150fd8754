/**
 * An app that is served without a config: as if a config at the place where one is looked for said only
 * `app` and `listen`. As soon as there is one, a reload reads that.
 */
import { existsSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { type ConfigText, DEFAULT_RUNTIME, type RuntimePlace } from "../config/runtime_place.ts";
import { ConfigError } from "../config/problem.ts";
import { realPlace } from "../config/real_place.ts";
import { spelledPath, workingFolder } from "../config/spelled_path.ts";
import { findApp } from "../init/find_app.ts";
import type { System } from "../supervisor/system.ts";

const DEFAULT_PORT = "8000";

/** The address of an app without a config: that of the variable PORT, as hosts of apps give it. */
function addressOf(port = Deno.env.get("PORT") || DEFAULT_PORT): string {
  if (/^[1-9]\d{0,4}$/.test(port) && Number(port) <= 65_535) return `127.0.0.1:${port}`;
  throw usage(
    `PORT is ${JSON.stringify(port)}`,
    "Set it to a port from 1 to 65535, or unset it; see --help",
  );
}

function usage(message: string, hint: string): HoldfastError {
  return new HoldfastError(message, { kind: "usage", code: "usage", hint });
}

/** The app that is served without a config, and where. */
export interface AppFile {
  /** Absolute. */
  readonly app: string;
  readonly listen: string;
  readonly system: System;
}

/**
 * The effects of a supervisor that serves an app without a config.
 *
 * @param file the app as it was given
 * @param config where a config would be
 * @param isSuccessor whether it takes the place of another supervisor, since when a config may have come
 * @throws {HoldfastError} if there is a config, or no such app
 */
export function appFile(
  file: string,
  { config, system, isSuccessor = false }: {
    readonly config: string;
    readonly system: System;
    readonly isSuccessor?: boolean;
  },
): AppFile {
  const app = spelledPath(file);
  if (/\.jsonc?$/.test(file)) {
    throw usage(`${file} is no module`, `If it is the config, write --config ${file}; see --help`);
  }
  if (existsSync(config) && !isSuccessor) {
    throw usage(
      `There is a config, ${config}, and it names the app`,
      `Leave ${file} out, or write it as "app" of the config; see --help`,
    );
  }
  if (!isSuccessor) requireFile(file, app);
  const listen = addressOf();
  const place = (): RuntimePlace => {
    const folder = dirname(realPlace(config));
    return { folder, runtime: join(folder, DEFAULT_RUNTIME) };
  };
  const raw = { app, listen: [listen] };
  const text = (): ConfigText => ({
    ...{ ...place(), file: realPlace(config), named: config, raw },
    ...{ text: JSON.stringify(raw), certain: true },
  });
  return {
    ...{ app, listen },
    system: {
      ...system,
      readConfig: (named) =>
        existsSync(config) ? system.readConfig(named) : Promise.resolve(text()),
      locateRuntime: (named) =>
        existsSync(config) ? system.locateRuntime(named) : Promise.resolve(place()),
      ownProgram: (named) => {
        const { program, args } = system.ownProgram(named);
        return { program, args: args.map((each) => each === file ? app : each) };
      },
    },
  };
}

/** As it is typed in the working folder. */
function spell(path: string): string {
  const folder = workingFolder();
  return path.startsWith(`${folder}/`) ? relative(folder, path) : path;
}

function requireFile(file: string, app: string): void {
  const found = statSync(app, { throwIfNoEntry: false });
  if (found?.isFile()) return;
  const what = found === undefined ? "not there" : found.isDirectory() ? "a folder" : "not a file";
  const folder = found?.isDirectory() ? app : dirname(app);
  throw usage(
    `${file} is ${what}`,
    `${suggestion(folder) ?? "Name the module that is the app"}; see --help`,
  );
}

/** What could be served without a config, as a command. */
function suggestion(folder: string): string | undefined {
  try {
    const { app } = findApp(folder);
    return app && `Did you mean ${spell(join(folder, app))}?`;
  } catch {
    return undefined;
  }
}

/** What an error is where there is no config: that is said, and what to do without one. */
export function withoutConfig(error: unknown, config: string): unknown {
  const isAbsent = error instanceof ConfigError && error.cause instanceof Deno.errors.NotFound &&
    error.problems[0]?.code === "config_unreadable" && !existsSync(config);
  if (!isAbsent) return error;
  return new HoldfastError(`There is no config: ${config} is not there`, {
    kind: "config",
    code: "config_absent",
    hint: "holdfast init writes one; --config FILE names another; without one, " +
      `holdfast start FILE serves an app${example(dirname(config))}`,
    cause: error,
  });
}

function example(folder: string): string {
  try {
    const { app } = findApp(folder);
    return app === undefined ? "" : `, such as: holdfast start ${spell(join(folder, app))}`;
  } catch {
    return "";
  }
}
