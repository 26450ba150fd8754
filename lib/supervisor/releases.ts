/**
 * What has served lately: for each generation that came to serve its config, its image, when it was,
 * what had changed and how it ended. Kept in a file beside the images, over restarts.
 */
import { join } from "node:path";
import * as z from "zod/mini";
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { ConfigData } from "../config/config_data.ts";
import { Plan } from "../protocol/plan.ts";
import type { Release } from "../protocol/control.ts";
import { modulesOf } from "./image_store.ts";

const FILE = "releases.json";

/** How many names of what has changed are kept of each. */
const MAX_CHANGED = 20;

const Stored = z.array(z.strictObject({
  release: z.int().check(z.minimum(1)),
  at: z.string(),
  changed: z.array(z.string()),
  changedCount: z.int().check(z.minimum(0)),
  servedMs: z.nullable(z.int().check(z.minimum(0))),
  ended: z.nullable(z.string()),
  plan: Plan,
  config: ConfigData,
}));
type Stored = z.infer<typeof Stored>[number];

/** A release that can be brought back. */
export type KeptRelease = Pick<Stored, "release" | "plan" | "config">;

export class Releases {
  /** The folder of the images. */
  readonly images: string;
  readonly #list: Stored[];
  #sinceMs = 0;

  /** @param images the folder of the images; what it says of earlier ones is read */
  constructor(images: string) {
    this.images = images;
    this.#list = read(images);
  }

  /** The images that are to stay. */
  get folders(): string[] {
    return this.#list.map(({ plan }) => join(this.images, plan.digest));
  }

  /** Whether the newest one serves, under this supervisor. */
  get #serves(): boolean {
    return this.#sinceMs > 0;
  }

  /** For `holdfast releases`, the newest first. */
  list(nowMs: number): Release[] {
    return this.#list.map(({ plan: _, config: __, ...release }, index) => ({
      ...release,
      servedMs: release.servedMs ??
        (index === 0 && this.#serves ? Math.round(nowMs - this.#sinceMs) : 0),
      serving: index === 0 && this.#serves,
    }));
  }

  /**
   * Finds one.
   *
   * @param release its number; without one, what served before the one that serves
   */
  find(release?: number): KeptRelease | undefined {
    return release === undefined
      ? this.#list[1]
      : this.#list.find((each) => each.release === release);
  }

  /** A generation serves from now on. One that brings nothing new is of the same release. */
  begin(plan: Plan, config: Config, keep: number, nowMs: number): void {
    const [before] = this.#list;
    if (before !== undefined && isSame(before, { plan, config })) {
      if (!this.#serves) this.#resume(nowMs);
      return;
    }
    this.end("replaced", nowMs);
    const [was, is] = [
      before && modulesOf(this.images, before.plan),
      modulesOf(this.images, plan),
    ];
    const changed = was === undefined ? [] : [
      ...[...is].filter(([url, digest]) => was.get(url) !== digest).map(([url]) => url),
      ...[...was.keys()].filter((url) => !is.has(url)),
    ];
    this.#list.unshift({
      release: (before?.release ?? 0) + 1,
      at: new Date().toISOString(),
      changed: changed.slice(0, MAX_CHANGED),
      changedCount: changed.length,
      ...{ servedMs: null, ended: null, plan, config },
    });
    this.#list.length = Math.min(this.#list.length, keep + 1);
    this.#sinceMs = nowMs;
    this.#write();
  }

  /** The one that served last serves again, as after a restart. */
  #resume(nowMs: number): void {
    const at = new Date().toISOString();
    this.#list[0] = { ...this.#list[0]!, at, servedMs: null, ended: null };
    this.#sinceMs = nowMs;
    this.#write();
  }

  /** The one that serves ends, or has ended with an earlier supervisor. */
  end(how: string, nowMs: number): void {
    const [last] = this.#list;
    if (last === undefined || last.ended !== null) return;
    const known = this.#serves;
    this.#list[0] = {
      ...last,
      servedMs: known ? Math.round(nowMs - this.#sinceMs) : null,
      ended: known ? how : "the supervisor ended",
    };
    this.#sinceMs = 0;
  }

  /** The supervisor ends. */
  close(nowMs: number): void {
    if (!this.#serves) return;
    this.end("stopped", nowMs);
    this.#write();
  }

  #write(): void {
    const path = join(this.images, FILE);
    try {
      Deno.writeTextFileSync(`${path}.new`, JSON.stringify(this.#list), { mode: 0o600 });
      Deno.renameSync(`${path}.new`, path);
    } catch (error) {
      log.warn("releases_not_kept", { file: path, reason: (error as Error).message });
    }
  }
}

function isSame(a: Omit<KeptRelease, "release">, b: typeof a): boolean {
  // As it is read from the file; and a folder that a start has made is the same folder.
  const text = ({ config }: typeof a) =>
    JSON.stringify(ConfigData.parse(config), (key, is) => key === "exists" ? undefined : is);
  return a.plan.digest === b.plan.digest && text(a) === text(b);
}

function read(images: string): Stored[] {
  const path = join(images, FILE);
  try {
    return Stored.parse(JSON.parse(Deno.readTextFileSync(path)));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      log.warn("releases_unreadable", { file: path, reason: (error as Error).message });
    }
    return [];
  }
}
