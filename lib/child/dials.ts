/** What the app dials by Node's ways: their errors say little, and come when the stack has nothing of it. */
import dns from "node:dns";
import net from "node:net";
import { rememberCaller } from "./callers.ts";
import { withDeepStack } from "./frames.ts";
import { grantUse } from "./grant_use.ts";
import type { Refusals } from "./refusals.ts";
import { callExplained, type Method, replace } from "./replace.ts";

interface Dial {
  /** `HOST`, `HOST:PORT` or `unix:PATH`. */
  readonly names: readonly string[];
  readonly stack: string | undefined;
}

/** Functions of node:dns whose first argument is a name. */
const LOOKUPS = [
  ...["lookup", "resolve", "resolve4", "resolve6", "resolveAny", "resolveCaa", "resolveCname"],
  ...["resolveMx", "resolveNaptr", "resolveNs", "resolvePtr", "resolveSoa", "resolveSrv"],
  ...["resolveTxt"],
] as const;

/** The names in modules of Node's that are replaced. */
export const REPLACED_LOOKUPS = { dns: [...LOOKUPS], "dns/promises": [...LOOKUPS] } as const;

/** What is said of a name that could not be asked for. */
const NOT_ASKED = ["EPERM", "EACCES", "UNKNOWN", "EREFUSED"];

/** Explains them, and remembers who dialled what from here on. */
export function explainDials(refusals: Refusals): void {
  explainSockets(refusals);
  for (const holder of [dns, dns.promises]) {
    for (const name of LOOKUPS) {
      explainLookup(refusals, holder, name, ({ code }) => NOT_ASKED.includes(code ?? ""));
    }
  }
  explainLookup(refusals, Deno, "resolveDns", ({ message }) => /\(os error (1|13)\)/.test(message));
  const { connect } = Deno as unknown as { connect: Method };
  const wrapped: Method = function (options, ...all) {
    const { path } = Object(options);
    if (path === undefined) return Reflect.apply(connect, this, [options, ...all]);
    const { stack } = withDeepStack(new Error(), wrapped);
    return callExplained(connect, this, [options, ...all], (error) => {
      explainSocket(refusals, error, { names: [`unix:${path}`], stack });
      return error;
    });
  };
  replace(Deno, "connect", wrapped);
}

function explainSockets(refusals: Refusals): void {
  const prototype = net.Socket.prototype as unknown as Record<"connect" | "destroy", Method>;
  const { connect, destroy } = prototype;
  const dials = new WeakMap<object, Dial>();
  prototype.connect = function (...all) {
    const names = namesOf(all);
    if (names.length > 0) {
      const dial = { names, stack: withDeepStack(new Error()).stack };
      dials.set(this as object, dial);
      rememberCaller(names, dial.stack);
      grantUse()?.net(names[0]!);
    }
    try {
      return Reflect.apply(connect, this, all);
    } catch (error) {
      const dial = dials.get(this as object);
      if (dial !== undefined) explainSocket(refusals, error, dial);
      throw error;
    }
  };
  prototype.destroy = function (error, ...all) {
    const dial = dials.get(this as object);
    if (error && dial !== undefined) explainSocket(refusals, error, dial);
    return Reflect.apply(destroy, this, [error, ...all]);
  };
}

/** Explains the error of a socket that was refused by the name that was dialled. */
function explainSocket(refusals: Refusals, error: unknown, { names, stack }: Dial): void {
  if (!(error instanceof Error)) return;
  const what = names[0]!;
  if (what.startsWith("unix:")) {
    const path = refusals.hidden(what.slice("unix:".length));
    const isHidden = error instanceof Deno.errors.NotFound ||
      "code" in error && error.code === "ENOENT";
    if (isHidden && path !== undefined) {
      refusals.explain(error, { kind: "net", what: `unix:${path}` }, stack);
    }
  } else if ("syscall" in error && error.syscall === "getaddrinfo" && isNotAsked(error)) {
    refusals.quietly(() => refusals.explain(error, { kind: "net", what }, stack));
  }
}

function isNotAsked(error: Error): boolean {
  return "code" in error && NOT_ASKED.includes(String(error.code));
}

function explainLookup(
  refusals: Refusals,
  holder: object,
  name: string,
  isRefused: (error: Error & { code?: string }) => boolean,
): void {
  const original = (holder as Record<string, Method>)[name];
  if (original === undefined) return;
  const wrapped: Method = function (host, ...all) {
    const { stack } = withDeepStack(new Error(), wrapped);
    return callExplained(original, this, [host, ...all], (error) => {
      if (!(error instanceof Error) || !isRefused(error)) return error;
      const explain = () => refusals.explain(error, { kind: "net", what: String(host) }, stack);
      // What Deno's own layer refuses is told by that.
      if ("code" in error && error.code === "EPERM") refusals.quietly(explain);
      else explain();
      return error;
    });
  };
  replace(holder, name, wrapped);
}

/** `connect(port, host)`, `connect(path)`, `connect({ port, host })`, or its arguments in a list. */
function namesOf([first, second]: unknown[]): string[] {
  if (Array.isArray(first)) return namesOf(first);
  if (typeof first === "object" && first !== null) {
    const { host, port, path } = first as Record<string, unknown>;
    return namesOf(port === undefined && path !== undefined ? [path] : [port, host]);
  }
  if (typeof first === "string" && !/^\d+$/.test(first)) return [`unix:${first}`];
  if (first === undefined) return [];
  const host = typeof second === "string" ? second : "localhost";
  return [`${host}:${first}`, host];
}
