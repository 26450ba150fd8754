/** Makes the folders that a config grants and that are not there yet. */
import { HoldfastError } from "../base/error.ts";
import type { Account, Config } from "../config/config.ts";
import { realPlace } from "../config/real_place.ts";
import type { RunOptions } from "../planner/deno.ts";
import { isFolder } from "./image_store.ts";
import { runInline } from "./run_inline.ts";

/**
 * Makes the folders that the config grants with `c` and that are not there yet, as the user that the
 * workers run as and with no right but that: the supervisor itself writes nothing there.
 *
 * @throws {HoldfastError} if one cannot be made
 */
export async function makeFolders(config: Config, make = makeFolder): Promise<void> {
  const { account, file } = config;
  const unveils = [config, ...config.helpers].flatMap(({ unveil }) => unveil);
  const missing = unveils.filter(({ exists, folder }) => !exists && folder);
  const wanted = missing.map(({ path }) => ({ path, account, why: 'unveils it with "c"' }));
  // The logger runs as the supervisor does: the workers' user is nobody to the log files.
  if (config.log.folder !== undefined && !isFolder(config.log.folder)) {
    wanted.push({ path: config.log.folder, account: undefined, why: "keeps the log there" });
  }
  for (const { path: named, account, why } of wanted) {
    // Where a link leads to what is not there, that is what is made.
    const path = realPlace(named);
    try {
      await make(path, { cwd: config.folder, account });
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
async function makeFolder(path: string, options: Pick<RunOptions, "cwd" | "account">) {
  const program = `try {
    Deno.mkdirSync(${JSON.stringify(path)}, { mode: 0o700 });
  } catch ({ message }) {
    Deno.stderr.writeSync(new TextEncoder().encode(message));
    Deno.exit(1);
  }`;
  await runInline(program, `--allow-write=${path}`, options);
}
