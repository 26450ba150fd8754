/** A process that a test runs: what it writes is at hand line by line, and its end has a limit. */
import { until } from "./wait.ts";

/** One line of the log. */
export type LogEvent = { readonly event: string } & Readonly<Record<string, unknown>>;

export interface ProcessOptions extends Omit<Deno.CommandOptions, "stdout" | "stderr"> {
  /** Which of its streams is read; the other one is thrown away. */
  readonly reads?: "stdout" | "stderr";
}

/** @typeParam Event what its lines of JSON are; other lines are text alone */
export class ProcessLog<Event = LogEvent> {
  readonly child: Deno.ChildProcess;
  readonly events: Event[] = [];
  readonly #reading: Promise<void>;
  #text = "";
  #exit: Deno.CommandStatus | undefined;

  constructor(child: Deno.ChildProcess, stream: ReadableStream<Uint8Array>) {
    this.child = child;
    this.#reading = this.#read(stream);
    child.status.then((status) => this.#exit = status);
  }

  static spawn<Event = LogEvent>(
    command: readonly string[],
    { reads = "stderr", stdin = "null", ...options }: ProcessOptions = {},
  ): ProcessLog<Event> {
    const [program, ...args] = command;
    const child = new Deno.Command(program!, {
      ...options,
      args,
      stdin,
      stdout: reads === "stdout" ? "piped" : "null",
      stderr: reads === "stderr" ? "piped" : "inherit",
    }).spawn();
    return new ProcessLog<Event>(child, child[reads]);
  }

  get pid(): number {
    return this.child.pid;
  }

  /** All that it wrote, as it was written. */
  get text(): string {
    return this.#text;
  }

  /** How it ended, if it has. */
  get exit(): Deno.CommandStatus | undefined {
    return this.#exit;
  }

  /** Waits until `look` gives a value; an end before that is a failure. */
  async until<T>(what: string, look: () => T | undefined | false): Promise<T> {
    return await until(what, () => {
      const found = look();
      if (this.#exit && (found === undefined || found === false)) {
        throw new Error(`It ended before there was ${what}:\n${this.#text.slice(-4000)}`);
      }
      return found;
    });
  }

  /** Waits until it has ended and all is read; `onLate` must end what is late. */
  async ended(patienceMs: number, onLate: () => void = () => this.kill()): Promise<
    { readonly status: Deno.CommandStatus; readonly late: boolean }
  > {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      onLate();
    }, patienceMs);
    await this.#reading;
    const status = await this.child.status;
    clearTimeout(timer);
    return { status, late };
  }

  /** Sends a signal, unless it has ended. */
  signal(signal: Deno.Signal): void {
    if (!this.#exit) killQuietly(this.pid, signal);
  }

  kill(): void {
    this.signal("SIGKILL");
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    let held = "";
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      this.#text += chunk;
      const lines = (held + chunk).split("\n");
      held = lines.pop()!;
      for (const line of lines) {
        try {
          this.events.push(JSON.parse(line));
        } catch {
          // Not every line is an event: some are for people.
        }
      }
    }
  }
}

/** Sends a signal to a process that may be gone. */
export function killQuietly(pid: number, signal: Deno.Signal = "SIGKILL"): void {
  try {
    Deno.kill(pid, signal);
  } catch {
    // Gone by now.
  }
}

/** The events of that name. */
export function eventsOf(events: readonly LogEvent[], event: string): LogEvent[] {
  return events.filter((each) => each.event === event);
}

/** Waits until the log of a supervisor has `count` events of that name, and gives the last of them. */
export async function waitForEvent(
  log: ProcessLog,
  event: string,
  count: number,
): Promise<LogEvent> {
  return await log.until(
    `${count} ${event} in the log`,
    () => eventsOf(log.events, event)[count - 1],
  );
}

/** Sends HUP to a supervisor and waits for the outcome of that reload. */
export async function hangUp(log: ProcessLog): Promise<LogEvent> {
  const outcomes = () =>
    log.events.filter(({ event }) => event === "reload_done" || event === "reload_refused");
  const before = outcomes().length;
  Deno.kill(log.pid, "SIGHUP");
  return await log.until("the outcome of the reload", () => outcomes()[before]);
}
