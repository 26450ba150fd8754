import {
  createScanner,
  findNodeAtLocation,
  getNodeValue,
  type Node,
  type ParseError,
  parseTree,
  printParseErrorCode,
} from "jsonc-parser";
import { describeIssue } from "./issue.ts";
import { formatKey } from "./format_key.ts";
import { ConfigError, type Position, type Problem, quote, type Refusal } from "./problem.ts";
import { renameOldKeys } from "./renamed.ts";
import { type ConfigFile, ConfigSchema } from "./schema.ts";
import { config as configureZod } from "zod";

// A process parses one config or two: to compile code for that takes longer than it saves.
configureZod({ jitless: true });

// The parser recurses, and the schema needs three levels.
const MAX_DEPTH = 32;
// jsonc-parser's SyntaxKind, which is a const enum: it has no values to import.
const TOKEN = { openBrace: 1, closeBrace: 2, openBracket: 3, closeBracket: 4, end: 17 };

/** A file whose keys replace those of a config, as an executable has one. */
export interface Override {
  readonly file: string;
  readonly text: string;
  /** The keys that it may not have, whatever their values. */
  refusedKeys(override: unknown, config: unknown): readonly RefusedKey[];
  /** The config's values, replaced by its own. */
  laidOver(config: unknown, override: unknown): unknown;
}

/** A key that an override may not have. */
export interface RefusedKey extends Refusal {
  readonly key: readonly string[];
}

/** A renamed key that a file has by its old name, and where. */
export interface RenamedKey {
  readonly old: string;
  readonly new: string;
  readonly file: string;
  readonly at: Position;
}

/** A config file that satisfies the schema. */
export interface ParsedConfig {
  readonly values: ConfigFile;
  /** The position of the value of a key path such as `["listen", 0]`. */
  readonly positionOf: (path: readonly PropertyKey[]) => Position;
  /** The file of a key path, if it is not the config. */
  readonly fileOf: (path: readonly PropertyKey[]) => string | undefined;
  /** Keys that still have an old name. */
  readonly warnings: readonly RenamedKey[];
}

/** A config file of which some keys may be wrong. */
export interface PartlyParsed extends ParsedConfig {
  /** What is wrong with them. {@link ParsedConfig.values} has defaults in their place. */
  readonly problems: readonly Problem[];
  /** Whether the value of a key is the file's own. */
  readonly isOwn: (key: string) => boolean;
}

/**
 * Parses the text of a config file; `file` is only for the messages.
 *
 * @param override a file whose keys replace those of the config
 * @throws {ConfigError} with every problem that the syntax, or else the schema, finds
 */
export function parseConfig(text: string, file: string, override?: Override): ParsedConfig {
  const parsed = parsePartly(text, file, override);
  if (parsed.problems.length > 0) throw new ConfigError(file, parsed.problems);
  return parsed;
}

/**
 * Parses as much as is right, so that the rest of a config can be judged too.
 *
 * @throws {ConfigError} if nothing can be told of the rest
 */
export function parsePartly(text: string, file: string, override?: Override): PartlyParsed {
  const base = readSource(text, file);
  const over = override && readSource(override.text, override.file);
  const problems = [base, over].flatMap((source) => source ? source.problems : []);
  const written: unknown = getNodeValue(base.tree);
  let values = written;
  if (over) {
    const wanted: unknown = getNodeValue(over.tree);
    for (const { key, ...refusal } of override!.refusedKeys(wanted, written)) {
      const at = over.positionAt(nearestNode(over.tree, key, "key").offset);
      problems.push({ ...refusal, key: formatKey(key), at, file: over.file });
    }
    if (problems.length > 0) throw new ConfigError(file, problems);
    values = override!.laidOver(written, wanted);
  }
  /** The source that has a path; the config if neither has it. */
  const sourceOf = (path: readonly PropertyKey[]) =>
    over && path.length > 0 && findNodeAtLocation(over.tree, path as (string | number)[])
      ? over
      : base;
  const fileOf = (path: readonly PropertyKey[]) => sourceOf(path) === over ? over?.file : undefined;
  const { data, error } = ConfigSchema.safeParse(values);
  // Of a value of another type its length says nothing.
  const mistyped = new Set(
    error?.issues.flatMap(({ code, path }) => code === "invalid_type" ? [path.join()] : []),
  );
  const telling = error?.issues.filter(({ code, path }) =>
    code === "invalid_type" || !mistyped.has(path.join())
  );
  const issues = telling?.flatMap((issue) =>
    describeIssue(issue, (path) => valueAt(sourceOf(path).tree, path))
  );
  for (const { path, about, ...said } of issues ?? []) {
    const { tree, positionAt } = sourceOf(path);
    const at = positionAt(nearestNode(tree, path, about).offset);
    const file = fileOf(path);
    problems.push({ ...said, key: formatKey(path), at, ...file !== undefined && { file } });
  }
  const partly = data === undefined ? withoutWrong(values, error.issues) : { data, replaced: [] };
  if (partly === undefined) throw new ConfigError(file, problems);
  return {
    values: partly.data,
    problems,
    isOwn: (key) => !partly.replaced.includes(key),
    positionOf: (path) => {
      const { tree, positionAt } = sourceOf(path);
      return positionAt(nearestNode(tree, path, "value").offset);
    },
    fileOf,
    warnings: [base, over].flatMap((source) => source ? source.warnings : []),
  };
}

/** What stands for the keys that a config must have. */
const STAND_INS: Readonly<Record<string, unknown>> = { app: "./", listen: ["127.0.0.1:1"] };

/** How often wrong keys are taken out: what is in them first, and then themselves. */
const MAX_ROUNDS = 4;

/** A config without the keys that are wrong, and which of its own keys were replaced as a whole. */
function withoutWrong(
  written: unknown,
  first: readonly { readonly path: readonly PropertyKey[] }[],
): { data: ConfigFile; replaced: string[] } | undefined {
  const values = structuredClone({ ...written as object }) as Record<string, unknown>;
  const replaced = new Set<string>();
  let issues: readonly { path: readonly PropertyKey[]; code?: string; keys?: string[] }[] = first;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    for (const { path, code, keys } of issues) {
      const wrong = code === "unrecognized_keys" ? keys!.map((key) => [...path, key]) : [path];
      for (const each of wrong) takeOut(values, each.slice(0, each.length - round), replaced);
    }
    const { data, error } = ConfigSchema.safeParse(values);
    if (data !== undefined) return { data, replaced: [...replaced] };
    issues = error.issues;
  }
  return undefined;
}

/** Takes a key out; of a list, the whole list. */
function takeOut(
  values: Record<string, unknown>,
  path: readonly PropertyKey[],
  replaced: Set<string>,
): void {
  const inList = path.findIndex((part) => typeof part === "number");
  const keys = (inList < 0 ? path : path.slice(0, inList)).map(String);
  const [top, last] = [keys[0], keys.at(-1)];
  if (top === undefined || last === undefined) return;
  if (keys.length === 1 || Object.hasOwn(STAND_INS, top)) {
    replaced.add(top);
    if (Object.hasOwn(STAND_INS, top)) values[top] = STAND_INS[top];
    else delete values[top];
    return;
  }
  let holder: unknown = values;
  for (const key of keys.slice(0, -1)) {
    holder = (holder as Record<string, unknown> | undefined)?.[key];
  }
  if (typeof holder === "object" && holder !== null) {
    delete (holder as Record<string, unknown>)[last];
  }
}

/** A parsed text, with the problems that need no schema. */
interface Source {
  readonly file: string;
  readonly tree: Node;
  readonly positionAt: (offset: number) => Position;
  readonly problems: readonly Problem[];
  readonly warnings: readonly RenamedKey[];
}

function readSource(text: string, file: string): Source {
  const positionAt = positionFinder(text);
  const tree = parseText(text, file, positionAt);
  const warnings = renameOldKeys(tree)
    .map(({ offset, ...names }) => ({ ...names, file, at: positionAt(offset) }));
  const problems = [...repeatedKeys(tree)].map(({ node, path }): Problem => ({
    code: "key_repeated",
    key: formatKey(path),
    message: `the key ${quote(node.value)} is reserved, or repeated`,
    hint: "remove this one",
    at: positionAt(node.offset),
    file,
  }));
  return { file, tree, positionAt, problems, warnings };
}

function parseText(text: string, file: string, positionAt: (offset: number) => Position): Node {
  const tooDeep = offsetBelow(text, MAX_DEPTH);
  if (tooDeep !== undefined) {
    throw new ConfigError(file, [{
      code: "syntax",
      key: "",
      message: `more than ${MAX_DEPTH} levels of nesting`,
      hint: "no key needs more than three",
      at: positionAt(tooDeep),
    }]);
  }
  const errors: ParseError[] = [];
  const tree = parseTree(text, errors, { allowTrailingComma: true });
  if (tree !== undefined && errors.length === 0) return tree;
  throw new ConfigError(
    file,
    errors.map(({ error, offset }): Problem => ({
      code: "syntax",
      key: "",
      message: printParseErrorCode(error).replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase(),
      hint: "write JSON; comments and trailing commas are fine",
      at: positionAt(offset),
    })),
  );
}

/** The offset of the first bracket that is nested deeper than `depth`. */
function offsetBelow(text: string, depth: number): number | undefined {
  const scanner = createScanner(text, true);
  let level = 0;
  for (let token: number = scanner.scan(); token !== TOKEN.end; token = scanner.scan()) {
    if (token === TOKEN.openBrace || token === TOKEN.openBracket) level++;
    if (token === TOKEN.closeBrace || token === TOKEN.closeBracket) level--;
    if (level > depth) return scanner.getTokenOffset();
  }
  return undefined;
}

/** Keys that an object has twice: one would silently win. `__proto__` would silently be dropped. */
function* repeatedKeys(
  node: Node,
  path: readonly PropertyKey[] = [],
): Generator<{ node: Node; path: readonly PropertyKey[] }> {
  const seen = new Set(["__proto__"]);
  for (const [index, child] of (node.children ?? []).entries()) {
    if (node.type === "array") {
      yield* repeatedKeys(child, [...path, index]);
      continue;
    }
    const [key, value] = child.children ?? [];
    const inner = [...path, key?.value];
    if (key !== undefined && seen.has(key.value)) yield { node: key, path: inner };
    seen.add(key?.value);
    if (value !== undefined) yield* repeatedKeys(value, inner);
  }
}

function valueAt(tree: Node, path: readonly PropertyKey[]): unknown {
  const node = findNodeAtLocation(tree, path as (string | number)[]);
  return node === undefined ? undefined : getNodeValue(node);
}

/** The node of a path; if the key is missing, the object that should have it. */
function nearestNode(tree: Node, path: readonly PropertyKey[], about: "key" | "value"): Node {
  const node = findNodeAtLocation(tree, path as (string | number)[]);
  if (node === undefined) {
    return path.length === 0 ? tree : nearestNode(tree, path.slice(0, -1), about);
  }
  const key = node.parent?.type === "property" ? node.parent.children?.[0] : undefined;
  return about === "key" && key !== undefined ? key : node;
}

function positionFinder(text: string): (offset: number) => Position {
  const starts = [0];
  for (const { 0: end, index } of text.matchAll(/\r\n|\r|\n/g)) starts.push(index + end.length);
  return (offset) => {
    const line = starts.findLastIndex((start) => start <= offset);
    return { line: line + 1, column: offset - starts[line]! + 1 };
  };
}
