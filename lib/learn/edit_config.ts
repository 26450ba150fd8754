/** Puts proposed lines into a config: into its values, and into its text, which keeps its comments. Pure. */
import { resolve } from "node:path";
import { applyEdits, type FormattingOptions, type JSONPath, modify, parse } from "jsonc-parser";
import type { Line } from "./propose.ts";
import type { Values } from "./trial.ts";

/** One change of a value, at a place of the config. */
interface Change {
  readonly path: JSONPath;
  readonly value: unknown;
  /** Whether it is one more entry of a list. */
  readonly inserts: boolean;
}

/** The values of a config with lines put in. */
export function withLines(values: Values, lines: readonly Line[], folder: string): Values {
  return parseValues(editText(JSON.stringify(values), lines, folder));
}

/** The values of a config's text. */
export function parseValues(text: string): Values {
  const value: unknown = parse(text, [], { allowTrailingComma: true });
  return isRecord(value) ? value : {};
}

/**
 * The text of a config with lines put in.
 *
 * @param folder the config's, where its relative paths start
 */
export function editText(text: string, lines: readonly Line[], folder: string): string {
  const formattingOptions = formatOf(text);
  let edited = text;
  for (const line of lines) {
    const change = changeFor(line, parseValues(edited), folder);
    if (change === undefined) continue;
    const { path, value, inserts: isArrayInsertion } = change;
    edited = applyEdits(
      edited,
      modify(edited, path, value, { formattingOptions, isArrayInsertion }),
    );
  }
  return edited;
}

function changeFor(
  { process, key, item, rights = "" }: Line,
  values: Values,
  folder: string,
): Change | undefined {
  const [, helper] = /^helper (.+)$/.exec(process) ?? [];
  const at = helper === undefined ? [] : ["helpers", helper];
  const own = helper === undefined ? values : record(record(values.helpers)[helper]);
  const there = own[key];
  if (key === "tmp") return there === true ? undefined : set([...at, key], true);
  if (key === "unveil") {
    const same = (path: string) => resolve(folder, path) === resolve(folder, item);
    const spelled = Object.keys(record(there)).find(same) ?? item;
    const had = String(record(there)[spelled] ?? "");
    const both = [..."rwc"].filter((right) => `${had}${rights}`.includes(right)).join("");
    return both === had ? undefined : set([...at, key, spelled], both);
  }
  if (isRecord(there)) return item in there ? undefined : set([...at, key, item], true);
  if (!Array.isArray(there)) return set([...at, key], [item]);
  return there.includes(item)
    ? undefined
    : { path: [...at, key, there.length], value: item, inserts: true };
}

function set(path: JSONPath, value: unknown): Change {
  return { path, value, inserts: false };
}

/** How the text is indented already. */
function formatOf(text: string): FormattingOptions {
  const [, indent = "  "] = /\n([\t ]+)"/.exec(text) ?? [];
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  return indent.startsWith("\t")
    ? { insertSpaces: false, tabSize: 4, eol }
    : { insertSpaces: true, tabSize: indent.length, eol };
}

function record(value: unknown): Values {
  return isRecord(value) ? value : {};
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** How many lines around a change are shown. */
const CONTEXT = 2;

/** What differs, with `+` and `-` before it, and some lines around it. */
export function diffText(before: string, after: string): string {
  const all = compare(before.split("\n"), after.split("\n"));
  const isNear = (index: number) =>
    all.slice(Math.max(0, index - CONTEXT), index + CONTEXT + 1).some(({ mark }) => mark !== " ");
  return all.flatMap(({ mark, line }, index) => isNear(index) ? `${mark} ${line}`.trimEnd() : [])
    .join("\n").trimEnd();
}

/** The lines of both, by the longest common subsequence of those between what is the same at both ends. */
function compare(before: readonly string[], after: readonly string[]) {
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && before[head] === after[head]) head++;
  let tail = 0;
  while (tail < shorter - head && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const [old, now] = [before, after].map((all) => all.slice(head, all.length - tail));
  const lengths = old!.map(() => new Uint32Array(now!.length + 1)).concat(
    new Uint32Array(now!.length + 1),
  );
  for (let i = old!.length - 1; i >= 0; i--) {
    for (let j = now!.length - 1; j >= 0; j--) {
      lengths[i]![j] = old![i] === now![j]
        ? lengths[i + 1]![j + 1]! + 1
        : Math.max(lengths[i + 1]![j]!, lengths[i]![j + 1]!);
    }
  }
  const all = before.slice(0, head).map((line) => ({ mark: " ", line }));
  for (let i = 0, j = 0; i < old!.length || j < now!.length;) {
    if (i < old!.length && j < now!.length && old![i] === now![j]) {
      all.push({ mark: " ", line: now![j++]! });
      i++;
    } else if (
      i < old!.length && (j === now!.length || lengths[i + 1]![j]! >= lengths[i]![j + 1]!)
    ) all.push({ mark: "-", line: old![i++]! });
    else all.push({ mark: "+", line: now![j++]! });
  }
  const rest = before.slice(before.length - tail).map((line) => ({ mark: " ", line }));
  return [...all, ...rest];
}
