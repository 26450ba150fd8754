import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { INHERITANCE_VARIABLE } from "../supervisor/inheritance.ts";
import { isJournal, JOURNAL_SOCKET } from "./journal_stream.ts";
import { configureLog, flushLog, log } from "../base/log.ts";
import { sendAtOnce } from "../os/notify_socket.ts";
import { supervise } from "../../supervisor.ts";
import { CONFIG_UNCLEAR } from "../supervisor/parts.ts";
import { appFile, withoutConfig } from "./app_file.ts";
import type { CliCommand } from "./command.ts";
import { ignoredRuntime } from "./ignored_runtime.ts";
import { journal, TERMINAL } from "./log_formats.ts";
import { Progress } from "./progress.ts";

const STARTING = "starting; what is not there yet is fetched and compiled";

/** Serves in the foreground. */
export const start: CliCommand = async ({ config, app, rehearse: rehearsal, ...more }) => {
  const isSuccessor = rehearsal !== undefined || Deno.env.has(INHERITANCE_VARIABLE);
  using progress = isSuccessor ? undefined : new Progress(STARTING, { afterMs: 1_000 });
  if (Deno.stderr.isTerminal()) configureLog(progress?.within(TERMINAL, "serving") ?? TERMINAL);
  else if (isJournal(Deno.env.get("JOURNAL_STREAM"))) {
    configureLog(journal((entry) => sendAtOnce(JOURNAL_SOCKET, entry)));
  } else configureLog("json");
  const { system, listen } = app === undefined
    ? { ...more, listen: undefined }
    : appFile(app, { ...more, config, isSuccessor });
  try {
    if (listen !== undefined && !isSuccessor) {
      log.info("no_config", { app, listen, hint: "holdfast init writes one" });
    }
    if (rehearsal === undefined) await supervise(config, ignoredRuntime(system));
    else {await (await import("../supervisor/rehearsing.ts")).runRehearsal(
        config,
        rehearsal,
        system,
      );}
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== CONFIG_UNCLEAR) {
      throw withoutConfig(error, config);
    }
    throw await (await import("./refused_config.ts")).refusedConfig(config);
  } finally {
    await flushLog();
  }
  return EXIT.ok;
};
