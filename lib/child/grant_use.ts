/**
 * What a process uses of what it was granted: counted, and told for the log. It is the process's own word,
 * from the same functions by which refusals are explained; native code and threads are not seen.
 */
import { isAbsolute, join, normalize } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { covers } from "../base/covers.ts";
import type { Grants } from "../protocol/to_worker.ts";
import { reportFields } from "./report.ts";

/** How long after its first use a grant is told of: most are used soon after a start. */
const FIRST_MS = 60_000;

/** How often all are told of again: a variable is read once, and its value may serve for months. */
const AGAIN_MS = 24 * 3_600_000;

/** How many are named in one event. */
const MAX_NAMED = 20;

interface Count {
  times: number;
  told: boolean;
}

let installed: GrantUse | undefined;

/** That of this process, once it is counted. */
export function grantUse(): GrantUse | undefined {
  return installed;
}

export class GrantUse {
  readonly #paths: Readonly<Record<"r" | "w", readonly [path: string, count: Count][]>>;
  readonly #counts = new Map<string, Count>();
  #pending = false;

  constructor(grants: Grants) {
    const count = (name: string): Count => {
      const fresh = { times: 0, told: false };
      this.#counts.set(name, fresh);
      return fresh;
    };
    // The most specific path is the one that a use is of.
    const paths = (all: readonly string[], right: string) =>
      [...all].sort((a, b) => b.length - a.length)
        .map((path) => [path, count(`unveil ${path} ${right}`)] as [string, Count]);
    this.#paths = { r: paths(grants.read, "r"), w: paths(grants.write, "w") };
    for (const name of grants.env) count(`env ${name}`);
    for (const host of grants.net) count(`net ${host}`);
    for (const kind of grants.sys ?? []) count(`sys ${kind}`);
  }

  /** Counts from here on. */
  install(): void {
    installed = this;
    Deno.unrefTimer(setInterval(() => this.tell("all"), AGAIN_MS));
    for (const end of ["unload", "error", "unhandledrejection"]) {
      addEventListener(end, () => this.tell("new"));
    }
  }

  /** A path was read, or looked at. */
  read(path: unknown): void {
    this.#path("r", path);
  }

  /** A path was written, made or removed. */
  write(path: unknown): void {
    this.#path("w", path);
  }

  env(name: string): void {
    this.#use(this.#counts.get(`env ${name}`));
  }

  sys(kind: string): void {
    this.#use(this.#counts.get(`sys ${kind}`));
  }

  /** @param name `HOST:PORT` or `unix:PATH` */
  net(name: string): void {
    const lower = name.startsWith("unix:") ? name : name.toLowerCase();
    this.#use(
      this.#counts.get(`net ${lower}`) ?? this.#counts.get(`net ${lower.replace(/:\d+$/, "")}`),
    );
  }

  /** Somebody dialled by a URL. */
  url(given: unknown): void {
    try {
      const { protocol, hostname, port } = new URL(
        given instanceof Request ? given.url : String(given),
      );
      const usual = /^(https|wss):$/.test(protocol) ? "443" : "80";
      this.net(`${hostname}:${port || usual}`);
    } catch {
      // Whoever dials says what is wrong with it.
    }
  }

  /** Tells how often those were used that were not told of yet, or all. */
  tell(which: "new" | "all"): void {
    this.#pending = false;
    const used = [...this.#counts].filter(([, { times, told }]) =>
      which === "all" ? times > 0 : times > 0 && !told
    );
    for (let first = 0; first < used.length; first += MAX_NAMED) {
      const some = used.slice(first, first + MAX_NAMED);
      reportFields({
        holdfast: "grants_used",
        level: "info",
        msg: `Used ${some.length} grants`,
        grants: some.map(([name, { times }]) => `${times} × ${name}`).join("; "),
      });
    }
    for (const [, count] of used) count.told = true;
  }

  #path(right: "r" | "w", given: unknown): void {
    const all = this.#paths[right];
    if (all.length === 0) return;
    const place = placeOf(given);
    if (place !== undefined) this.#use(all.find(([path]) => covers(path, place))?.[1]);
  }

  #use(count: Count | undefined): void {
    if (count === undefined || count.times++ > 0 || this.#pending) return;
    this.#pending = true;
    Deno.unrefTimer(setTimeout(() => this.tell("new"), FIRST_MS));
  }
}

/** A path as it is given to a function, absolute. */
function placeOf(given: unknown): string | undefined {
  const path = typeof given === "string"
    ? given
    : given instanceof URL && given.protocol === "file:"
    ? fileURLToPath(given)
    : given instanceof Uint8Array
    ? new TextDecoder().decode(given)
    : undefined;
  if (path === undefined) return undefined;
  return normalize(isAbsolute(path) ? path : join(process.cwd(), path)).replace(/(.)\/+$/, "$1");
}
