/** `holdfast top`: a live view of the status. */
import { sleep } from "../base/sleep.ts";
import { clearLine, clearScreenDown, cursorTo } from "node:readline";
import process from "node:process";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import type { Status } from "../protocol/control.ts";
import type { AskingCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { askSupervisor } from "./control_client.ts";
import { filtersBeside } from "./process_filters.ts";
import { formatStatus } from "./status_text.ts";
import { cutLine, type View, viewOfOutput } from "./text.ts";

/** How often the screen is refreshed. */
const REFRESH_INTERVAL_MS = 1_000;

/** The alternate screen of xterm, so that what was there before comes back; and no cursor on it. */
const ENTER_SCREEN = "\x1b[?1049h\x1b[?25l";
const LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l";

/** Control-C, which is a byte like any other while the terminal is raw. */
const QUIT = new Set(["q", "Q", "\x03"]);

/** A status, and when it came, by `performance.now()`. */
export interface Sample {
  readonly status: Status;
  readonly atMs: number;
}

/** Shows processes, generations and rates until `q` is pressed. */
export const top: AskingCommand = async ({ config, system }) => {
  if (!Deno.stdin.isTerminal() || !Deno.stdout.isTerminal()) {
    throw new HoldfastError("top needs a terminal as its input and output", {
      kind: "usage",
      code: "no_terminal",
      hint: "Programs can use holdfast status --json",
    });
  }
  // Before the screen is taken: without a supervisor there is nothing to show.
  const runtime = await findSupervisor(config, system);
  let last = await sample(runtime);
  const quit = new AbortController();
  const onSignal = () => quit.abort();
  for (const name of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
    Deno.addSignalListener(name, onSignal);
  }
  const write = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(text));
  Deno.stdin.setRaw(true);
  write(ENTER_SCREEN);
  void readKeys(quit);
  try {
    let before: Sample | undefined;
    while (!quit.signal.aborted) {
      draw(formatTop(last, before, viewOfOutput()));
      await sleep(REFRESH_INTERVAL_MS, quit.signal);
      if (quit.signal.aborted) break;
      before = last;
      last = await sample(runtime);
    }
  } finally {
    write(LEAVE_SCREEN);
    Deno.stdin.setRaw(false);
  }
  // The read of the next key is still under way, and would keep the process.
  Deno.exit(EXIT.ok);
};

async function sample(runtime: string): Promise<Sample> {
  const { status } = await askSupervisor(runtime, "status", "status");
  return { status, atMs: performance.now() };
}

/** What the screen shows; rates need a sample before. */
export function formatTop(
  now: Sample,
  before: Sample | undefined,
  view: View,
  filtersOf = filtersBeside(now.status),
): string {
  const rates = before ? ratesOf(now, before) : { answered: 0, accepted: 0 };
  const workers = now.status.generations.flatMap((each) => each.workers);
  const open = workers.reduce((sum, { process }) => sum + (process?.connections ?? 0), 0);
  return [
    `${rates.answered} requests/s   ${rates.accepted} connections/s   ${open} open   (q quits)`,
    "",
    formatStatus(now.status, view, filtersOf),
  ].join("\n");
}

/** Rates per second between two samples; a worker that started in between counts since its start. */
export function ratesOf(now: Sample, before: Sample): { answered: number; accepted: number } {
  const processes = ({ status }: Sample) =>
    status.generations.flatMap(({ workers }) => workers.flatMap(({ process }) => process ?? []));
  const known = new Map(processes(before).map((process) => [process.worker, process]));
  const seconds = (now.atMs - before.atMs) / 1000;
  const rate = (of: "answered" | "accepted") => {
    const more = processes(now).map((process) =>
      process[of] - (known.get(process.worker)?.[of] ?? 0)
    );
    return seconds <= 0 ? 0 : Math.round(more.reduce((sum, each) => sum + each, 0) / seconds);
  };
  return { answered: rate("answered"), accepted: rate("accepted") };
}

/** Overwrites the screen in place, so that it does not flicker. */
function draw(text: string): void {
  const { stdout } = process;
  const { columns, rows } = Deno.consoleSize();
  // Wrapped, a table is no table; and a screen that scrolls has lost its first line.
  const lines = text.split("\n").slice(0, rows).map((line) => cutLine(line, columns));
  cursorTo(stdout, 0, 0);
  for (const [row, line] of lines.entries()) {
    stdout.write(line);
    clearLine(stdout, 1);
    if (row < lines.length - 1) stdout.write("\r\n");
  }
  clearScreenDown(stdout);
}

async function readKeys(quit: AbortController): Promise<void> {
  const buffer = new Uint8Array(64);
  while (true) {
    // A terminal that is gone reads as an end, or as an error.
    const length = await Deno.stdin.read(buffer).catch(() => null);
    const keys = length === null
      ? ["q"]
      : [...new TextDecoder().decode(buffer.subarray(0, length))];
    if (keys.some((key) => QUIT.has(key))) return quit.abort();
  }
}
