/** What is granted and was not used, by what the processes told the log. */
import { resolve } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import type { Config } from "../config/config.ts";
import type { CliCommand } from "./command.ts";
import { readLines } from "./follow_file.ts";
import { type GrantState, statesOf, UsedGrants } from "./grant_log.ts";
import { loadConfig } from "./load_config.ts";
import { sinceOf } from "./log_filter.ts";
import { eventLogOf, oldLogsOf, unreadable } from "./log_place.ts";
import { formatTable } from "./table.ts";
import { printLine } from "./terminal.ts";

/** Lists them. */
export const unused: CliCommand = async ({ config: file, log, since, json, system }) => {
  const config = await loadConfig(file, system);
  const used = new UsedGrants(since && new Date(sinceOf(since, Date.now())).toISOString());
  const path = log === "-" ? "/dev/stdin" : log && resolve(log);
  try {
    for (const each of path === undefined ? filesOf(config) : [path]) {
      for await (const line of readLines(each)) used.take(line);
    }
  } catch (error) {
    throw error instanceof HoldfastError ? error : unreadable(path ?? config.log.folder!, error);
  }
  const states = statesOf(config, used).filter(({ state }) => state !== "used");
  const silent = ["worker", ...config.helpers.map(({ name }) => `helper ${name}`)]
    .filter((process) => !used.hasTold(process));
  const { begin = null } = used;
  printLine(
    json ? JSON.stringify({ since: begin, unused: states, silent }) : asText(states, silent, begin),
  );
  return EXIT.ok;
};

/** Where the events are, if they are in no file. */
const PIPED = "journalctl -o cat HOLDFAST_EVENT=grants_used | holdfast unused --log -";

/** The files of a log, the oldest first. */
function filesOf(config: Config): string[] {
  const path = eventLogOf(config, PIPED);
  return [...oldLogsOf(path).map((old) => old.path), path];
}

const SAID: Readonly<Record<GrantState["state"], string>> = {
  "unused": "not used",
  "only read": "only read",
  "only written": "only written",
  "unseen": "cannot be seen: the runtime itself reads it",
  "used": "used",
};

function asText(
  states: readonly GrantState[],
  silent: readonly string[],
  begin: string | null,
): string {
  if (begin === null) return "The log is empty: nothing is known yet";
  const from = begin.slice(0, 16).replace("T", " ");
  // Of who has told nothing, nothing is known.
  const known = states.filter(({ process }) => !silent.includes(process));
  return [
    known.length === 0 ? `Nothing that is known to be unused since ${from}` : formatTable(
      ["PROCESS", "GRANTED", `SINCE ${from}`, "LAST"],
      known.map(({ process, grant, state, last = "" }) => [
        ...[process, grant, SAID[state], last.slice(0, 16).replace("T", " ")],
      ]),
    ),
    ...silent.length === 0 ? [] : [
      "",
      `Not known: ${silent.join(", ")} told nothing since then. A process tells what it uses a ` +
      "minute after the first use, and when it ends",
    ],
  ].join("\n");
}
