/**
 * The private temporary folders of processes that have `tmp` in their entry: one for each process, in the
 * runtime folder, as long as it lives.
 */
import { join } from "node:path";
import { log } from "../base/log.ts";
import { ownUid } from "../base/own_uid.ts";
import type { Account, Config } from "../config/config.ts";
import { unlessAbsent } from "../config/real_place.ts";
import { temporaryIn } from "../config/temporary.ts";
import { bestEffort } from "./best_effort.ts";
import { killWorker } from "./bring_up.ts";
import { isFolder } from "./image_store.ts";
import { makePrivateFolder } from "./runtime_folder.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import { settlesWithin } from "./timeouts.ts";
import { describeDeath, WorkerProcess } from "./worker_process.ts";

/** How long the removal of one may take, and how long a stop waits for all that are under way. */
const REMOVE_MS = 20_000;

/** Has a process empty a folder, with the rights of an account, and none beside the folder. */
export type Empty = (path: string, account: Account | undefined, config: Config) => Promise<void>;

export class TemporaryFolders {
  readonly #empty: Empty;
  readonly #used = new Set<string>();
  #removing: Promise<unknown> = Promise.resolve();

  constructor(empty: Empty) {
    this.#empty = empty;
  }

  /**
   * Makes one that nobody but the account can use.
   *
   * @returns its path, and what is to be called when its process has ended, or never was
   */
  async make(runtime: string, account: Account | undefined, config: Config) {
    const all = temporaryIn(runtime);
    await makePrivateFolder(all, account?.gid);
    const path = Deno.makeTempDirSync({ dir: all });
    this.#used.add(path);
    // Nobody else can put another one at its name: the folder that it is in is this process's alone.
    if (account) Deno.chownSync(path, account.uid, account.gid);
    const end = () => {
      this.#used.delete(path);
      this.#queue(path, config);
    };
    return { path, end };
  }

  /** Removes those that no process uses: a supervisor that was killed has left them. */
  sweep(runtime: string, config: Config): void {
    for (const path of listIn(runtime)) if (!this.#used.has(path)) this.#queue(path, config);
  }

  /** Settles when what is being removed is gone, or takes too long: the next start does the rest. */
  async close(runtime: string): Promise<void> {
    await settlesWithin(this.#removing, REMOVE_MS);
    const all = temporaryIn(runtime);
    if (!isFolder(all) || listIn(runtime).length > 0) return;
    bestEffort(`remove ${all}`, () => Deno.removeSync(all));
  }

  /** One after the other: each may take a process. */
  #queue(path: string, config: Config): void {
    this.#removing = this.#removing.then(() => this.#remove(path, config)).catch(
      (error: Error) => {
        log.warn("temporary_left", {
          ...{ folder: path, reason: error.message },
          hint: "The next start tries again; or remove it, as the user that it belongs to",
        });
      },
    );
  }

  /** A process may have left anything there: what goes into it has no more rights than that had. */
  async #remove(path: string, config: Config): Promise<void> {
    const { uid, gid } = unlessAbsent(() => Deno.lstatSync(path));
    if (typeof uid !== "number" || typeof gid !== "number") return;
    try {
      return Deno.removeSync(path);
    } catch {
      // It is not empty.
    }
    const account = uid === ownUid() ? undefined : { user: String(uid), uid, gid };
    await this.#empty(path, account, config);
    Deno.removeSync(path);
  }
}

function listIn(runtime: string): string[] {
  const all = temporaryIn(runtime);
  // A link there is none of the supervisor's.
  const { isDirectory } = unlessAbsent(() => Deno.lstatSync(all));
  return isDirectory ? [...Deno.readDirSync(all)].map(({ name }) => join(all, name)) : [];
}

/**
 * Runs a process to its end.
 *
 * @param thread its own from here on
 * @throws {Error} if it fails, or takes too long
 */
export async function runToEnd(thread: Spawner, request: SpawnRequest): Promise<void> {
  try {
    const identity = { id: 0, role: { kind: "planner" }, generation: 0 } as const;
    const process = new WorkerProcess({ ...identity, onViolation: "log" }, thread, request);
    const deadline = setTimeout(() => void killWorker(process), REMOVE_MS);
    const death = await process.exited;
    clearTimeout(deadline);
    if (death.status.code !== 0) throw new Error(`Its removal ended: ${describeDeath(death)}`);
  } finally {
    bestEffort("close the spawner", () => thread.close());
  }
}
