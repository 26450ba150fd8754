/** The accounts in use: each process has one of its own, where root starts Holdfast and can give it. */
import { log } from "../base/log.ts";
import { ownUid } from "../base/own_uid.ts";
import type { Account, Config } from "../config/config.ts";
import { readProc } from "../os/file.ts";
import type { Judgement } from "../protocol/plan.ts";
import { type Accounts, IDS, type OwnAccount, ownAccounts } from "../sandbox/accounts.ts";
import type { Commanded } from "../sandbox/worker_command.ts";

/** What giving a process an account takes, by the numbers of capabilities(7). */
const NEEDED = { CAP_CHOWN: 0, CAP_KILL: 5, CAP_SETGID: 6, CAP_SETUID: 7 } as const;

/** Where ids are given away. */
const REGISTRIES = {
  ...{ "/etc/passwd": /^[^:]*:[^:]*:(\d+)/gm, "/etc/group": /^[^:]*:[^:]*:(\d+)/gm },
  ...{ "/etc/subuid": /^[^:]*:(\d+):(\d+)/gm, "/etc/subgid": /^[^:]*:(\d+):(\d+)/gm },
};

export class AccountTable {
  /** Those that the last plan found held back by a path. */
  #held = new Set<string>();

  /** Whom a process of this config runs as; nothing for who runs the supervisor. */
  of(config: Config, who: Commanded): Account | OwnAccount | undefined {
    const own = this.#held.has(who) ? undefined : accountsOf(config)?.[who];
    return own ?? (who === "logger" ? undefined : config.account);
  }

  /** Takes what a plan found of the paths that these accounts need, and tells it. */
  learn({ held, closed }: Judgement, config: Config): void {
    this.#held = new Set(held.map(({ process }) => process));
    for (const each of closed) log.warn("path_closed", each);
    for (const { process, ...why } of held) {
      const uid = this.of(config, process as Commanded)?.uid ?? 0;
      log.warn("account_shared", { process, uid, ...why });
    }
    const why = wantsAccounts(config) ? whyNone() : undefined;
    if (why !== undefined) log.warn("account_shared", { process: "all", ...why });
  }
}

/** The accounts that the processes of a config are to have; nothing where they cannot. */
export function accountsOf(config: Config): Accounts | undefined {
  return wantsAccounts(config) && whyNone() === undefined ? ownAccounts(config) : undefined;
}

/** The group of workers and helpers, if it is not that of who runs the supervisor. */
export function groupOf(config: Config): number | undefined {
  return (accountsOf(config)?.worker ?? config.account)?.gid;
}

/** Deno's layer alone would leave the processes what their capabilities were needed for. */
function wantsAccounts({ wall }: Config): boolean {
  return ownUid() === 0 && wall === "kernel";
}

interface Reason {
  readonly reason: string;
  readonly hint: string;
}

let known: { readonly why: Reason | undefined } | undefined;

/** Why no process can have an account of its own here. */
function whyNone(): Reason | undefined {
  known ??= { why: findWhyNone() };
  return known.why;
}

function findWhyNone(): Reason | undefined {
  const [, effective = "0"] = readProc("self/status", 8192)?.match(/^CapEff:\s*(\w+)/m) ?? [];
  const missing = Object.entries(NEEDED)
    .filter(([, number]) => (BigInt(`0x${effective}`) >> BigInt(number) & 1n) === 0n)
    .map(([name]) => name);
  if (missing.length > 0) {
    return {
      reason: `Holdfast has no ${missing.join(", ")}`,
      hint: "Start it with these capabilities, such as by CapabilityBoundingSet=",
    };
  }
  for (const map of ["uid_map", "gid_map"]) {
    const ranges = rangesOf(readProc(`self/${map}`, 8192) ?? "", /^\s*(\d+)\s+\d+\s+(\d+)/gm);
    if (ranges.some(([first, count]) => first <= IDS.first && first + count >= END)) continue;
    return {
      reason: `this container has no ids from ${IDS.first} to ${END - 1} (/proc/self/${map})`,
      hint: "Map them into its user namespace, or start Holdfast as another user",
    };
  }
  for (const [file, pattern] of Object.entries(REGISTRIES)) {
    const ranges = rangesOf(readIfThere(file), pattern);
    if (!ranges.some(([first, count]) => first < END && first + count > IDS.first)) continue;
    return {
      reason: `${file} gives away ids from ${IDS.first} to ${END - 1}, which are Holdfast's`,
      hint: `Take other ids in ${file}`,
    };
  }
}

const END = IDS.first + IDS.count;

/** The first id of each range, and how many it has. */
function rangesOf(text: string, pattern: RegExp): [first: number, count: number][] {
  return [...text.matchAll(pattern)].map(([, first, count]) => [Number(first), Number(count ?? 1)]);
}

function readIfThere(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
