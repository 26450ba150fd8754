/** Whether a config allows something, by which of its lines, and which line would allow it. Pure. */
import { HoldfastError } from "../base/error.ts";
import { adviceOn, placedIn, type Refused } from "../base/refusal_kinds.ts";
import { parseNet } from "../config/address.ts";
import { SYS_KINDS } from "../config/bounds.ts";
import type { Compartment } from "../config/config.ts";
import { parseEnvName } from "../config/env_name.ts";
import { covers } from "../base/covers.ts";
import { Refusal } from "../config/problem.ts";

/** What a question is about. */
export type Question =
  | { readonly kind: "path"; readonly path: string; readonly real: string }
  | { readonly kind: "net" | "env" | "sys"; readonly what: string };

/** What is answered of one thing that may be done. */
export interface PolicyAnswer {
  readonly may: string;
  readonly what: string;
  readonly allowed: boolean;
  /** The keys of the config's lines that allow it. */
  readonly by: readonly (readonly (string | number)[])[];
  readonly because: string;
  /** The line that would allow it. */
  readonly allow?: string;
  readonly risk?: string;
}

/** What is known of the process that is asked for. */
export interface AskedProcess {
  readonly compartment: Compartment;
  /** The name of a helper. */
  readonly helper?: string | undefined;
  /** Folders of packages in its image, which it may read. */
  readonly packages: readonly string[];
  readonly wall: "kernel" | "deno";
}

const FORMS = "Write path:PATH, net:HOST:PORT, env:NAME or sys:NAME";

/**
 * Reads a question.
 *
 * @param place makes a path absolute
 * @param real follows its links
 * @throws {HoldfastError} if it is none
 */
export function parseQuestion(
  text: string,
  place: (path: string) => string,
  real: (path: string) => string,
): Question {
  const [, kind, what = ""] = /^(path|read|write|unveil|net|env|sys):(.+)$/s.exec(text) ?? [];
  const fail = (message: string, hint = FORMS): never => {
    throw new HoldfastError(message, { kind: "usage", code: "usage", hint });
  };
  if (kind === "net") {
    const parsed = parseNet(what);
    if (parsed instanceof Refusal) return fail(parsed.message, parsed.hint);
    return { kind, what: parsed };
  }
  if (kind === "env" || kind === "sys") return { kind, what };
  if (kind === undefined) return fail(`why does not know ${JSON.stringify(text)}`);
  const path = place(what);
  return { kind: "path", path, real: real(path) };
}

/** Answers it; of a path, for each thing that may be done with one. */
export function answerQuestion(question: Question, asked: AskedProcess): PolicyAnswer[] {
  switch (question.kind) {
    case "path":
      return answerPath(question, asked);
    case "net":
      return [answerNet(question.what, asked)];
    case "env":
      return [answerEnv(question.what, asked)];
    case "sys":
      return [answerSys(question.what, asked)];
  }
}

function answerPath(
  { path, real }: Extract<Question, { kind: "path" }>,
  asked: AskedProcess,
): PolicyAnswer[] {
  const { compartment: { unveil }, packages, wall } = asked;
  return (["read", "write", "create"] as const).map((may) => {
    const letter = may[0]!;
    const granting = (place: string) =>
      unveil.filter((each) => each.rights.includes(letter) && covers(each.path, place));
    // The kernel judges the file that a link leads to, and Deno the name.
    const [spelled, led] = [granting(path), wall === "kernel" ? granting(real) : granting(path)];
    const by = [...new Set([...spelled, ...led])].map((each) => ["unveil", each.path]);
    const facts = { may, what: path };
    if (spelled.length > 0 && led.length > 0) {
      return {
        ...facts,
        allowed: true,
        by,
        because: "a path is unveiled with all that is below it",
      };
    }
    if (may === "read" && packages.some((folder) => covers(folder, path))) {
      return {
        ...facts,
        allowed: true,
        by: [],
        because: "packages may read the files that they ship",
      };
    }
    const because = spelled.length > 0
      ? `a link leads to ${real}, which no line unveils with ${letter}`
      : unveil.some((each) => covers(each.path, path))
      ? `what is unveiled above it has no ${letter}`
      : "no line unveils it, so it is not there for the app";
    const kind = may === "read" ? "read" : "write";
    return refusedAnswer({ ...facts, by, because }, {
      kind,
      what: spelled.length > 0 ? real : path,
    }, asked);
  });
}

function answerNet(what: string, asked: AskedProcess): PolicyAnswer {
  const { net } = asked.compartment;
  const host = what.replace(/:\d+$/, "");
  const index = net.findIndex((each) => each === what || each === host);
  const facts = { may: "dial", what };
  if (index >= 0) {
    const because = net[index] === host && host !== what
      ? "it names the host, with every port"
      : "it names it";
    return { ...facts, allowed: true, by: [["net", index]], because };
  }
  const ports = net.filter((each) => each.startsWith(`${host}:`));
  const because = ports.length > 0
    ? `of that host ${
      ports.map((each) => each.slice(host.length + 1)).join(", ")
    } alone may be dialled`
    : net.length > 0
    ? `"net" names ${net.join(", ")} alone; what a name resolves to is dialled by that name`
    : `"net" names nothing`;
  return refusedAnswer({ ...facts, by: [], because }, { kind: "net", what }, asked);
}

function answerEnv(what: string, asked: AskedProcess): PolicyAnswer {
  const { env, envValues } = asked.compartment;
  const facts = { may: "see", what };
  if (envValues && Object.hasOwn(envValues, what)) {
    return { ...facts, allowed: true, by: [["env", what]], because: "the config gives its value" };
  }
  if (env.includes(what)) {
    return {
      ...{ ...facts, allowed: true, by: [["env", env.indexOf(what)]] },
      because: 'its value is that of "envFile", or of where Holdfast was started',
    };
  }
  if (what === "NODE_ENV") {
    return {
      ...facts,
      allowed: true,
      by: [],
      because: 'it is "production" where no line says another',
    };
  }
  const name = parseEnvName(what);
  if (name instanceof Refusal) {
    return { ...facts, allowed: false, by: [], because: `${name.message}: no line allows it` };
  }
  const because = '"env" does not list it, so it reads as undefined';
  return refusedAnswer({ ...facts, by: [], because }, { kind: "env", what }, asked);
}

function answerSys(what: string, asked: AskedProcess): PolicyAnswer {
  const { sys = [] } = asked.compartment;
  const facts = { may: "know", what };
  const index = sys.indexOf(what);
  if (index >= 0) return { ...facts, allowed: true, by: [["sys", index]], because: "it lists it" };
  if (!(SYS_KINDS as readonly string[]).includes(what)) {
    const because = `it cannot be granted: the facts that can are ${SYS_KINDS.join(", ")}`;
    return { ...facts, allowed: false, by: [], because };
  }
  const because = '"sys" does not list it: the app gets the same harmless answer in every process';
  return refusedAnswer({ ...facts, by: [], because }, { kind: "sys", what }, asked);
}

function refusedAnswer(
  answer: Omit<PolicyAnswer, "allowed">,
  refused: Refused,
  { helper }: AskedProcess,
): PolicyAnswer {
  const { allow, risk } = adviceOn(refused);
  return {
    ...{ ...answer, allowed: false },
    ...allow !== undefined && { allow: placedIn(allow, helper) },
    ...risk !== undefined && { risk },
  };
}
