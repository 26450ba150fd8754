import { EXIT } from "../base/exit_code.ts";
import { isJournal, JOURNAL_SOCKET } from "./journal_stream.ts";
import { configureLog, flushLog } from "../base/log.ts";
import { sendAtOnce } from "../os/notify_socket.ts";
import { rehearse, supervise } from "../../supervisor.ts";
import type { CliCommand } from "./command.ts";
import { journal, TERMINAL } from "./log_formats.ts";

/** Serves in the foreground. */
export const start: CliCommand = async ({ config, system, rehearse: rehearsal }) => {
  if (Deno.stderr.isTerminal()) configureLog(TERMINAL);
  else if (isJournal(Deno.env.get("JOURNAL_STREAM"))) {
    configureLog(journal((entry) => sendAtOnce(JOURNAL_SOCKET, entry)));
  } else configureLog("json");
  try {
    await (rehearsal === undefined
      ? supervise(config, system)
      : rehearse(config, rehearsal, system));
  } finally {
    await flushLog();
  }
  return EXIT.ok;
};
