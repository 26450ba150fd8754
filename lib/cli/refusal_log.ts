/** What a log says of refusals, counted. */
import { escapeUntrusted } from "../base/escape.ts";

/** One kind of refusal of one process. */
export interface LoggedRefusal {
  readonly process: string;
  /** What was tried. */
  readonly what: string;
  times: number;
  /** The time of the last event that tells of it. */
  last: string;
  from: string;
  /** The line that would allow it, or what does in its place. */
  allow: string;
}

/** Events that tell of what the kernel refused. */
const BY_KERNEL = ["dial_denied", "call_denied", "exec_denied"];

/** Counts what the lines of a log tell of; the newest comes last. What is no event is passed over. */
export function countRefusals(lines: Iterable<string>): LoggedRefusal[] {
  const found = new Map<string, LoggedRefusal>();
  for (const line of lines) {
    if (!/"event":"(refused|\w+_denied)/.test(line)) continue;
    const event = parse(line);
    if (event === undefined) continue;
    const process = text(event.role).replace(/\.\d+$/, "");
    if (event.event === "refused_again") addAgain(found, process, event);
    else if (event.event === "refused" || BY_KERNEL.includes(text(event.event))) {
      const what = whatOf(event);
      const key = `${process} ${what}`;
      const known = found.get(key);
      // The newest comes last.
      found.delete(key);
      found.set(key, {
        ...{ process, what, times: (known?.times ?? 0) + 1, last: text(event.time) },
        from: text(event.from) || known?.from || "",
        allow: text(event.allow ?? event.instead ?? event.reason),
      });
    }
  }
  return [...found.values()];
}

/** Those that came again are told by their number, after the first of each was told. */
function addAgain(
  found: ReadonlyMap<string, LoggedRefusal>,
  process: string,
  { refusals, time }: Record<string, unknown>,
): void {
  for (const [, times, what] of text(refusals).matchAll(/(\d+) × (.+?)(?=; \d+ × |$)/g)) {
    const known = found.get(`${process} ${what}`);
    if (known === undefined) continue;
    known.times += Number(times);
    known.last = text(time);
  }
}

function whatOf({ event, kind, call, what, address, port, path }: Record<string, unknown>): string {
  if (event === "dial_denied") return `net ${text(address)}:${text(port)}`;
  if (event !== "refused") return [text(call), text(path)].filter((each) => each !== "").join(" ");
  return `${text(call ?? kind)} ${text(what)}`.trim();
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null
      ? value as Record<string, unknown>
      : undefined;
  } catch {
    return undefined;
  }
}

function text(value: unknown): string {
  return value === undefined || value === null ? "" : escapeUntrusted(String(value), 300);
}
