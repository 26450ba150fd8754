/**
 * A load client that accounts for every request. It speaks HTTP/1.1 over raw sockets, because
 * `fetch` retries on its own and so hides the very races that a reload may cause. It also does not
 * look whether an idle connection was closed before it writes: a server that promises a grace to
 * idle connections is held to it, and a close that comes too early is counted as `raced`.
 */
import { ConnectFailed, Connection, ConnectionEnded, MalformedAnswer } from "./connection.ts";
import {
  type Memory,
  type Mode,
  MODE_NAMES,
  type ModeName,
  MODES,
  ShortAnswer,
  WrongAnswer,
} from "./modes.ts";
import { type Shape, USUAL_SHAPE } from "./shape.ts";
import { type ModeReport, type Outcome, OUTCOMES, type Sample, Tally } from "./tally.ts";
import { hostOf, parseTarget, type Target, withTrust } from "./target.ts";
import { sleep } from "./wait.ts";

export { MODE_NAMES, type ModeName } from "./modes.ts";
export { type Shape, USUAL_SHAPE } from "./shape.ts";
export { type ModeReport, type Outcome, OUTCOMES, type Sample } from "./tally.ts";

/** What `runLoad` is told. */
export interface LoadOptions {
  /** `host:port`, `[::1]:port` or `unix:/path`. */
  target: string;
  /** The authority that is trusted, in PEM, where it is to be asked over TLS. */
  ca?: string | undefined;
  /** New requests are sent for so long; those in flight then are finished. */
  durationMs: number;
  /** @default every mode */
  modes?: readonly ModeName[];
  /** Virtual clients of each mode. @default 4 */
  clients?: number;
  /** A request that has no whole answer by then is lost. @default 15_000 */
  requestDeadlineMs?: number;
  /** How many requests each virtual client sends at most. @default no limit */
  requestsPerClient?: number;
  /** Sizes and times that differ from the usual ones. */
  shape?: Partial<Shape>;
  /** Ends the load early, as if its time were up. */
  signal?: AbortSignal;
}

/** The whole account. */
export interface LoadReport {
  target: string;
  tookMs: number;
  modes: Partial<Record<ModeName, ModeReport>>;
  total: Omit<ModeReport, "p50Ms" | "p99Ms" | "maxMs">;
  /** The first few requests of each mode and outcome that were not answered well. */
  samples: Sample[];
}

/** A row of the printed table. */
export type LoadRow = Omit<ModeReport, "generations"> & { generations: number };

/** A server that refuses is asked again only after so long. */
const REFUSED_PAUSE_MS = 20;

/**
 * Runs every mode at once with so many virtual clients each, and counts how each request ended.
 *
 * ```ts ignore
 * const report = await runLoad({ target: "127.0.0.1:8000", durationMs: 5_000, modes: ["close"] });
 * if (!isAllOk(report)) console.table(rowsOf(report));
 * ```
 */
export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  const target = withTrust(parseTarget(options.target), options.ca);
  const modes = options.modes ?? MODE_NAMES;
  const tallies = new Map(modes.map((name) => [name, new Tally(name)]));
  const startedAtMs = performance.now();
  const timeUp = new AbortController();
  const end = () => timeUp.abort();
  const timer = setTimeout(end, options.durationMs);
  options.signal?.addEventListener("abort", end);
  if (options.signal?.aborted) end();

  try {
    const clients = [...tallies].flatMap(([name, tally]) =>
      Array.from({ length: options.clients ?? 4 }, () =>
        runVirtualClient({
          target,
          mode: MODES[name],
          tally,
          startedAtMs,
          deadlineMs: options.requestDeadlineMs ?? 15_000,
          requests: options.requestsPerClient ?? Infinity,
          shape: { ...USUAL_SHAPE, ...options.shape },
          timeUp: timeUp.signal,
        }))
    );
    // A fault of one client stops the others, and is told only after each has closed its connection.
    const failed = (await Promise.allSettled(clients.map((client) =>
      client.catch((error) => {
        end();
        throw error;
      })
    ))).filter((result) => result.status === "rejected");
    if (failed.length > 0) throw failed[0]!.reason;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", end);
  }
  return reportOf(options.target, performance.now() - startedAtMs, tallies);
}

/** Whether something was sent and every request was answered whole and right. */
export function isAllOk(report: LoadReport): boolean {
  return report.total.sent > 0 && report.total.ok === report.total.sent;
}

/** The account as rows for `console.table`, one a mode and a last one for the total. */
export function rowsOf(report: LoadReport): Record<string, LoadRow | Partial<LoadRow>> {
  const rows: Record<string, LoadRow | Partial<LoadRow>> = {};
  for (const [name, mode] of Object.entries(report.modes)) {
    rows[name] = { ...mode, generations: Object.keys(mode.generations).length };
  }
  rows["total"] = { ...report.total, generations: Object.keys(report.total.generations).length };
  return rows;
}

/** The samples as lines of text. */
export function sampleLinesOf(report: LoadReport): string[] {
  return report.samples.map(({ mode, outcome, reason, generation, atMs }) =>
    `${mode} ${outcome} at ${Math.round(atMs)} ms` +
    `${generation === undefined ? "" : ` by generation ${generation}`}: ${reason}`
  );
}

interface ClientOptions {
  target: Target;
  mode: Mode;
  tally: Tally;
  startedAtMs: number;
  deadlineMs: number;
  requests: number;
  shape: Shape;
  timeUp: AbortSignal;
}

async function runVirtualClient(options: ClientOptions): Promise<void> {
  const { target, mode, tally, deadlineMs, shape, timeUp } = options;
  const host = hostOf(target);
  const memory: Memory = { lastEventId: undefined };
  let connection: Connection | undefined;
  try {
    for (let count = 0; count < options.requests && !timeUp.aborted; count++) {
      let generation: string | undefined;
      const sentAtMs = performance.now();
      tally.send();
      try {
        connection ??= await Connection.open(target, deadlineMs);
        connection.beginRequest(deadlineMs);
        const { answeredAtMs, persistence } = await mode.exchange({
          connection,
          host,
          persistence: mode.persistence,
          shape,
          deadlineMs,
          timeUp,
          memory,
          seeGeneration: (seen) => generation = seen,
        });
        connection.endRequest();
        if (persistence === "keep_alive" && connection.bufferedBytes > 0) {
          throw new WrongAnswer(`${connection.bufferedBytes} bytes came after the answer`);
        }
        tally.endWell(answeredAtMs - sentAtMs, generation);
        if (persistence === "close" || mode.persistence === "close") {
          connection[Symbol.dispose]();
          connection = undefined;
        }
      } catch (error) {
        const verdict = verdictOf(error, connection);
        const atMs = performance.now() - options.startedAtMs;
        tally.endBadly({ ...verdict, generation, atMs });
        connection?.[Symbol.dispose]();
        connection = undefined;
        if (verdict.outcome === "refused") await sleep(REFUSED_PAUSE_MS, timeUp);
      }
      await sleep(mode.thinkMs, timeUp);
    }
  } finally {
    connection?.[Symbol.dispose]();
  }
}

/** Errors that are no outcome of a request are faults of this client, and are thrown on. */
function verdictOf(
  error: unknown,
  connection: Connection | undefined,
): { outcome: Exclude<Outcome, "ok">; reason: string } {
  if (!(error instanceof Error)) throw error;
  const reason = error.message;
  if (error instanceof ConnectFailed) return { outcome: "refused", reason };
  if (error instanceof WrongAnswer) return { outcome: "bad", reason };
  if (error instanceof MalformedAnswer) return { outcome: "bad", reason: `malformed: ${reason}` };
  if (error instanceof ShortAnswer) return { outcome: "lost", reason };
  if (error instanceof ConnectionEnded && connection !== undefined) {
    const { answers, answerBytes, endedBy } = connection;
    const wasReused = answers > 0;
    if (wasReused && answerBytes === 0 && endedBy === "peer") return { outcome: "raced", reason };
    const where = `${answerBytes} bytes of the answer, ${
      wasReused ? "reused" : "fresh"
    } connection`;
    return { outcome: "lost", reason: `${reason} (${where})` };
  }
  throw error;
}

function reportOf(target: string, tookMs: number, tallies: Map<ModeName, Tally>): LoadReport {
  const total: LoadReport["total"] = {
    sent: 0,
    ok: 0,
    refused: 0,
    lost: 0,
    raced: 0,
    bad: 0,
    unaccounted: 0,
    generations: {},
  };
  const modes: LoadReport["modes"] = {};
  for (const [name, tally] of tallies) {
    const mode = modes[name] = tally.report();
    for (const key of ["sent", ...OUTCOMES, "unaccounted"] as const) total[key] += mode[key];
    for (const [generation, count] of Object.entries(mode.generations)) {
      total.generations[generation] = (total.generations[generation] ?? 0) + count;
    }
  }
  const samples = [...tallies.values()].flatMap((tally) => tally.samples);
  return { target, tookMs, modes, total, samples };
}
