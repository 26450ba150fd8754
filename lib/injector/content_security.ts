/** Lets a page load one script more, under whatever Content-Security-Policy the app gives it. */

/** The directives that count for a script and for a connection, the most specific first. */
const FOR_SCRIPT = ["script-src-elem", "script-src", "default-src"];
const FOR_EVENTS = ["connect-src", "default-src"];

const NONCE = /^'nonce-([\w+/=-]+)'$/i;

type Directives = Map<string, string[]>;

/** What a script needs to run. */
export interface Allowed {
  /** The policies, with what it takes. */
  readonly policy: string;
  /** What the script's tag must have, if anything. */
  readonly nonce: string | undefined;
}

/**
 * Adds the two URLs to policies, and nothing else. Where a policy counts nonces alone, the script gets the
 * page's own, or one more.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const page = { script: "http://127.0.0.1:1/s.js", events: "http://127.0.0.1:1/e" };
 * assertEquals(
 *   allowPage("script-src 'nonce-abc'; connect-src 'none'", page),
 *   { policy: "script-src 'nonce-abc'; connect-src http://127.0.0.1:1/e", nonce: "abc" },
 * );
 * ```
 *
 * @param header one policy, or several with commas between
 */
export function allowPage(
  header: string,
  { script, events }: { readonly script: string; readonly events: string },
  makeNonce: () => string = () => crypto.randomUUID(),
): Allowed {
  const policies = header.split(",").map(parse).filter(({ size }) => size > 0);
  let nonce = policies.flatMap((policy) => sourcesOf(policy, FOR_SCRIPT) ?? [])
    .map((source) => NONCE.exec(source)?.[1]).find((each) => each !== undefined);
  for (const policy of policies) {
    const sources = sourcesOf(policy, FOR_SCRIPT);
    if (sources !== undefined) {
      // Then URLs do not count.
      const strict = sources.includes("'strict-dynamic'");
      if (strict) nonce ??= makeNonce();
      if (nonce === undefined || !sources.includes(`'nonce-${nonce}'`)) {
        add(policy, FOR_SCRIPT, "script-src", strict ? `'nonce-${nonce}'` : script);
      }
    }
    if (sourcesOf(policy, FOR_EVENTS) !== undefined) add(policy, FOR_EVENTS, "connect-src", events);
  }
  return { policy: policies.map(format).join(", "), nonce };
}

function parse(policy: string): Directives {
  const directives: Directives = new Map();
  for (const part of policy.split(";")) {
    const [name, ...values] = part.trim().split(/\s+/);
    const known = name!.toLowerCase();
    // The first of a name counts.
    if (known !== "" && !directives.has(known)) directives.set(known, values);
  }
  return directives;
}

function format(directives: Directives): string {
  return [...directives].map(([name, values]) => [name, ...values].join(" ")).join("; ");
}

function sourcesOf(policy: Directives, names: readonly string[]): string[] | undefined {
  return names.map((name) => policy.get(name)).find((each) => each !== undefined);
}

function add(
  policy: Directives,
  names: readonly string[],
  fallback: string,
  source: string,
): void {
  const name = names.find((each) => policy.has(each))!;
  const sources = policy.get(name)!.filter((each) => each.toLowerCase() !== "'none'");
  // What stands in for others stays what it is for them.
  policy.set(name === "default-src" ? fallback : name, [...sources, source]);
}
