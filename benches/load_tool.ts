/** Load generators: what they are told, and what their figures mean. Needs `wrk` and `h2load`. */
import { within } from "../tests/load/wait.ts";

/** A way to send requests. */
export interface Kind {
  name: string;
  command: (url: string, seconds: number) => [string, ...string[]];
  /** Answers per second, and how many were not good. */
  parse: (output: string) => Measured;
}

/** What one run came to. */
export interface Measured {
  perSecond: number;
  failed: number;
}

/** Every way. */
export const KINDS: Kind[] = [
  wrk("keep-alive", ["-c16"]),
  wrk("connection per request", ["-c16", "-H", "Connection: close"]),
  {
    name: "h2c",
    command: (url, seconds) => ["h2load", "-c8", "-m10", `-D${seconds}`, url],
    parse: parseH2load,
  },
];

/** A way that `wrk` has, by its options. */
export function wrk(name: string, options: readonly string[]): Kind {
  const command: Kind["command"] = (url, seconds) => {
    return ["wrk", "-t1", ...options, `-d${seconds}s`, url];
  };
  return { name, command, parse: parseWrk };
}

/** Sends requests of a kind to `host:port`, or to a URL. */
export async function measure(
  kind: Kind,
  target: string,
  seconds: number,
  url = `http://${target}/`,
): Promise<Measured> {
  const [tool, ...toolArgs] = kind.command(url, seconds);
  const child = new Deno.Command(tool, {
    args: toolArgs,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  try {
    const output = await within(child.output(), (seconds + 20) * 1000, tool);
    return kind.parse(new TextDecoder().decode(output.stdout));
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

function parseWrk(output: string): Measured {
  const perSecond = figureOf(output, /Requests\/sec:\s+([\d.]+)/);
  const statuses = Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0);
  const errors = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)?.slice(1) ??
    [];
  return { perSecond, failed: errors.reduce((sum, count) => sum + Number(count), statuses) };
}

function parseH2load(output: string): Measured {
  const succeeded = figureOf(output, /(\d+) succeeded/);
  const failed = figureOf(output, /(\d+) failed/);
  const perSecond = succeeded === 0 ? 0 : figureOf(output, /([\d.]+) req\/s/);
  return { perSecond, failed };
}

function figureOf(output: string, pattern: RegExp): number {
  const figure = pattern.exec(output)?.[1];
  if (figure === undefined) throw new Error(`Cannot read the figures:\n${output}`);
  return Number(figure);
}
