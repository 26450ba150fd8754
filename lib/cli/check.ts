import { EXIT } from "../base/exit_code.ts";
import { configureLog, flushLog } from "../base/log.ts";
import { ownUid } from "../base/own_uid.ts";
import { landlockAbi } from "../os/landlock.ts";
import { judgePaths } from "../planner/judge_paths.ts";
import { planCode, withImages } from "../planner/plan_code.ts";
import { accountsOf, AccountTable } from "../supervisor/accounts.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { imagesIn } from "../supervisor/image_store.ts";
import { requireWall } from "../supervisor/require_wall.ts";
import type { CliCommand } from "./command.ts";
import { printLine } from "./terminal.ts";

/** Validates without starting: it binds no address and spawns no worker. Warnings go to stderr. */
export const check: CliCommand = async ({ config: file, system }) => {
  configureLog(Deno.stderr.isTerminal() ? "pretty" : "json");
  try {
    const config = await system.loadConfig(file);
    const accounts = accountsOf(config);
    const code = await system.planCode(
      config,
      undefined,
      () => withImages((images) => planCode(config, { images })),
      accounts,
    );
    const place = { code: imagesIn(config.runtime), program: denoProgram() };
    const judgement = code.judgement ??
      judgePaths(config, accounts, { ...place, isRoot: ownUid() === 0 });
    new AccountTable().learn(judgement, config);
    if (config.wall === "kernel") requireWall(landlockAbi());
    printLine(`${config.file}: ok`);
  } finally {
    await flushLog();
  }
  return EXIT.ok;
};
