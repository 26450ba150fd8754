import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { isJournal, JOURNAL_SOCKET } from "./journal_stream.ts";
import { configureLog, flushLog } from "../base/log.ts";
import { sendAtOnce } from "../os/notify_socket.ts";
import { supervise } from "../../supervisor.ts";
import { CONFIG_UNCLEAR } from "../supervisor/parts.ts";
import type { CliCommand } from "./command.ts";
import { journal, TERMINAL } from "./log_formats.ts";

/** Serves in the foreground. */
export const start: CliCommand = async ({ config, system, rehearse: rehearsal }) => {
  if (Deno.stderr.isTerminal()) configureLog(TERMINAL);
  else if (isJournal(Deno.env.get("JOURNAL_STREAM"))) {
    configureLog(journal((entry) => sendAtOnce(JOURNAL_SOCKET, entry)));
  } else configureLog("json");
  try {
    if (rehearsal === undefined) await supervise(config, system);
    else {await (await import("../supervisor/rehearsing.ts")).runRehearsal(
        config,
        rehearsal,
        system,
      );}
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== CONFIG_UNCLEAR) throw error;
    throw await (await import("./refused_config.ts")).refusedConfig(config);
  } finally {
    await flushLog();
  }
  return EXIT.ok;
};
