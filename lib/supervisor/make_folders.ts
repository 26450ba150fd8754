/** Makes the folders that a config grants and that are not there yet. */
import { HoldfastError } from "../base/error.ts";
import { acmeFolder } from "../config/acme_place.ts";
import type { Account, Config, Unveil } from "../config/config.ts";
import { realPlace } from "../config/real_place.ts";
import type { Commanded } from "../sandbox/worker_command.ts";
import type { AccountTable } from "./accounts.ts";
import { runErrand } from "./errand.ts";
import { isFolder } from "./image_store.ts";

/**
 * Makes the folders that the config grants with `c` and that are not there yet. A thread that can do
 * nothing else makes each: the supervisor itself writes nothing there. Each belongs to whom its process
 * runs as. A `user` makes its own, and root the others where nobody else may.
 *
 * @param program of a spawner's thread, where it comes from no file
 * @throws {HoldfastError} if one cannot be made
 */
export async function makeFolders(
  config: Config,
  accounts: Pick<AccountTable, "of">,
  program?: string,
): Promise<void> {
  const { file, helpers, log } = config;
  const missing = (who: Commanded, unveil: readonly Unveil[]) =>
    unveil.filter(({ exists, folder }) => !exists && folder)
      .map(({ path }) => ({ path, who, why: 'unveils it with "c"' }));
  const wanted = [
    ...missing("worker", config.unveil),
    ...helpers.flatMap(({ name, unveil }) => missing(`helper ${name}`, unveil)),
  ];
  if (log.folder !== undefined && !isFolder(log.folder)) {
    wanted.push({ path: log.folder, who: "logger", why: "keeps the log there" });
  }
  const own = acmeFolder(config.runtime);
  if (config.acme && !isFolder(own)) {
    wanted.push({ path: own, who: "acme", why: "keeps certificates there" });
  }
  for (const { path: named, who, why } of wanted) {
    // Where a link leads to what is not there, that is what is made.
    const path = realPlace(named);
    const own = accounts.of(config, who);
    const account = own?.uid === config.account?.uid ? config.account : undefined;
    const shares = own !== undefined && "shares" in own && own.shares;
    const owner = own && { uid: own.uid, gid: own.gid, mode: shares ? 0o770 : 0o700 };
    try {
      await runErrand({ errand: "make", path, account, owner }, program);
    } catch (error) {
      // Another one made it meanwhile, such as a reload that was given up.
      if (isFolder(path)) continue;
      throw new HoldfastError(`Cannot make the folder ${path}: ${(error as Error).message}`, {
        kind: "environment",
        code: "folder_failed",
        hint: hintOfFolder(path, account, `${file} ${why}`),
        cause: error,
      });
    }
  }
}

function hintOfFolder(path: string, account: Account | undefined, why: string): string {
  if (account === undefined) return `Try: mkdir -p '${path}', as this user; ${why}`;
  const { user, gid } = account;
  return `Try: install -d -m 0700 -o ${user} -g ${gid} '${path}'; ${why}`;
}
