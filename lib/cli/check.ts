import { EXIT } from "../base/exit_code.ts";
import { configureLog, flushLog, log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { landlockAbi } from "../os/landlock.ts";
import type { Warning } from "../planner/make_image.ts";
import { checkTls } from "../planner/check_tls.ts";
import { examineCode } from "../planner/plan_code.ts";
import { AccountTable } from "../supervisor/accounts.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import { requireWall } from "../supervisor/require_wall.ts";
import { envFileValues, readEnvFile } from "../supervisor/env_file.ts";
import type { CliCommand } from "./command.ts";
import { judgeNow } from "./judged_accounts.ts";
import { loadConfig } from "./load_config.ts";
import { TERMINAL } from "./log_formats.ts";
import { printLine } from "./terminal.ts";

/** Variables that are granted, and that nothing sets here. */
function findUnset(config: Config): { process: string; name: string; hint: string }[] {
  const values = { ...Deno.env.toObject(), ...envFileValues(config) };
  const hint = 'Set it where Holdfast is started or in "envFile", or take it out of "env"';
  return [{ name: "worker", ...config }, ...config.helpers].flatMap(({ name: process, ...of }) =>
    of.env.filter((name) => !Object.hasOwn({ ...values, ...of.envValues }, name))
      .map((name) => ({ process, name, hint }))
  );
}

/** Validates without starting: it binds no address and spawns no worker. Warnings go to stderr. */
export const check: CliCommand = async ({ config: file, system }) => {
  configureLog(Deno.stderr.isTerminal() ? TERMINAL : "json");
  try {
    const config = await loadConfig(file, system);
    const warn = ({ event, ...each }: Warning) => log.warn(event, each);
    const { code } = await system.planCode(
      knownConfig(config),
      (packed) => examineCode(config, { packed, warn }),
    );
    new AccountTable().learn(judgeNow(config, code), config);
    await readEnvFile(config);
    for (const each of findUnset(config)) log.warn("variable_not_set", { ...each });
    if (config.wall === "kernel") requireWall(landlockAbi());
    for (const { text, names, subject, notAfter } of await checkTls(config)) {
      printLine(`${text}: HTTPS for ${names || subject} until ${notAfter.toISOString()}`);
    }
    printLine(`${config.file}: ok`);
  } finally {
    await flushLog();
  }
  return EXIT.ok;
};
