/** Proposes the narrowest config for an app, from what it is refused while it serves. */
import { dirname, relative, resolve } from "node:path";
import { homedir } from "node:os";
import { existsSync, readFileSync, statSync } from "node:fs";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import type { Config } from "../config/config.ts";
import { resolveText } from "../config/resolve.ts";
import type { ConfigText } from "../config/runtime_place.ts";
import { Accesses } from "../learn/access.ts";
import { diffText, editText, withLines } from "../learn/edit_config.ts";
import { learn as learnFrom, type Learned } from "../learn/learn.ts";
import { namesOfUse, type Place, placesOf, wordsOf } from "../learn/propose.ts";
import { parseRequests } from "../learn/requests.ts";
import { Trial, type Values } from "../learn/trial.ts";
import { examineCode } from "../planner/plan_code.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import type { System } from "../supervisor/system.ts";
import { envFileValues, readEnvFile } from "../supervisor/env_file.ts";
import { appFile } from "./app_file.ts";
import type { CliCommand } from "./command.ts";
import { loadConfig } from "./load_config.ts";
import { printLine } from "./terminal.ts";

/** Where it is served while it is learned from. */
const HOST = "127.0.0.1";

/** A start that is slow is none that failed: what an app lacks, it says at once. */
const READY_MS = 60_000;

/** Keys that would take what belongs to the server that may run beside this one. */
const OF_SERVER = ["listen", "acme", "metrics", "traces", "log", "spare"];

/** Learns until the requests are done, or until Ctrl-C. */
export const learn: CliCommand = async ({ config: file, app, requests, apply, json, ...more }) => {
  const { system } = app === undefined ? more : appFile(app, { ...more, config: file });
  const config = await loadConfig(file, system);
  const read = await system.readConfig(file);
  if ("config" in read) {
    throw new HoldfastError("An executable has its config built in", {
      kind: "usage",
      code: "usage",
      hint: "Learn in the project, and build again",
    });
  }
  const asked = requests === undefined ? undefined : requestsIn(requests);
  const port = freePort();
  const origin = `http://${HOST}:${port}`;
  const runtime = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_learn_" }));
  const accesses = new Accesses();
  const place = await placeOf(config);
  const end = new AbortController();
  const stop = () => {
    if (!end.signal.aborted) return end.abort();
    // Asked twice: the app's processes leave by themselves.
    Deno.removeSync(runtime, { recursive: true });
    Deno.exit(INTERRUPTED);
  };
  const tell = json ? () => {} : (text: string) => say(text);
  for (const signal of SIGNALS) Deno.addSignalListener(signal, stop);
  try {
    tell("The app runs behind its wall, on a port and in a runtime folder of its own. What it is");
    tell("refused is granted to it here, and it is started again. It writes its real data.");
    if (asked === undefined) {
      tell("Use the app, everything that it does, and press Ctrl-C at last.");
    }
    const learned = await learnFrom({
      trial: new Trial({
        ...{ file: read.file, named: read.named, folder: read.folder, runtime, system },
        receive: (event, fields) => {
          if (event === "worker_lost") tell(`${fields.role} ended by itself: ${fields.how}`);
          accesses.take(event, fields);
        },
      }),
      ...{ accesses, place, origin, tell, requests: asked, signal: end.signal },
      values: trialValues(read, port, runtime),
      verify: (lines) => faultOf(read, withLines(read.raw, lines, read.folder), system),
    });
    const text = existsSync(read.file) ? readFileSync(read.file, "utf8") : newText(read);
    const edited = editText(text, learned.lines, read.folder);
    const applied = apply && edited !== text && learned.failure === undefined;
    if (applied) Deno.writeTextFileSync(read.file, edited);
    const shown = {
      learned,
      accesses,
      place,
      file: read.file,
      diff: diffText(text, edited),
      applied,
    };
    printLine(json ? asJson(shown) : asText(shown));
    return learned.failure === undefined ? EXIT.ok : EXIT.app;
  } finally {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, stop);
    await Deno.remove(runtime, { recursive: true });
  }
};

/** As shells say of a command that a signal ended. */
const INTERRUPTED = 130;

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

function requestsIn(file: string) {
  const path = resolve(file);
  try {
    const readFile = (name: string) => Deno.readFileSync(resolve(dirname(path), name));
    return parseRequests(Deno.readTextFileSync(path), file, readFile);
  } catch (error) {
    if (error instanceof HoldfastError || error instanceof Deno.errors.NotCapable) throw error;
    throw new HoldfastError(`Cannot read ${file}: ${(error as Error).message}`, {
      kind: "usage",
      code: "usage",
      hint: "Name a file of requests, one a line, such as: GET /",
      cause: error,
    });
  }
}

/** A port that is free now. */
function freePort(): number {
  using listener = Deno.listen({ hostname: HOST, port: 0 });
  return listener.addr.port;
}

/** The config as it is tried: with what grants, and nothing of the server that may run beside. */
function trialValues({ raw }: ConfigText, port: number, runtime: string): Values {
  const kept = Object.entries(raw).filter(([key]) => !OF_SERVER.includes(key));
  const reload = typeof raw.reload === "object" ? raw.reload : null;
  return {
    ...Object.fromEntries(kept),
    ...{ listen: [`${HOST}:${port}`], runtime, workers: 1 },
    reload: {
      ...{ ...reload, drainDeadlineMs: 5_000, shutdownDelayMs: 0, webSockets: "close" },
      ...{ widen: "allow", readyDeadlineMs: Math.max(READY_MS, ownDeadline(reload)) },
    },
  };
}

/** Why `check` would refuse a config, with all of its listeners, logs and certificates. */
async function faultOf(
  { file, named, folder }: ConfigText,
  values: Values,
  system: System,
): Promise<Error | undefined> {
  try {
    const source = { file, named, folder, text: JSON.stringify(values), warn: () => {} };
    const config = await resolveText(source);
    await system.planCode(
      knownConfig(config),
      (packed) => examineCode(config, { packed }),
    );
    return undefined;
  } catch (error) {
    if (error instanceof HoldfastError && error.kind === "config") return error;
    throw error;
  }
}

/** A value that is none is for the check to tell. */
function ownDeadline(reload: object | null): number {
  const { readyDeadlineMs } = Object(reload) as { readyDeadlineMs?: unknown };
  return typeof readyDeadlineMs === "number" ? readyDeadlineMs : 0;
}

async function placeOf(config: Config): Promise<Omit<Place, "refusedBy">> {
  await readEnvFile(config);
  const values = { ...Deno.env.toObject(), ...envFileValues(config) };
  const apps = [config, ...config.helpers].map(({ app }) => app);
  return {
    folder: config.folder,
    projects: [...new Set(apps.map(({ project }) => project))],
    modules: apps.map(({ module }) => module),
    home: homedir(),
    kindOf: (path) => {
      const found = statSync(path, { throwIfNoEntry: false });
      return found === undefined ? "missing" : found.isDirectory() ? "folder" : "file";
    },
    isSet: (name) => Object.hasOwn(values, name),
  };
}

/** What a config would be for an app that has none. */
function newText({ raw, folder }: ConfigText): string {
  const app = relative(folder, String(raw.app));
  return `${JSON.stringify({ ...raw, app: `./${app}` }, undefined, 2)}\n`;
}

interface Shown {
  readonly learned: Learned;
  readonly accesses: Accesses;
  readonly place: Pick<Place, "folder">;
  readonly file: string;
  readonly diff: string;
  readonly applied: boolean;
}

/** Where in the code, and how often. */
function reasons({ learned: { lines, apart }, accesses, place }: Shown) {
  const times = (count: number) => count === 1 ? "once" : `${count} times`;
  return {
    lines: lines.map((line) => {
      const count = accesses.timesOf(line.process, namesOfUse(line, place));
      const used = count === 0 ? "" : `; used ${times(count)}`;
      return { ...line, times: count, because: placesOf(line.seen, place) + used };
    }),
    apart: apart.map((each) => {
      const count = each.seen.reduce((sum, { times }) => sum + times, 0);
      const tried = count === 0 ? "" : `; ${times(count)}`;
      return { ...each, times: count, because: placesOf(each.seen, place) + tried };
    }),
  };
}

function asJson(shown: Shown): string {
  const { learned: { failure, replayed, rounds }, file, diff, applied } = shown;
  const { lines, apart } = reasons(shown);
  const without = ({ seen: _, ...each }: { seen: unknown }) => each;
  return JSON.stringify(
    {
      ...{ file, proposed: lines.map(without), apart: apart.map(without), diff, applied, rounds },
      ...replayed && { replayed },
      ...failure && { failure: failure.message },
    },
    undefined,
    2,
  );
}

function asText(shown: Shown): string {
  const { learned: { failure, replayed }, file, diff, applied } = shown;
  const { lines, apart } = reasons(shown);
  const entry = (process: string, what: string, ...why: string[]) =>
    [`  ${process}: ${what}`, ...why.map((each) => `      ${each}`)].join("\n");
  return [
    ...lines.length === 0
      ? ["Nothing is missing: the app was refused nothing that a line allows"]
      : [
        `Proposed for ${file}:`,
        ...lines.map((each) => entry(each.process, wordsOf(each), each.because)),
      ],
    ...apart.length === 0 ? [] : [
      "",
      "Not proposed:",
      ...apart.map(({ process, what, why, because }) => entry(process, what, because, why)),
    ],
    ...replayed === undefined ? [] : [
      "",
      `${replayed.sent} requests, ${replayed.failed.length} of them not answered by the app`,
      ...replayed.failed.map((each) => `  ${each}`),
    ],
    ...diff === ""
      ? []
      : ["", diff, "", applied ? `Written to ${file}` : "holdfast learn --apply writes it"],
    ...failure === undefined ? [] : ["", `It does not serve with that: ${failure.message}`],
  ].join("\n");
}

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}
