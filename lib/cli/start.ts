import { isJournal } from "../base/journal.ts";
import { configureLog, flushLog } from "../base/log.ts";
import { EXIT } from "../base/exit_code.ts";
import { rehearse, supervise } from "../../supervisor.ts";
import type { Command } from "./cli.ts";

/** Serves in the foreground. */
export const start: Command = async ({ config, system, rehearse: rehearsal }) => {
  const journal = isJournal(Deno.env.get("JOURNAL_STREAM"));
  configureLog(Deno.stderr.isTerminal() ? "pretty" : journal ? "journal" : "json");
  try {
    await (rehearsal ? rehearse(config, system) : supervise(config, system));
  } finally {
    await flushLog();
  }
  return EXIT.ok;
};
