/** Whom the processes of a config would run as, if it was started now. */
import { ownUid } from "../base/own_uid.ts";
import type { Account, Config } from "../config/config.ts";
import { judgePaths } from "../planner/judge_paths.ts";
import type { Judgement } from "../protocol/plan.ts";
import { APART } from "../sandbox/accounts.ts";
import type { Code } from "../sandbox/process_code.ts";
import type { Commanded } from "../sandbox/worker_command.ts";
import { accountsOf } from "../supervisor/accounts.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { imagesIn } from "../supervisor/image_store.ts";

/** What the paths of a config mean for the accounts of its processes. */
export function judgeNow(config: Config, { judgement }: Pick<Code, "judgement">): Judgement {
  const place = { code: imagesIn(config.runtime), program: denoProgram() };
  const isRoot = ownUid() === 0;
  return judgement ?? judgePaths(config, accountsOf(config), { ...place, isRoot });
}

/** Whom a process would run as, in words. */
export function describeAccount(config: Config, { held }: Judgement, who: Commanded): string {
  const words = (account: Account | undefined) =>
    account ? `uid ${account.uid}, gid ${account.gid}` : "the user that starts Holdfast";
  const own = accountsOf(config)?.[who];
  const why = held.find(({ process }) => process === who);
  if (own && why === undefined) return words(own);
  const shared = words(APART.includes(who) ? undefined : config.account);
  return why === undefined ? shared : `${shared}: ${why.path} is closed to one of its own`;
}
