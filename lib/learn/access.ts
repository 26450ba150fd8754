/** What an app was seen to want, from the events that tell of refusals. Pure. */

/** One thing that a process wanted, and was refused. */
export interface Access {
  /** `worker`, or `helper NAME`. */
  readonly process: string;
  readonly kind: string;
  /** The path, host, name or program. */
  readonly what: string;
  /** The function of the runtime by which it was tried. */
  readonly op: string;
  /** Where in the app's code. */
  readonly from: string;
  /** The package that asked, where it was none of the app's own code. */
  readonly package: string;
  /** What is said of it where no line allows it. */
  readonly instead: string;
  /** Whether the app only looked whether something is there. */
  readonly looked: boolean;
  times: number;
}

const NO_NAME = "the kernel's wall refused it: an address that no entry of net has";
const BY_WALL = "the kernel's wall refused it, and no line of a config allows it";

type Fields = Readonly<Record<string, unknown>>;

/** What was seen so far. */
export class Accesses {
  readonly #seen = new Map<string, Access>();
  /** How often what was granted was used, by process and grant. */
  readonly #used = new Map<string, number>();

  /** How many different ones, to see whether there are new ones. */
  get count(): number {
    return this.#seen.size;
  }

  get all(): readonly Access[] {
    return [...this.#seen.values()];
  }

  /** Counts anew: the app is started again. */
  restart(): void {
    this.#used.clear();
    for (const each of this.#seen.values()) each.times = 0;
  }

  /** How often a process used what it was granted, by the names that it tells that by. */
  timesOf(process: string, names: readonly string[]): number {
    return names.reduce((sum, name) => sum + (this.#used.get(`${process}\0${name}`) ?? 0), 0);
  }

  /** Takes an event of the log; what tells of no refusal and no use is passed over. */
  take(event: string, fields: Fields): void {
    if (event === "refused") { for (const each of accessesIn(fields)) this.#add(each); }
    else if (event === "refused_again") this.#addAgain(fields);
    else if (event === "grants_used") this.#addUses(fields);
    else if (event === "dial_denied") {
      const what = `${text(fields.address)}:${text(fields.port)}`;
      this.#add({ ...accessOf(fields), kind: "dial", what, instead: NO_NAME });
    } else if (event === "call_denied" || event === "exec_denied") {
      const what = `${text(fields.call)} ${text(fields.path)}`.trim();
      this.#add({ ...accessOf(fields), kind: "system call", what, instead: BY_WALL });
    }
  }

  #addUses({ grants, role }: Fields): void {
    for (const [, times, name] of text(grants).matchAll(/(\d+) × (.+?)(?=; \d+ × |$)/g)) {
      const key = `${processOf(role)}\0${name}`;
      this.#used.set(key, (this.#used.get(key) ?? 0) + Number(times));
    }
  }

  #add(access: Access): void {
    const { process, kind, what, op } = access;
    const key = [process, kind, what, op].join("\0");
    const known = this.#seen.get(key);
    if (known === undefined) this.#seen.set(key, access);
    else known.times += access.times;
  }

  #addAgain({ refusals, role }: Fields): void {
    for (const [, times, said] of text(refusals).matchAll(/(\d+) × (.+?)(?=; \d+ × |$)/g)) {
      const known = this.all.find(({ process, kind, what }) =>
        process === processOf(role) && said === `${kind} ${what}`
      );
      if (known !== undefined) known.times += Number(times);
    }
  }
}

function accessOf(fields: Fields): Access {
  const { role, kind, what, op, from, instead, level } = fields;
  return {
    process: processOf(role),
    kind: text(kind),
    what: text(what),
    op: text(op),
    from: text(from),
    package: text(fields.package),
    instead: text(instead),
    looked: level === "info",
    times: 1,
  };
}

/** Several variables are told at once. */
function accessesIn(fields: Fields): Access[] {
  const access = accessOf(fields);
  if (access.kind !== "env") return [access];
  return access.what.split(", ").filter((name) => name !== "").map((what) => ({ ...access, what }));
}

/** `helper mailer.0` is an instance. */
function processOf(role: unknown): string {
  return text(role).replace(/\.\d+$/, "");
}

function text(value: unknown): string {
  return value === undefined || value === null ? "" : String(value);
}
