/** What `holdfast dev` prints. */
import { escapeUntrusted } from "../base/escape.ts";
import { printLine } from "../cli/terminal.ts";
import { type Failure, failureOf, placeOf } from "./failure.ts";
import { frameLines } from "./source_frame.ts";

/** An event of the supervisor's log. */
export type LogEvent = Readonly<Record<string, unknown>>;

const COLOURS = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Colour = keyof typeof COLOURS;

/** Events that are told in another way, or that development brings about by itself. */
const UNTOLD = [
  ...["reload_refused", "wall_is_deno_only", "refused_again", "reload_waits", "cutting"],
  ...["no_config", "still_accepting"],
];

/** What a worker says of an error that the app has not caught. */
const THROWN = /^(?:The app threw while it answered a request: |error: Uncaught )(.*)$/s;

/** Paints a text, where colours are seen. */
export function painter(isTerminal: boolean, noColour: boolean) {
  return (colour: Colour, text: string): string =>
    isTerminal && !noColour ? `\x1b[${COLOURS[colour]}m${text}\x1b[0m` : text;
}

export interface TerminalOptions {
  /** In which places are told as shorter ones. */
  readonly folder: string;
  readonly paint: ReturnType<typeof painter>;
  readonly print?: (text: string) => void;
}

export class Terminal {
  /** Folders whose sources are shown. */
  folders: readonly string[] = [];
  readonly #options: TerminalOptions;
  readonly #print: (text: string) => void;

  constructor(options: TerminalOptions) {
    this.#options = options;
    this.#print = options.print ?? printLine;
  }

  line(text: string, colour?: Colour): void {
    this.#print(colour === undefined ? text : this.#options.paint(colour, text));
  }

  /** A line that begins with the time. */
  step(text: string, colour: Colour, more = ""): void {
    const time = new Date().toTimeString().slice(0, 8);
    const { paint } = this.#options;
    this.#print(`${paint("dim", time)} ${paint(colour, text)}${more}`);
  }

  /** A failure, with what stands at its place. */
  failure(what: string, { message, hint, frame }: Failure): void {
    const { paint, folder } = this.#options;
    this.step(what, "red");
    for (const line of message === "" ? [] : message.split("\n")) this.#print(`  ${plain(line)}`);
    if (frame !== undefined) {
      this.#print(`  ${paint("cyan", placeOf(frame, folder))}`);
      for (const line of frameLines(frame)) {
        this.#print(`  ${/^>|^ +\| +\^$/.test(line) ? line : paint("dim", line)}`);
      }
    }
    for (const line of hint?.split("\n") ?? []) this.#print(`  hint: ${plain(line)}`);
  }

  /** What the supervisor's log says, as far as a developer wants to know it; at once. */
  event(event: LogEvent): void {
    const { paint } = this.#options;
    const said = refusalOf(event);
    if (said !== undefined) {
      // What is asked for at the start and found missing mostly means nothing.
      this.step(said.what, event.level === "info" ? "dim" : "yellow");
      if (said.advice !== undefined) this.#print(`  ${plain(said.advice)}`);
      return;
    }
    const name = text(event.event);
    if (name === "worker_output" && THROWN.test(text(event.text))) {
      const [, message = ""] = THROWN.exec(text(event.text))!;
      this.failure("the app threw", failureOf({ message }, this.folders));
      return;
    }
    if (name === "worker_output") {
      const colour = event.level === "error" ? "red" : event.level === "warn" ? "yellow" : "dim";
      const bar = paint(colour, `${text(event.role).replace(/\.\d+$/, "")} │`);
      for (const line of text(event.text).split("\n")) this.#print(`${bar} ${plain(line)}`);
      return;
    }
    if (event.level === "info" || UNTOLD.includes(name)) return;
    const { reason, hint } = event;
    const message = text(reason) || facts(event);
    const failure = failureOf({ message, hint: text(hint) || undefined }, this.folders);
    this.failure(name.replaceAll("_", " "), failure);
  }
}

/** What was refused, and what would allow it; nothing for another event. */
export function refusalOf(
  event: LogEvent,
): { readonly what: string; readonly advice: string | undefined } | undefined {
  const { event: name, kind, call, what, from, allow, instead, role, address, port, path } = event;
  const who = text(role).replace(/\.\d+$/, "");
  const asked = name === "refused"
    ? `${text(call ?? kind)} ${text(what)}`
    : name === "dial_denied"
    ? `net ${text(address)}:${text(port)}`
    : name === "exec_denied" || name === "call_denied"
    ? `${text(call)} ${text(path)}`
    : undefined;
  if (asked === undefined) return undefined;
  const place = text(from).replace(/^file:\/\//, "");
  const advice = [
    ...text(allow) === "" ? [] : [`allow it in the config: ${text(allow)}`],
    ...text(instead) === "" ? [] : [text(instead)],
  ];
  return {
    what: `refused to the ${who}: ${plain(asked.trim())}${place && `, asked at ${plain(place)}`}`,
    advice: advice.length === 0 ? undefined : advice.join("; "),
  };
}

/** Fields that say nothing to a developer. */
const SILENT = ["time", "level", "event", "hint", "reason", "pid", "generation", "worker"];

function facts(event: LogEvent): string {
  return Object.entries(event).filter(([name]) => !SILENT.includes(name))
    .map(([name, value]) => `${name}: ${text(value)}`).join(", ");
}

function text(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What others have written, without orders to the terminal. */
function plain(line: string): string {
  return escapeUntrusted(line.replaceAll("\t", "    "), Infinity);
}
