/** Makes the folders that a config grants and that are not there yet. */
import { HoldfastError } from "../base/error.ts";
import type { Account, Config, Unveil } from "../config/config.ts";
import { realPlace } from "../config/real_place.ts";
import type { RunOptions } from "../planner/deno.ts";
import type { OwnAccount } from "../sandbox/accounts.ts";
import type { Commanded } from "../sandbox/worker_command.ts";
import type { AccountTable } from "./accounts.ts";
import { isFolder } from "./image_store.ts";
import { runInline } from "./run_inline.ts";

/** How one folder is made. */
export interface FolderOptions extends Pick<RunOptions, "cwd" | "account"> {
  /** Root makes it where nobody else may, and hands it over. */
  readonly owner?: OwnAccount | undefined;
}

/**
 * Makes the folders that the config grants with `c` and that are not there yet, with no right but that:
 * the supervisor itself writes nothing there. Each belongs to whom its process runs as. A `user` makes
 * its own.
 *
 * @throws {HoldfastError} if one cannot be made
 */
export async function makeFolders(
  config: Config,
  accounts: Pick<AccountTable, "of">,
  make: (path: string, options: FolderOptions) => Promise<void> = makeFolder,
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
  for (const { path: named, who, why } of wanted) {
    // Where a link leads to what is not there, that is what is made.
    const path = realPlace(named);
    const own = accounts.of(config, who);
    const account = own?.uid === config.account?.uid ? config.account : undefined;
    const shares = own !== undefined && "shares" in own && own.shares;
    const owner = own && { ...own, shares };
    try {
      await make(path, { cwd: config.folder, account, owner });
    } catch (error) {
      // Another one made it meanwhile, such as a reload that was given up.
      if (isFolder(path)) continue;
      throw new HoldfastError(`Cannot make the folder ${path}: ${(error as Error).message}`, {
        kind: "environment",
        code: "folder_failed",
        hint: hintOfFolder(path, account, error as Error, `${file} ${why}`),
        cause: error,
      });
    }
  }
}

function hintOfFolder(
  path: string,
  account: Account | undefined,
  { message }: Error,
  why: string,
): string {
  if (account === undefined) return `Try: mkdir -p '${path}', as this user; ${why}`;
  const { user, gid } = account;
  if (message.includes("Failed to spawn")) {
    return `${user} is to run this deno program: put it where everybody may enter, such as ` +
      "/usr/local/bin";
  }
  return `Try: install -d -m 0700 -o ${user} -g ${gid} '${path}'; ${why}`;
}

/** Makes one folder, by a process that may do nothing else. */
async function makeFolder(path: string, { owner, ...options }: FolderOptions) {
  const program = `try {
    const path = ${JSON.stringify(path)};
    Deno.mkdirSync(path, { mode: 0o700 });
    ${owner ? handOver(owner) : ""}
  } catch ({ message }) {
    Deno.stderr.writeSync(new TextEncoder().encode(message));
    Deno.exit(1);
  }`;
  await runInline(program, [`--allow-write=${path}`, `--allow-read=${path}`], options);
}

/** What is handed over is what is open: what lies at its name may be another one a moment later. */
function handOver({ uid, gid, shares }: OwnAccount): string {
  return `const { constants, closeSync, fchmodSync, fchownSync, openSync } = await import("node:fs");
    const { O_DIRECTORY, O_NOFOLLOW } = constants;
    const folder = openSync(path, O_DIRECTORY | O_NOFOLLOW);
    fchownSync(folder, ${uid}, ${gid});
    fchmodSync(folder, ${shares ? "0o770" : "0o700"});
    closeSync(folder);`;
}
