/** What a log says of the grants that processes used, against what a config grants. Pure. */
import type { Compartment, Config } from "../config/config.ts";
import { TEMPORARY_VARIABLE, temporaryIn } from "../config/temporary.ts";

/** What is known of one grant. */
export interface GrantState {
  readonly process: string;
  /** As `unveil /srv/app/data rwc`. */
  readonly grant: string;
  readonly state: "unused" | "only read" | "only written" | "used" | "unseen";
  /** When a process last told that it used it. */
  readonly last?: string;
}

/** Variables that the runtime and the C library read by themselves, where nobody counts. */
const OF_RUNTIME =
  /^(TZ|LANG|LC_\w+|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_\w+|NODE_\w+|DENO_\w+|OTEL_\w+|RES_OPTIONS)$/i;

/** What processes told, by lines of a log. */
export class UsedGrants {
  /** When each was told last, by process and grant. */
  readonly #last = new Map<string, string>();
  readonly #told = new Set<string>();
  readonly #since: string;
  #begin: string | undefined;

  /** @param since what was told before that does not count, ISO 8601 */
  constructor(since = "") {
    this.#since = since;
  }

  /** The time of the first line, or of what counts. */
  get begin(): string | undefined {
    return this.#begin !== undefined && this.#begin < this.#since ? this.#since : this.#begin;
  }

  /** Takes a line; what is no event is passed over. */
  take(line: string): void {
    const isUse = line.includes('"event":"grants_used"');
    if (!isUse && this.#begin !== undefined) return;
    const { event, time, role, grants } = parse(line);
    if (typeof time !== "string") return;
    if (this.#begin === undefined || time < this.#begin) this.#begin = time;
    if (event !== "grants_used" || time < this.#since) return;
    const process = String(role).replace(/\.\d+$/, "");
    this.#told.add(process);
    for (const [, name] of String(grants).matchAll(/\d+ × (.+?)(?=; \d+ × |$)/g)) {
      const key = `${process}\0${name}`;
      if (time > (this.#last.get(key) ?? "")) this.#last.set(key, time);
    }
  }

  /** Whether a process has told anything. */
  hasTold(process: string): boolean {
    return this.#told.has(process);
  }

  /** When it was told last that a process used what the name of a grant begins with. */
  lastOf(process: string, ...names: readonly string[]): string | undefined {
    const times = [...this.#last].flatMap(([key, time]) =>
      names.some((name) => key === `${process}\0${name}`) ? time : []
    );
    return times.sort().at(-1);
  }

  /** The same of what is below a folder. */
  lastBelow(process: string, folder: string): string | undefined {
    return [...this.#last].flatMap(([key, time]) =>
      key.startsWith(`${process}\0unveil ${folder}/`) ? time : []
    ).sort().at(-1);
  }
}

/** What became of each grant of a config. */
export function statesOf(config: Config, used: UsedGrants): GrantState[] {
  const processes: (Compartment & { process: string })[] = [
    { ...config, process: "worker" },
    ...config.helpers.map((helper) => ({ ...helper, process: `helper ${helper.name}` })),
  ];
  return processes.flatMap(({ process, unveil, env, net, sys = [], tmp }) => {
    const plain = (grant: string): GrantState => {
      const last = used.lastOf(process, grant);
      return { process, grant, state: last === undefined ? "unused" : "used", ...withLast(last) };
    };
    const temporary = used.lastBelow(process, temporaryIn(config.runtime)) ??
      used.lastOf(process, `env ${TEMPORARY_VARIABLE}`);
    return [
      ...unveil.map(({ path, rights }) => ofPath(process, path, rights, used)),
      ...env.map((name): GrantState => {
        const found = plain(`env ${name}`);
        return found.state === "unused" && OF_RUNTIME.test(name)
          ? { ...found, state: "unseen" }
          : found;
      }),
      ...net.map((host) => plain(`net ${host}`)),
      ...sys.map((kind) => plain(`sys ${kind}`)),
      ...tmp
        ? [{
          ...{ process, grant: "tmp" },
          state: temporary === undefined ? "unused" as const : "used" as const,
          ...withLast(temporary),
        }]
        : [],
    ];
  });
}

function ofPath(process: string, path: string, rights: string, used: UsedGrants): GrantState {
  const [read, written] = ["r", "w"].map((right) =>
    used.lastOf(process, `unveil ${path} ${right}`)
  );
  const last = [read, written].filter((each) => each !== undefined).sort().at(-1);
  const [mayRead, mayWrite] = [/r/, /[wc]/].map((right) => right.test(rights));
  const state = last === undefined
    ? "unused"
    : mayWrite && written === undefined
    ? "only read"
    : mayRead && read === undefined
    ? "only written"
    : "used";
  return { process, grant: `unveil ${path} ${rights}`, state, ...withLast(last) };
}

function withLast(last: string | undefined) {
  return last === undefined ? {} : { last };
}

function parse(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
  } catch {
    return {};
  }
}
