import { closestMatch } from "leven";
import type * as z from "zod";
import { listenEntry, listenHint } from "./listen_form.ts";
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
      return issue.keys.map((key) => describeUnknownKey(path, key));
    case "invalid_key":
    case "invalid_element":
      return issue.issues.flatMap((inner) =>
        describeIssue({ ...inner, path: [...path, ...inner.path] }, valueAt, "key")
      );
    case "invalid_union": {
      // Assume the branch whose outer type matches, and of several objects the one of which the fewest
      // keys are missing or unknown.
      const fitting = issue.errors.filter((branch) =>
        !branch.some((inner) => inner.code === "invalid_type" && inner.path.length === 0)
      );
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
        ["port", "host", "hostname", "path"].some((name) => name in value);
      if (meant === undefined || isStrange) {
        const hint = isListen ? listenForm(value) : "write a string or an object";
        return say("value_type", `found ${found}`, hint);
      }
      return meant.flatMap((inner) =>
        describeIssue({ ...inner, path: [...path, ...inner.path] }, valueAt, about)
      );
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
      const known = issue.values.map((value) => quote(String(value))).join(" or ");
      return say("value_unknown", `found ${found}`, `write ${known}`);
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

function describeUnknownKey(path: readonly PropertyKey[], key: string): IssueText {
  const known = KNOWN_KEYS[String(path[0] ?? "")] ?? [];
  const nearest = closestMatch(key, known, { maxDistance: 3 });
  return {
    code: "key_unknown",
    path: [...path, key],
    about: "key",
    message: `unknown key ${quote(key)}`,
    hint: nearest === undefined
      ? `the keys are ${known.join(", ")}`
      : `did you mean ${quote(nearest)}?`,
  };
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
