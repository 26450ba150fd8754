/** The loop of `holdfast dev`: what is saved is brought in, and whoever looks at a page sees it. */
import { basename, dirname } from "node:path";
import { escapeUntrusted } from "../base/escape.ts";
import { toHoldfastError } from "../base/error.ts";
import { realPlace } from "../config/real_place.ts";
import { type Failure, failureOf, shortPath, shownFailure } from "./failure.ts";
import type { Inspector } from "./inspector.ts";
import type { PageServer } from "./page_server.ts";
import { type LogEvent, refusalOf, type Terminal } from "./terminal.ts";
import { filesNamedIn } from "./source_frame.ts";
import { type SupervisorOptions, SupervisorProcess } from "./supervisor_process.ts";
import { WaitingPage } from "./waiting_page.ts";
import { effectOfAll, foldersOf, type Watched } from "./watched.ts";
import { foldersIn, MAX_FOLDERS, Watcher } from "./watcher.ts";

/** After how long it is said that something takes its time, and how often from then on. */
const SLOW_MS = 2_000;
const SLOW_AGAIN_MS = 10_000;

/** How long a page may take that loads itself again. */
const PAGE_MS = 3_000;

/** A file that says that it was saved longer ago was not saved now. */
const MAX_AGE_MS = 60_000;

/** How many names of files a line has. */
const MAX_NAMES = 3;

export interface DevelopmentOptions {
  readonly supervisor: Omit<SupervisorOptions, "hear">;
  readonly terminal: Terminal;
  readonly pages: PageServer;
  readonly inspector: Inspector | undefined;
  /** What is watched by now. */
  readonly watched: () => Promise<Watched>;
  /** Whether nothing was ever started for this project. */
  readonly isFirst: boolean;
  /** Called when the first version serves. */
  readonly served: () => void;
}

export class Development {
  readonly #options: DevelopmentOptions;
  readonly #folder: string;
  readonly #stopped = Promise.withResolvers<void>();
  #watched: Watched | undefined;
  #watcher: Watcher | undefined;
  #supervisor: SupervisorProcess | undefined;
  #waiting: WaitingPage | undefined;
  #failure: Failure | undefined;
  /** What has changed and is to be looked at. */
  #changed = new Set<string>();
  #working: Promise<void> | undefined;
  #stops = 0;
  /** Told when the next page begins to listen. */
  #opened: (() => void) | undefined;

  constructor(options: DevelopmentOptions) {
    this.#options = options;
    this.#folder = dirname(realPlace(options.supervisor.config));
  }

  /** Serves and watches until it is told to stop. */
  async run(): Promise<void> {
    this.#watched = await this.#options.watched();
    this.#options.terminal.folders = this.#sources();
    this.#watcher = new Watcher({
      folders: () => foldersOf(this.#watched!, foldersIn, MAX_FOLDERS),
      take: (paths) => this.#take(paths),
    });
    try {
      this.#working = this.#begin().finally(() => this.#working = undefined);
      await this.#working;
      this.#work();
      await this.#stopped.promise;
      await this.#working;
    } finally {
      this.#watcher.close();
      this.#supervisor?.stop();
      await this.#supervisor?.ended;
      await this.#waiting?.close();
    }
  }

  /** Ends it; a second time without waiting for requests. */
  stop(): void {
    if (this.#stops++ > 0) this.#supervisor?.hurry();
    this.#supervisor?.stop();
    this.#stopped.resolve();
  }

  /** A page has begun to listen. */
  pageOpened(): void {
    this.#opened?.();
  }

  #take(paths: ReadonlySet<string>): void {
    for (const path of paths) this.#changed.add(path);
    this.#work();
  }

  #work(): void {
    if (this.#stops > 0 || this.#working !== undefined || this.#changed.size === 0) return;
    const paths = this.#changed;
    this.#changed = new Set();
    this.#working = this.#handle(paths).finally(() => {
      this.#working = undefined;
      this.#work();
    });
  }

  async #begin(): Promise<void> {
    const startMs = performance.now();
    if (!await this.#start()) return;
    this.#options.terminal.step(`serving after ${secondsSince(startMs)}`, "green");
    this.#options.served();
  }

  async #handle(changed: ReadonlySet<string>): Promise<void> {
    const { terminal, pages } = this.#options;
    const broken = this.#failure !== undefined || !this.#supervisor?.isRunning;
    const { effect, paths } = effectOfAll(changed, this.#watched!, broken);
    const names = namesOf(paths, this.#folder);
    if (effect === "style") {
      pages.tell({ type: "style", names: paths.map((path) => basename(path)) });
      terminal.step("style changed", "green", `: ${names}`);
    } else if (effect === "page") {
      pages.tell({ type: "reload" });
      terminal.step("page loaded again", "green", `: ${names}`);
    } else if (effect === "restart") await this.#bringIn(paths, names);
  }

  async #bringIn(paths: readonly string[], names: string): Promise<void> {
    const { pages } = this.#options;
    const savedMs = savedAt(paths);
    const listening = pages.pages;
    const running = this.#supervisor?.isRunning === true;
    if (!await (running ? this.#reload(names) : this.#start())) return;
    const times = [`serves ${Date.now() - savedMs} ms after the save`];
    const what = running ? "reloaded" : "started";
    const tell = () => {
      this.#opened = undefined;
      clearTimeout(late);
      this.#options.terminal.step(what, "green", `: ${names}: ${times.join(", ")}`);
    };
    // A page that is there loads itself again; who waits for it does not keep the next change waiting.
    const late = setTimeout(tell, listening === 0 ? 0 : PAGE_MS);
    this.#opened?.();
    this.#opened = () => {
      times.push(`page after ${Date.now() - savedMs} ms`);
      tell();
    };
  }

  async #reload(names: string): Promise<boolean> {
    const { terminal, pages } = this.#options;
    const sinceMs = Date.now();
    const supervisor = this.#supervisor!;
    const endProgress = this.#tellProgress("still reloading");
    try {
      const result = await supervisor.reload();
      if (result.outcome === "refused") {
        const { reason = "It was refused", hint } = result;
        this.#fail({ message: reason, hint }, `not reloaded: ${names}`);
        return false;
      }
    } catch (error) {
      if (supervisor.isRunning) {
        const { message, hint } = toHoldfastError(error);
        this.#fail({ message, hint }, `not reloaded: ${names}`);
      }
      return false;
    } finally {
      endProgress();
      await this.#lookAgain();
    }
    if (this.#failure !== undefined) terminal.step("mended", "green");
    this.#failure = undefined;
    await this.#followWorker();
    pages.serves(sinceMs);
    return true;
  }

  /** Starts a supervisor. */
  async #start(): Promise<boolean> {
    const { supervisor: options, pages } = this.#options;
    const sinceMs = Date.now();
    await this.#waiting?.close();
    this.#waiting = undefined;
    const supervisor = new SupervisorProcess({ ...options, hear: (event) => this.#hear(event) });
    this.#supervisor = supervisor;
    // It was told to before there was one.
    if (this.#stops > 0) supervisor.stop();
    const endProgress = this.#tellProgress(
      this.#options.isFirst
        ? "still starting: a first start makes Holdfast's programs and fetches packages"
        : "still starting",
    );
    const serves = await supervisor.serving;
    endProgress();
    if (!serves && this.#stops === 0) this.#down("not started");
    await this.#lookAgain();
    if (!serves || this.#stops > 0) return false;
    this.#failure = undefined;
    await this.#followWorker();
    pages.serves(sinceMs);
    void supervisor.ended.then(() => {
      if (this.#stops === 0 && this.#supervisor === supervisor) this.#down("the server has ended");
    });
    return true;
  }

  /** No supervisor runs: whoever looks at a page is told why. */
  #down(what: string): void {
    const { terminal, pages, supervisor } = this.#options;
    this.#fail(this.#supervisor!.lastWords, what);
    try {
      const { port, page } = supervisor.settings;
      this.#waiting ??= new WaitingPage(port, page, () => pages.failure);
    } catch (error) {
      terminal.line(`  No page says so: ${(error as Error).message}`);
    }
  }

  #fail(found: { message: string; hint?: string | undefined }, what: string): void {
    // What was under way is given up then.
    if (this.#stops > 0) return;
    const { terminal, pages } = this.#options;
    this.#failure = failureOf(found, terminal.folders);
    const serves = this.#supervisor?.isRunning === true;
    terminal.failure(what, this.#failure);
    if (serves) terminal.line("  The version before goes on serving.");
    const shown = shownFailure(this.#failure, { folder: this.#folder, serves });
    pages.fails(shown);
  }

  #hear(event: LogEvent): void {
    const { terminal, pages, inspector } = this.#options;
    if (inspector?.hear(event)) return;
    terminal.event(event);
    const refusal = refusalOf(event);
    if (refusal === undefined) return;
    const text = ["Holdfast:", refusal.what, refusal.advice ?? ""].join(" ").trim();
    pages.tell({ type: "refused", text: escapeUntrusted(text) });
  }

  /** What the app is made of may be something else by now. */
  async #lookAgain(): Promise<void> {
    try {
      const watched = await this.#options.watched();
      const named = filesNamedIn(this.#failure?.message ?? "");
      this.#watched = { ...watched, files: new Set([...watched.files, ...named]) };
      this.#options.terminal.folders = this.#sources();
      this.#watcher!.refresh();
    } catch (error) {
      this.#options.terminal.failure(
        "some changes are not seen",
        failureOf(toHoldfastError(error), []),
      );
    }
  }

  /** Where what may be shown lies. */
  #sources(): string[] {
    const { roots, files } = this.#watched!;
    const folders = [this.#folder, ...roots, ...[...files].map((file) => dirname(file))];
    return [...new Set(folders)].filter((folder) => folder !== "/");
  }

  async #followWorker(): Promise<void> {
    const { inspector } = this.#options;
    if (inspector === undefined) return;
    const status = await this.#supervisor!.status().catch(() => undefined);
    const serving = status?.generations.find(({ state }) => state === "serving");
    inspector.follow(serving?.workers[0]?.process?.worker);
  }

  /** @returns a function that ends it */
  #tellProgress(what: string): () => void {
    const startMs = performance.now();
    let timer: ReturnType<typeof setTimeout>;
    const tell = () => {
      this.#options.terminal.step(`${what} (${secondsSince(startMs)})`, "dim");
      timer = setTimeout(tell, SLOW_AGAIN_MS);
    };
    timer = setTimeout(tell, SLOW_MS);
    return () => clearTimeout(timer);
  }
}

function secondsSince(startMs: number): string {
  return `${((performance.now() - startMs) / 1_000).toFixed(1)} s`;
}

/** When the last of some files was saved, in milliseconds since 1970. */
function savedAt(paths: readonly string[]): number {
  const now = Date.now();
  const times = paths.map((path) => {
    try {
      return Deno.statSync(path).mtime?.getTime() ?? now;
    } catch {
      return now;
    }
  });
  const last = Math.max(...times);
  return last > now || now - last > MAX_AGE_MS ? now : last;
}

function namesOf(paths: readonly string[], folder: string): string {
  const names = paths.slice(0, MAX_NAMES).map((path) => shortPath(path, folder));
  const more = paths.length - names.length;
  return names.join(", ") + (more > 0 ? ` and ${more} more` : "");
}
