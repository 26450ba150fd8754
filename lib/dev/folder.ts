/** The runtime folder of development: its own, so that a supervisor of production is left alone. */
import { dirname, join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { realPlace } from "../config/real_place.ts";
import { makePrivateFolder } from "../supervisor/runtime_folder.ts";
import { DEVELOPMENT_FOLDER } from "./config_text.ts";

/** The name of the config in it: accounts follow from a config's path, and production has others. */
export const CONFIG_LINK = "holdfast.jsonc";

async function linkTo(config: string, link: string): Promise<void> {
  const found = await Deno.readLink(link).catch(() => undefined);
  if (found === config) return;
  if (found !== undefined) await Deno.remove(link);
  await Deno.symlink(config, link);
}

/** The folder, in use by this command. */
export interface DevelopmentFolder {
  readonly path: string;
  /** Where files lie that are for this command and its supervisor. */
  file(name: string): string;
  /** Says where pages are, for whoever finds it in use. */
  tell(url: string): void;
  close(): void;
}

/**
 * Takes it, with a lock of the kernel's.
 *
 * @throws {HoldfastError} if another `holdfast dev` has it
 */
export async function openFolder(config: string): Promise<DevelopmentFolder> {
  const path = join(dirname(realPlace(config)), DEVELOPMENT_FOLDER);
  const file = (name: string) => join(path, name);
  if (/[,\n]/.test(path)) {
    throw new HoldfastError(`No flag can name ${JSON.stringify(path)}`, {
      ...{ kind: "environment", code: "path_unfit" },
      hint: "Rename the folder: Deno takes a comma for the end of a path",
    });
  }
  let lock: Deno.FsFile;
  try {
    // The group of another command's workers, which may be running, keeps its way in.
    await makePrivateFolder(path, "unknown");
    await Deno.writeTextFile(file(".gitignore"), "*\n");
    await linkTo(config, file(CONFIG_LINK));
    lock = await Deno.open(file("dev.lock"), {
      create: true,
      read: true,
      write: true,
      mode: 0o600,
    });
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw new HoldfastError(`Cannot use the folder ${path}: ${(error as Error).message}`, {
      ...{ kind: "environment", code: "runtime_folder", cause: error },
      hint: "holdfast dev keeps what it runs there: it must be a folder that you may write",
    });
  }
  if (!await lock.tryLock(true)) {
    const [pid, url] = (await Deno.readTextFile(file("dev.lock")).catch(() => "")).split("\n");
    lock.close();
    throw new HoldfastError(`holdfast dev runs for ${dirname(path)} already, pid ${pid}`, {
      ...{ kind: "environment", code: "already_running" },
      hint: url ? `Its pages are on ${url}; end it with Ctrl-C` : "End it with Ctrl-C",
    });
  }
  const write = (text: string) => {
    lock.seekSync(0, Deno.SeekMode.Start);
    lock.truncateSync();
    lock.writeSync(new TextEncoder().encode(text));
  };
  write(`${Deno.pid}\n`);
  return { path, file, tell: (url) => write(`${Deno.pid}\n${url}\n`), close: () => lock.close() };
}
