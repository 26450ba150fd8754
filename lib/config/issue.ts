import type * as z from "zod";
import { nearestName } from "./nearest.ts";
import { listenEntry, listenHint, listenObject } from "./listen_form.ts";
import { quote } from "./problem.ts";
import { KNOWN_KEYS } from "./schema.ts";

type Issue = z.core.$ZodIssue;

/** One problem of the schema, before it has a position. */
export interface IssueText {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  /** Whether the key itself is wrong or its value. */
  readonly about: "key" | "value";
  readonly message: string;
  readonly hint: string;
}

/** What zod calls a type, in words. */
const NAMES: Readonly<Record<string, string>> = {
  array: "a list, in [ ]",
  object: "an object, in { }",
  record: "an object, in { }",
  string: 'a text, in " "',
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
};

/** What other servers call by another name, and how it is said here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  ...naming('"listen": ["127.0.0.1:8080"]', "port host hostname address addresses bind socket"),
  ...naming(
    '"listen": [{ "https": "0.0.0.0:443", "cert": "./cert.pem", "key": "./key.pem" }]',
    "tls ssl https cert certificate certificates",
  ),
  ...naming('"app": "./main.ts"', "main entry entrypoint module script exec"),
  ...naming('"unveil": { "./public": "r" }', "static public assets root paths read write volumes"),
  ...naming('"env": ["NAME"]', "environment variables vars"),
  ...naming('"envFile": "./.env"', "dotenv secrets"),
  ...naming('"workers": 2', "instances processes cluster threads replicas"),
  ...naming('"net": ["api.example.com:443"]', "hosts allow permissions network"),
};

function naming(form: string, names: string): Record<string, string> {
  return Object.fromEntries(names.split(" ").map((name) => [name, form]));
}

function entryHint(value: unknown): string {
  return `write ${listenEntry(value)}`;
}

/** How a key is written that has to be there. */
function exampleOf(path: readonly PropertyKey[], expected: string): string {
  if (path.length === 1 && path[0] === "app") return '"app": "./main.ts"';
  if (path.length === 1 && path[0] === "listen") return '"listen": ["127.0.0.1:8080"]';
  return NAMES[expected] ?? expected;
}

/** Describes zod's issues for operators; `valueAt` gives the file's value at a path. */
export function describeIssue(
  issue: Issue,
  valueAt: (path: readonly PropertyKey[]) => unknown,
  about: "key" | "value" = "value",
): IssueText[] {
  const { path } = issue;
  const isListen = path.at(-1) === "listen" || path.at(-2) === "listen";
  const listenForm = path.at(-1) === "listen" && path.length === 1 ? listenHint : entryHint;
  const found = describeFound(about === "key" ? path.at(-1) : valueAt(path));
  function say(code: string, message: string, hint: string): IssueText[] {
    return [{ code, path, about, message, hint }];
  }
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => {
        const told = describeUnknownKey(path, key);
        return isEntry(path) ? inListenObject(told, path, valueAt(path) as object) : told;
      });
    case "invalid_key":
    case "invalid_element":
      return issue.issues.flatMap((inner) =>
        describeIssue({ ...inner, path: [...path, ...inner.path] }, valueAt, "key")
      );
    case "invalid_union": {
      // Assume the branch whose outer type matches, and of several objects the one of which the fewest
      // keys are missing or unknown.
      const fitting = issue.errors.filter((branch) => formOf(branch) === undefined);
      const value = valueAt(path);
      const misfits = (branch: readonly Issue[]) =>
        branch.reduce((sum, inner) => {
          if (inner.code === "unrecognized_keys") return sum + inner.keys.length;
          const isMissing = inner.path.length === 1 &&
            !Object.hasOwn(Object(value), inner.path[0] as string);
          return isMissing ? sum + 1 : sum;
        }, 0);
      const meant = fitting.toSorted((a, b) => misfits(a) - misfits(b))[0];
      const isStrange = isListen && typeof value === "object" && value !== null &&
        (["port", "host", "hostname", "path"].some((name) => name in value) ||
          Object.keys(value).every((name) => !["unix", "http", "https"].includes(name)) &&
            Object.keys(value).length > 0);
      if (meant === undefined || isStrange) {
        const forms = issue.errors.flatMap((branch) => formOf(branch) ?? []);
        const hint = isListen ? listenForm(value) : `write ${forms.join(", or ")}`;
        return say("value_type", `found ${found}`, hint);
      }
      const told = meant.flatMap((inner) =>
        describeIssue({ ...inner, path: [...path, ...inner.path] }, valueAt, about)
      );
      return isEntry(path) ? told.map((each) => inListenObject(each, path, value as object)) : told;
    }
    case "invalid_type":
      if (found === "nothing") {
        return say(
          "key_missing",
          "this key is missing",
          `add it: ${exampleOf(path, issue.expected)}`,
        );
      }
      return say(
        "value_type",
        `found ${found}`,
        isListen ? listenForm(valueAt(path)) : `write ${NAMES[issue.expected] ?? issue.expected}`,
      );
    case "invalid_value": {
      return say("value_unknown", `found ${found}`, `write ${oneOf(issue.values)}`);
    }
    case "too_small":
      return say(
        "value_small",
        `found ${found}`,
        `at least ${issue.minimum}${unitOf(issue.origin)}`,
      );
    case "too_big":
      return say("value_big", `found ${found}`, `at most ${issue.maximum}${unitOf(issue.origin)}`);
    case "custom":
      return say(String(issue.params?.code), issue.message, String(issue.params?.hint));
    default:
      return say("value_form", `found ${found}`, issue.message);
  }
}

/** Whether something is an entry of a list `listen`, or that of `metrics`. */
function isEntry(path: readonly PropertyKey[]): boolean {
  return path.at(-2) === "listen" || path.length > 1 && path.at(-1) === "listen";
}

/** What is wrong with an object in `listen` is told with all of what it was meant to be. */
function inListenObject(told: IssueText, path: readonly PropertyKey[], value: object): IssueText {
  const key = String(told.path.at(-1));
  const isKnown = told.code === "key_unknown" && KNOWN_KEYS.listen?.includes(key);
  const isNear = told.path.length === path.length + 1 || told.path[path.length] === "certs";
  const isOwn = isNear &&
    ["key_missing", "key_unknown", "value_type", "value_unknown", "value_small"].includes(
      told.code,
    );
  if (!isOwn || told.code === "key_unknown" && !isKnown && told.hint.startsWith("did")) return told;
  return {
    ...told,
    ...isKnown && { message: `${quote(key)} does not belong to what is beside it` },
    hint: `write ${listenObject(value)}`,
  };
}

function describeUnknownKey(path: readonly PropertyKey[], key: string): IssueText {
  const known = KNOWN_KEYS[String(path[0] ?? "")] ?? [];
  const nearest = nearestName(key, known);
  const elsewhere = path.length === 0 && Object.hasOwn(ELSEWHERE, key) ? ELSEWHERE[key] : undefined;
  return {
    code: "key_unknown",
    path: [...path, key],
    about: "key",
    message: `unknown key ${quote(key)}`,
    hint: nearest !== undefined
      ? `did you mean ${quote(nearest)}?`
      : elsewhere !== undefined
      ? `write ${elsewhere}`
      : `the keys are ${known.join(", ")}`,
  };
}

/** What a branch wants whose type is another than that of the value; nothing where it fits. */
function formOf(branch: readonly Issue[]): string | undefined {
  for (const issue of branch.filter(({ path }) => path.length === 0)) {
    if (issue.code === "invalid_type") return NAMES[issue.expected] ?? issue.expected;
    if (issue.code === "invalid_value") return oneOf(issue.values);
  }
  return undefined;
}

function oneOf(values: readonly unknown[]): string {
  return values.map((value) => typeof value === "string" ? quote(value) : String(value))
    .join(" or ");
}

function describeFound(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

function unitOf(origin: string): string {
  const units: Record<string, string> = { string: " characters", array: " entries" };
  return units[origin] ?? "";
}
