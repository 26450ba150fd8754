import { ownUid } from "../base/own_uid.ts";
import { EXIT } from "../base/exit_code.ts";
import { configureLog, flushLog, log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { readProc, readProcess } from "../os/file.ts";
import { landlockAbi } from "../os/landlock.ts";
import type { Warning } from "../planner/make_image.ts";
import { checkTls } from "../planner/check_tls.ts";
import { examineCode } from "../planner/plan_code.ts";
import { AccountTable } from "../supervisor/accounts.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import { socketsOf } from "../sandbox/dialling.ts";
import { diallingUnguarded, requireWall } from "../supervisor/require_wall.ts";
import { readEnvFile } from "../supervisor/env_file.ts";
import { appFile } from "./app_file.ts";
import type { CliCommand } from "./command.ts";
import { judgeNow } from "./judged_accounts.ts";
import { loadConfig } from "./load_config.ts";
import { TERMINAL } from "./log_formats.ts";
import { Progress } from "./progress.ts";
import { printLine } from "./terminal.ts";
import { findUnset } from "./unset_variables.ts";

/**
 * Asks whether this user could see whom the processes dial.
 *
 * @throws {HoldfastError} if not, and Unix sockets are among that
 */
function requireDialGuard(config: Config): void {
  const who = [{ name: "the worker", ...config }, ...config.helpers]
    .find(({ net }) => socketsOf(net).length > 0)?.name;
  if (who === undefined) return;
  const capabilities = readProcess(Deno.pid, "status")?.match(/^CapEff:\s*([0-9a-f]+)$/m)?.[1];
  if ((BigInt(`0x${capabilities ?? 0}`) >> CAP_SYS_PTRACE & 1n) === 1n) return;
  // Without Yama, a user may look at the processes of that user.
  const scope = Number(readProc("sys/kernel/yama/ptrace_scope", 16) ?? 0);
  if (ownUid() === 0 || scope > 1) throw diallingUnguarded(who);
}

const CAP_SYS_PTRACE = 19n;

/** Validates without starting: it binds no address and spawns no worker. Warnings go to stderr. */
export const check: CliCommand = async ({ config: file, app, ...more }) => {
  using progress = new Progress("looking at the app's modules");
  configureLog(Deno.stderr.isTerminal() ? progress.within(TERMINAL) : "json");
  const { system } = app === undefined ? more : appFile(app, { ...more, config: file });
  try {
    const config = await loadConfig(file, system);
    const warn = ({ event, ...each }: Warning) => log.warn(event, each);
    const { code } = await system.planCode(
      knownConfig(config),
      (packed) => examineCode(config, { packed, warn }),
    );
    new AccountTable().learn(judgeNow(config, code), config);
    await readEnvFile(config);
    for (const each of findUnset(config, Deno.env.toObject())) {
      log.warn("variable_not_set", { ...each });
    }
    if (config.wall === "kernel") requireWall(landlockAbi());
    requireDialGuard(config);
    progress.end();
    for (const { text, names, subject, notAfter } of await checkTls(config)) {
      printLine(`${text}: HTTPS for ${names || subject} until ${notAfter.toISOString()}`);
    }
    printLine(`${app ?? config.file}: ok`);
  } finally {
    await flushLog();
  }
  return EXIT.ok;
};
