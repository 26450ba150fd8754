/** The accounts in use: each process has one of its own, where root starts Holdfast and can give it. */
import { log } from "../base/log.ts";
import { ownUid } from "../base/own_uid.ts";
import type { Account, Config } from "../config/config.ts";
import { readProc } from "../os/file.ts";
import type { Judgement } from "../protocol/plan.ts";
import { type Accounts, APART, IDS, type OwnAccount, ownAccounts } from "../sandbox/accounts.ts";
import type { Commanded } from "../sandbox/worker_command.ts";

/** What giving a process an account takes, by the numbers of capabilities(7). */
const NEEDED = { CAP_CHOWN: 0, CAP_KILL: 5, CAP_SETGID: 6, CAP_SETUID: 7 } as const;

export class AccountTable {
  /** Those that the last plan with them found held back by a path; a rollback has no plan. */
  readonly #held = new Set<string>();

  /** Whom a process of this config runs as; nothing for who runs the supervisor. */
  of(config: Config, who: Commanded): Account | OwnAccount | undefined {
    const own = this.#held.has(who) ? undefined : accountsOf(config)?.[who];
    return own ?? (APART.includes(who) ? undefined : config.account);
  }

  /** The group by which workers and helpers come to their code. */
  groupOf(config: Config): number | undefined {
    const all = ["worker", ...config.helpers.map(({ name }) => `helper ${name}`)];
    return all.map((who) => this.of(config, who as Commanded)).find((each) => each)?.gid;
  }

  /** Takes what a plan found of the paths that these accounts need, and tells it. */
  learn({ held, closed }: Judgement, config: Config): void {
    for (const who of Object.keys(accountsOf(config) ?? {})) this.#held.delete(who);
    for (const { process } of held) this.#held.add(process);
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
  return wantsAccounts(config) && canSeparate() ? ownAccounts(config) : undefined;
}

/** Deno's layer alone would leave the processes what their capabilities were needed for. */
function wantsAccounts({ wall }: Config): boolean {
  return ownUid() === 0 && wall === "kernel";
}

/** Whether processes can have accounts of their own here. */
export function canSeparate(): boolean {
  return ownUid() === 0 && whyNone() === undefined;
}

let known: { readonly why: Record<string, string> | undefined } | undefined;

/** Why no process can have an account of its own here. */
export function whyNone(): Record<string, string> | undefined {
  known ??= { why: findWhyNone() };
  return known.why;
}

function findWhyNone(): Record<string, string> | undefined {
  const read = (name: string) => readProc(`self/${name}`, 8192) ?? "";
  const effective = BigInt(`0x${read("status").match(/^CapEff:\s*(\w+)/m)?.[1] ?? 0}`);
  const missing = Object.entries(NEEDED)
    .flatMap(([name, bit]) => (effective >> BigInt(bit) & 1n) === 0n ? [name] : []);
  if (missing.length > 0) {
    return {
      reason: `Holdfast has no ${missing.join(", ")}`,
      hint: "Start it with these capabilities, such as by CapabilityBoundingSet=",
    };
  }
  // Inside, outside, how many: user_namespaces(7).
  const maps = (file: string) =>
    [...read(file).matchAll(/(\d+) +\d+ +(\d+)$/gm)].some(([, first, count]) =>
      Number(first) <= IDS.first && Number(first) + Number(count) >= IDS.end
    );
  const unmapped = ["uid_map", "gid_map"].find((file) => !maps(file));
  return unmapped === undefined ? undefined : {
    reason: `/proc/self/${unmapped} has no ids from ${IDS.first} to ${IDS.end - 1}`,
    hint: "Map them into this container's user namespace, or start Holdfast as another user",
  };
}
