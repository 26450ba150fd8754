/** The text of a config as `holdfast dev` has it: what only production needs is taken out. */
import { modify, parse, type ParseError } from "jsonc-parser";
import { BOUNDS } from "../config/bounds.ts";

/** The runtime folder of development, beside that of the config. */
export const DEVELOPMENT_FOLDER = ".holdfast-dev";

/** How long the version before has for requests that are in flight. */
const DRAIN_MS = 1_000;

/** What development changes. */
export interface Changes {
  readonly port: number;
  /** The wall, where the command line says one. */
  readonly wall: "kernel" | "deno" | undefined;
  /** Whether a debugger may stop the worker for as long as it likes. */
  readonly inspected: boolean;
  /** Whether who starts it may become another user. */
  readonly isRoot: boolean;
}

type Path = (string | number)[];
type Values = Readonly<Record<string, unknown>>;

/**
 * The text with its changes. Each line stays the same line, so that messages name the right one. What is
 * not of the type that it should have stays as it is, to be refused.
 */
export function developmentText(
  text: string,
  { port, wall, inspected, isRoot }: Changes,
): string {
  const errors: ParseError[] = [];
  const raw: unknown = parse(text, errors, { allowTrailingComma: true });
  if (errors.length > 0 || !isRecord(raw)) return text;
  const edits: [path: Path, value: unknown, insert?: boolean][] = [
    [["runtime"], `./${DEVELOPMENT_FOLDER}`],
    [["listen"], [`127.0.0.1:${port}`]],
    [["workers"], 1],
    ...["spare", "metrics", "acme", "traces", "recycle"].map((key): [Path, undefined] => [
      [key],
      undefined,
    ]),
    [["log", "folder"], undefined],
    ...Object.entries({
      ...{ idleGraceMs: 0, drainDeadlineMs: DRAIN_MS, shutdownDelayMs: 0, spreadMs: 0 },
      ...{ webSockets: "close", keep: 0, widen: "allow" },
      ...inspected && { readyDeadlineMs: BOUNDS.reload.readyDeadlineMs[1] },
    }).map(([key, value]): [Path, unknown] => [["reload", key], value]),
    ...wall === undefined ? [] : [[["wall"], wall] as [Path, unknown]],
    ...inspected ? [[["watchdog", "pulseDeadlineMs"], 0] as [Path, unknown]] : [],
    ...isRoot ? [] : ["user", "group"].map((key): [Path, undefined] => [[key], undefined]),
    ...environmentEdits(raw, []),
    ...Object.entries(isRecord(raw.helpers) ? raw.helpers : {}).flatMap(([name, helper]) =>
      isRecord(helper) ? environmentEdits(helper, ["helpers", name]) : []
    ),
  ];
  return edits.reduce((changed, [path, value, insert = false]) => {
    const [first, second] = path;
    const isNested = second !== undefined && first !== "helpers" && first !== "env";
    const holder = raw[first!];
    // Where there is nothing, there is nothing to take out.
    if (isNested && !(isRecord(holder) || holder === undefined && value !== undefined)) {
      return changed;
    }
    if (!isNested && value === undefined && holder === undefined) return changed;
    if (isNested && value === undefined && !Object.hasOwn(holder as Values, second)) return changed;
    return change(changed, path, value, insert);
  }, text);
}

/** Lets an app, or a helper, see in which way it runs. */
function environmentEdits({ env }: Values, at: Path): [Path, unknown, boolean?][] {
  const path = [...at, "env"];
  if (env === undefined) return [[path, ["NODE_ENV"]]];
  if (isRecord(env)) return [[[...path, "NODE_ENV"], "development"]];
  if (!Array.isArray(env) || env.includes("NODE_ENV")) return [];
  return [[[...path, env.length], "NODE_ENV", true]];
}

/** Makes one change, without a change to the number of lines. */
function change(text: string, path: Path, value: unknown, insert: boolean): string {
  const edits = modify(text, path, value, { isArrayInsertion: insert });
  return edits.toReversed().reduce((changed, { offset, length, content }) => {
    const lost = linesIn(changed.slice(offset, offset + length)) - linesIn(content);
    const before = changed.slice(0, offset);
    return before + content + "\n".repeat(Math.max(0, lost)) + changed.slice(offset + length);
  }, text);
}

function linesIn(text: string): number {
  return text.split("\n").length - 1;
}

function isRecord(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
