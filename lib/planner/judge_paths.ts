/**
 * Whether the accounts of a config's processes can reach what they need, by owner, group and mode. One
 * that cannot is held back: its process runs as if it had none.
 */
import { dirname, join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import type { Account, Config, Unveil } from "../config/config.ts";
import { foldersAbove } from "../config/paths.ts";
import { realPlace, unlessAbsent } from "../config/real_place.ts";
import type { Judgement } from "../protocol/plan.ts";
import { acmeCompartment } from "../sandbox/acme_compartment.ts";
import { type Accounts, APART, IDS, sharesWith } from "../sandbox/accounts.ts";
import type { Commanded } from "../sandbox/worker_command.ts";

/** What is asked of a file: its owner, its group, its mode; nothing if it is not there. */
export type Facts = Partial<Pick<Deno.FileInfo, "uid" | "gid" | "mode">>;

/** The files of this machine, as this process sees them. */
export interface Files {
  look(path: string): Facts;
  /** Follows links. */
  real(path: string): string;
  /** What lies directly in a folder. */
  list(path: string): string[];
  /** A text; empty where there is none. */
  read(path: string): string;
}

const FILES: Files = {
  look: (path) => unlessAbsent(() => Deno.statSync(path)),
  real: realPlace,
  list: (path) => {
    try {
      return [...Deno.readDirSync(path)].map(({ name }) => name);
    } catch {
      return [];
    }
  },
  read: (path) => {
    try {
      return Deno.readTextFileSync(path);
    } catch {
      return "";
    }
  },
};

/** Where ids are given to others: the first one of an entry, and how many it has. */
const REGISTRIES: Readonly<Record<string, RegExp>> = {
  ...{ "/etc/passwd": /^[^:]*:[^:]*:(\d+)/gm, "/etc/group": /^[^:]*:[^:]*:(\d+)/gm },
  ...{ "/etc/subuid": /^[^:]*:(\d+):(\d+)/gm, "/etc/subgid": /^[^:]*:(\d+):(\d+)/gm },
};

/** What the processes are started from. */
export interface Place {
  /** Whether root starts Holdfast. */
  readonly isRoot: boolean;
  /** Where the code of workers and helpers is kept. */
  readonly code: string;
  /** What to do where that is closed; the default is to move the runtime folder. */
  readonly codeHint?: string;
  /** It is started by way of its folder, so what lies above that does not count. */
  readonly program: string;
}

type Ids = Pick<Account, "uid" | "gid">;

/** Root's id without capabilities is a user like others. */
const ROOT: Ids = { uid: 0, gid: 0 };

/** So many files of a folder are looked at. */
const MAX_LISTED = 1_000;

/** What each file system has, and no process needs. */
const IGNORED = "lost+found";

/** What a process needs of a path: bits of a mode. */
interface Need {
  readonly path: string;
  readonly bits: number;
  readonly kind: "code" | "program" | "unveil";
}

/** A need that is not met, and the file or folder that is closed. */
interface Closed extends Need {
  readonly at: string;
}

/**
 * Judges the paths of a config.
 *
 * @throws {HoldfastError} if workers of root cannot even enter where their code is kept
 */
export function judgePaths(
  config: Config,
  accounts: Accounts | undefined,
  place: Place,
  files: Files = FILES,
): Judgement {
  const judge = new Judge(config, accounts, place, files);
  if (place.isRoot && config.wall === "kernel") judge.judgeAll();
  return judge.judgement;
}

class Judge {
  readonly #config: Config;
  readonly #accounts: Accounts | undefined;
  readonly #place: Place;
  readonly #files: Files;
  readonly #held = new Map<Commanded, { path: string; hint: string }>();
  readonly #closed = new Map<string, string>();

  constructor(config: Config, accounts: Accounts | undefined, place: Place, files: Files) {
    this.#config = config;
    this.#accounts = accounts;
    this.#place = place;
    this.#files = files;
  }

  get judgement(): Judgement {
    return {
      held: [...this.#held].map(([process, why]) => ({ process, ...why })),
      closed: [...this.#closed].map(([path, hint]) => ({ path, hint })),
    };
  }

  judgeAll(): void {
    const { helpers, account, log, acme } = this.#config;
    const compartments = [
      { who: "worker" as const, of: this.#config },
      ...helpers.map((of) => ({ who: `helper ${of.name}` as const, of })),
    ];
    // The account of `user` is asked itself whether it can read the code.
    for (const { who, of } of compartments.slice(account ? 1 : 0)) {
      this.#judge(who, this.#needsOf(true, of.unveil), account ?? ROOT);
    }
    if (!account) this.#holdTogether(compartments);
    if (log.folder !== undefined) {
      const unveil = { path: log.folder, rights: "rwc", exists: true, folder: true };
      this.#judge("logger", this.#needsOf(false, [unveil]), ROOT);
    }
    if (acme) {
      const { unveil } = acmeCompartment(this.#config, acme, "");
      this.#judge("acme", this.#needsOf(false, unveil), ROOT);
    }
    // They have nothing but their programs.
    for (const who of ["metrics", "resolver"] as const) {
      this.#judge(who, this.#needsOf(false, []), account ?? ROOT);
    }
  }

  #needsOf(runsCode: boolean, unveil: readonly Unveil[]): Need[] {
    const { code, program } = this.#place;
    return [
      ...runsCode ? [{ path: code, bits: 5, kind: "code" as const }] : [],
      { path: program, bits: 1, kind: "program" },
      ...unveil.map(({ path, rights }): Need => ({
        path,
        bits: (rights.includes("r") ? 4 : 0) | (/[wc]/.test(rights) ? 2 : 0),
        kind: "unveil",
      })),
    ];
  }

  /** @param fallback whom it runs as, if its own account cannot reach what it needs */
  #judge(who: Commanded, needs: readonly Need[], fallback: Ids): void {
    const own = this.#accounts?.[who];
    const before = this.#closedTo(fallback, needs);
    const now = own ? [...this.#closedTo(own, needs), ...this.#closedIn(own, needs, fallback)] : [];
    const closed = now.find(({ path }) => !before.some((each) => each.path === path));
    const taken = own && this.#findTaken(own);
    const lost = taken ?? (own && closed && { path: closed.path, hint: this.#hintOf(closed, own) });
    if (lost) this.#held.set(who, lost);
    // The account of `user` is the operator's choice.
    if (fallback !== ROOT && (!own || lost)) return;
    for (const each of own && !lost ? now : before) {
      if (each.kind === "code") throw cannotEnter(each.at, this.#config);
      if (each.kind !== "unveil" || APART.includes(who)) continue;
      const hint = "Set user in the config to its owner, or open it";
      this.#closed.set(each.path, own && !lost ? this.#hintOf(each, own) : hint);
    }
  }

  /** The file that gives these ids to somebody else. */
  #findTaken({ uid, gid }: Ids): { path: string; hint: string } | undefined {
    const path = Object.keys(REGISTRIES).find((file) =>
      [...this.#files.read(file).matchAll(REGISTRIES[file]!)].some(([, first, count]) =>
        [uid, gid].some((id) =>
          id >= IDS.first && id >= Number(first) && id < Number(first) + Number(count ?? 1)
        )
      )
    );
    if (path === undefined) return undefined;
    return { path, hint: `Give other ids there: Holdfast takes ${IDS.first} to ${IDS.end - 1}` };
  }

  /** What is closed to whom, with the outermost folder or file that closes it. */
  #closedTo(ids: Ids, needs: readonly Need[]): Closed[] {
    const { look, real } = this.#files;
    return needs.flatMap((need) => {
      const path = real(need.path);
      const above = need.kind === "program" ? [dirname(path)] : foldersAbove(path);
      const at = above.findLast((folder) => lacks(this.#look(folder), ids, 1)) ??
        (lacks(look(path), ids, need.bits) ? path : undefined);
      return at === undefined ? [] : [{ ...need, at }];
    });
  }

  /** Files that lie in what is unveiled, and that the account of before could use: it made them. */
  #closedIn(ids: Ids, needs: readonly Need[], before: Ids): Closed[] {
    const { look, list, real } = this.#files;
    return needs.filter(({ kind }) => kind === "unveil").flatMap((need) => {
      const folder = real(need.path);
      const names = list(folder).filter((name) => name !== IGNORED).slice(0, MAX_LISTED);
      const at = names.map((name) => join(folder, name)).find((path) =>
        lacks(look(path), ids, need.bits) && !lacks(look(path), before, need.bits)
      );
      return at === undefined ? [] : [{ ...need, at }];
    });
  }

  /** The supervisor lets the group of workers and helpers pass through the runtime folder. */
  #look(folder: string): Facts {
    const { look, real } = this.#files;
    const facts = look(folder);
    const gid = this.#accounts?.["worker"]?.gid;
    if (gid === undefined || folder !== real(this.#config.runtime)) return facts;
    return { uid: ROOT.uid, gid, mode: 0o710 };
  }

  #hintOf(
    { at, path, bits, kind }: Closed,
    { uid, gid, shares }: Ids & { shares: boolean },
  ): string {
    const { file } = this.#config;
    const { real } = this.#files;
    if (kind === "code") {
      return this.#place.codeHint ??
        `Set runtime in ${file} to a folder such as /run/holdfast, or: chmod o+x '${at}'`;
    }
    if (at !== real(path) && foldersAbove(real(path)).includes(at)) return `Try: chmod o+x '${at}'`;
    if (kind !== "unveil") return `Try: chmod o+rx '${at}'`;
    if ((bits & 2) === 0) return `Try: chgrp -R ${gid} '${path}' && chmod -R g+rX '${path}'`;
    const open = shares ? ` && chmod -R g+rwX '${path}'` : "";
    return `Try: chown -R ${uid}:${gid} '${path}'${open}`;
  }

  /** Those that share a folder have one group, or none of them an account of its own. */
  #holdTogether(compartments: readonly { who: Commanded; of: Pick<Config, "unveil"> }[]): void {
    let found = true;
    while (found) {
      found = false;
      for (const { who, of } of compartments) {
        if (this.#held.has(who) || !this.#accounts?.[who]) continue;
        const other = compartments.find((each) =>
          this.#held.has(each.who) && sharesWith(of, [each.of])
        );
        if (other === undefined) continue;
        this.#held.set(who, this.#held.get(other.who)!);
        found = true;
      }
    }
  }
}

function cannotEnter(folder: string, { file }: Config): HoldfastError {
  const message = `Root without capabilities, as workers run, cannot enter ${folder}, where its ` +
    "code is kept";
  return new HoldfastError(message, {
    kind: "config",
    code: "code_unreadable",
    hint: `Set user in ${file} to the owner of ${folder}, or runtime to a folder of root's, such ` +
      "as /run/holdfast",
  });
}

/** By the bits of the owner, the group or the others, whichever it is. */
function lacks({ uid, gid, mode }: Facts, ids: Ids, bits: number): boolean {
  if (typeof mode !== "number") return false;
  const shift = uid === ids.uid ? 6 : gid === ids.gid ? 3 : 0;
  return (mode >> shift & bits) !== bits;
}
