/** Why something was, or would be, refused. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import type { Config } from "../config/config.ts";
import { parseConfig } from "../config/parse.ts";
import { ConfigError } from "../config/problem.ts";
import { readConfig } from "../config/read.ts";
import { realPlace } from "../config/real_place.ts";
import { examineCode } from "../planner/plan_code.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import type { CliCommand, CommandOptions } from "./command.ts";
import { loadConfig } from "./load_config.ts";
import { answerQuestion, parseQuestion, type PolicyAnswer } from "./policy_question.ts";
import { eventLogOf, unreadable } from "./log_place.ts";
import { countRefusals } from "./refusal_log.ts";
import { formatTable } from "./table.ts";
import { printLine } from "./terminal.ts";
import { viewOfOutput } from "./text.ts";

/** How much of a log is read, its end. */
const MAX_LOG_BYTES = 32 * 1024 * 1024;

/** Lists what was refused, or answers a question. */
export const why: CliCommand = async (options) => {
  printLine(options.question === undefined ? await list(options) : await answer(options));
  return EXIT.ok;
};

async function list({ config: file, log, json, wide, system }: CommandOptions): Promise<string> {
  const text = log === "-"
    ? await new Response(Deno.stdin.readable).text()
    : readEnd(log === undefined ? eventLogOf(await loadConfig(file, system)) : resolve(log));
  const refusals = countRefusals(text.split("\n"));
  if (json) return JSON.stringify(refusals);
  if (refusals.length === 0) return "Nothing was refused";
  return formatTable(
    [
      { head: "TIMES", align: "right" },
      "LAST",
      "PROCESS",
      "REFUSED",
      { head: "FROM", rank: 0 },
      "ALLOWED BY",
    ],
    refusals.map(({ times, last, process, what, from, allow }) => [
      ...[times, last.slice(0, 19).replace("T", " "), process, what, from, allow],
    ]),
    viewOfOutput({ wide, piped: Infinity }).width,
  );
}

function readEnd(path: string): string {
  try {
    using file = Deno.openSync(path);
    const { size } = file.statSync();
    const start = Math.max(0, size - MAX_LOG_BYTES);
    file.seekSync(start, Deno.SeekMode.Start);
    return new TextDecoder().decode(readAll(file, size - start));
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** What a file has, up to so many bytes. */
function readAll(file: Deno.FsFile, most: number): Uint8Array {
  const bytes = new Uint8Array(most);
  let length = 0;
  while (length < most) {
    const read = file.readSync(bytes.subarray(length));
    if (read === null) break;
    length += read;
  }
  return bytes.subarray(0, length);
}

async function answer({ config: file, question, helper, json, system }: CommandOptions) {
  const config = await loadConfig(file, system);
  const compartment = helper === undefined
    ? config
    : config.helpers.find(({ name }) => name === helper);
  if (compartment === undefined) {
    const names = config.helpers.map(({ name }) => name).join(", ");
    throw new HoldfastError(`${config.file} has no helper ${JSON.stringify(helper)}`, {
      kind: "usage",
      code: "usage",
      hint: names === "" ? "It has none: leave --helper out" : `Its helpers are ${names}`,
    });
  }
  const asked = parseQuestion(question!, (path) => resolve(path), realPlace);
  const { code } = await system.planCode(
    knownConfig(config),
    (packed) => examineCode(config, { packed }),
  );
  const who = helper === undefined ? "worker" as const : `helper ${helper}` as const;
  const packages = code.processes[who]?.packages ?? [];
  const answers = answerQuestion(asked, {
    ...{ compartment, helper, packages, wall: config.wall, project: compartment.app.project },
  });
  for (const [index, each] of answers.entries()) {
    if (asked.kind === "path" && each.allowed && !existsSync(asked.path)) {
      answers[index] = { ...each, because: `${each.because}; nothing is there now` };
    }
    if (asked.kind !== "path" || each.allow === undefined) continue;
    const rights = each.may === "read" ? "r" : "rwc";
    const faults = await faultsWith(config, { path: asked.path, rights, helper }, system);
    if (faults === undefined) continue;
    const { allow: _, risk: __, ...rest } = each;
    answers[index] = { ...rest, because: `${each.because}; and no line can allow it: ${faults}` };
  }
  if (json) return JSON.stringify(answers.map((each) => ({ process: who, ...each })));
  const find = await placeFinder(config, helper);
  return answers.map((each) => format(who, each, find, config.file)).join("\n");
}

/** Why a config would be refused that unveils a path too. */
async function faultsWith(
  config: Config,
  { path, rights, helper }: { path: string; rights: string; helper: string | undefined },
  system: CommandOptions["system"],
): Promise<string | undefined> {
  const unveil = { path, rights, exists: true, folder: false };
  const others = (all: Config["unveil"]) => all.filter((each) => each.path !== path);
  const more = <Of extends Pick<Config, "unveil">>(of: Of): Of => ({
    ...of,
    unveil: [...others(of.unveil), unveil],
  });
  const changed = helper === undefined ? more(config) : {
    ...config,
    helpers: config.helpers.map((each) => each.name === helper ? more(each) : each),
  };
  try {
    await system.planCode(knownConfig(changed), (packed) => examineCode(changed, { packed }));
    return undefined;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ message }) => message).join("; ");
  }
}

type Key = PolicyAnswer["by"][number];

/** Finds the place of a key in the file; an executable has none. */
async function placeFinder(config: Config, helper: string | undefined) {
  try {
    const { positionOf, values } = parseConfig((await readConfig(config.file)).text, config.file);
    const inner = helper === undefined ? values : values.helpers[helper]!;
    const spelled = Object.keys(inner.unveil);
    return ([key, item]: Key): string => {
      const name = key === "unveil"
        ? spelled.find((path) => resolve(config.folder, path) === item)!
        : item!;
      const at = positionOf([...helper === undefined ? [] : ["helpers", helper], key!, name]);
      const said = key === "unveil" ? `{ "${name}": "${inner.unveil[name]}" }` : "";
      return `${config.file}:${at.line}:${at.column}: "${key}" ${said}`.trim();
    };
  } catch {
    return ([key, item]: Key) => `"${key}" of the config: ${item}`;
  }
}

function format(
  who: string,
  { may, what, allowed, by, because, allow, risk }: PolicyAnswer,
  find: (key: Key) => string,
  file: string,
): string {
  return [
    `${who}: may${allowed ? "" : " not"} ${may} ${what}: ${because}`,
    ...by.map((key) => `  ${allowed ? "by" : "though"} ${find(key)}`),
    ...allow === undefined ? [] : [`  ${allow} in ${file} would allow it`],
    ...risk === undefined ? [] : [`  with that, ${risk}`],
  ].join("\n");
}
