/** Whom the processes of a config run as where root starts Holdfast. Pure. */
import type { Account, Config } from "../config/config.ts";
import { covers } from "../base/covers.ts";
import { namesOf } from "./resolver_compartment.ts";
import type { Commanded } from "./worker_command.ts";

/**
 * The ids that Holdfast takes. Distributions, systemd (https://systemd.io/UIDS-GIDS/) and directory
 * services give none of them away.
 */
export const IDS = { first: 0x7800_0000, end: 0x7c00_0000 } as const;

/** An account that one process alone runs as. */
export interface OwnAccount extends Account {
  /** Whether another process writes to the same folders: its group may write what it makes. */
  readonly shares: boolean;
}

/** Of `worker`, `logger`, `metrics`, `resolver`, and of each `helper NAME`. */
export type Accounts = Readonly<Record<string, OwnAccount>>;

/**
 * An account for each process of a config. It follows from the config's path, so that it stays the same
 * over reloads, upgrades and restarts. Workers and helpers have one group, by which they come to their
 * code, and to folders that several of them were granted. The worker's is `user`, if that is set.
 */
export function ownAccounts(config: Config): Accounts {
  const { named, account, helpers, log, metrics } = config;
  const taken = new Set<number>();
  const take = (who: Commanded) => {
    let id = IDS.first + spread(`${named}\0${who}`) % (IDS.end - IDS.first);
    while (taken.has(id)) id++;
    taken.add(id);
    return id;
  };
  const own = (who: Commanded, gid?: number, shares = false): OwnAccount => {
    const uid = take(who);
    return { user: String(uid), uid, gid: gid ?? uid, shares };
  };
  const worker = account
    ? { ...account, shares: sharesWith(config, helpers) }
    : own("worker", undefined, sharesWith(config, helpers));
  return {
    worker,
    ...Object.fromEntries(helpers.map((helper) => {
      const others = [config, ...helpers.filter((each) => each !== helper)];
      const who = `helper ${helper.name}` as const;
      return [who, own(who, worker.gid, sharesWith(helper, others))];
    })),
    ...log.folder !== undefined && { logger: own("logger") },
    ...metrics && { metrics: own("metrics") },
    ...namesOf(config).length > 0 && { resolver: own("resolver") },
  };
}

type Unveils = Pick<Config, "unveil">;

/** Whether a folder that one may change is, or lies in, what another one was granted. */
export function sharesWith(one: Unveils, others: readonly Unveils[]): boolean {
  return one.unveil.some((own) =>
    others.some(({ unveil }) =>
      unveil.some((other) =>
        /[wc]/.test(own.rights + other.rights) &&
        (covers(own.path, other.path) || covers(other.path, own.path))
      )
    )
  );
}

/**
 * A number of 32 bits that follows from a text, and far from that of a text like it: FNV-1a, with the last
 * steps of MurmurHash3. Nobody gains by a collision, and node:crypto takes a planner long to load.
 */
function spread(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}
