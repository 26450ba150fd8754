/**
 * Hostile clients against Deno's own server, nginx and Caddy in front of one, and Holdfast: what happened
 * to each and when, and what honest clients noticed meanwhile. Times are set to five seconds where a
 * server has any, so that a run is short. Prints tables in Markdown.
 *
 *     deno run -A benches/hostile_bench.ts [--seconds 12] [--each 3] [--servers Deno.serve,Holdfast] [--groups Slow,TLS]
 */
import { parseArgs } from "@std/cli";
import { fileURLToPath } from "node:url";
import { markdownTable } from "markdown-table";
import { Authority } from "../tests/harness/certificates.ts";
import {
  besiege,
  type Place,
  recordHello,
  renegotiate,
  shakeHands,
  type Stayed,
} from "../tests/harness/hostile_clients.ts";
import {
  beforeTls,
  GREEDY,
  HTTP2,
  type Kinds,
  MALFORMED,
  SLOW,
} from "../tests/harness/hostile_kinds.ts";
import { countOf, medianOf, print } from "./figures.ts";
import { LIMIT_S, type Ports, SERVERS } from "./hostile_servers.ts";

const args = parseArgs(Deno.args, {
  string: ["seconds", "each", "servers", "groups"],
  default: { seconds: "12", each: "3", servers: Object.keys(SERVERS).join() },
});
const seconds = countOf(args.seconds, "seconds");
const each = countOf(args.each, "each");
const HONEST = 50;
const HONEST_CLIENTS = fileURLToPath(new URL("./honest_clients.ts", import.meta.url));

interface Group {
  readonly kinds: Kinds;
  readonly over: keyof Ports;
  readonly alpn?: "h2";
  /** Handshakes too. */
  readonly handshakes?: true;
}

/** The kinds for which it holds; a machine has time for so many floods at once. */
function only(kinds: Kinds, wanted: (hostile: Kinds[string], kind: string) => boolean): Kinds {
  return Object.fromEntries(Object.entries(kinds).filter(([kind, each]) => wanted(each, kind)));
}

const HEADER_LIST = "a header list of 40 MB";
const isFlood = ({ everyMs, then }: Kinds[string]) => then !== undefined && everyMs !== undefined;

const GROUPS: Record<string, Group> = {
  "Slow": { kinds: SLOW, over: "plain" },
  "Slow, over TLS": { kinds: SLOW, over: "tls" },
  "Greedy": { kinds: GREEDY, over: "plain" },
  "Malformed": { kinds: MALFORMED, over: "plain" },
  "Floods of HTTP/2": {
    kinds: only(HTTP2, (each, kind) => isFlood(each) && kind !== HEADER_LIST),
    over: "tls",
    alpn: "h2",
  },
  "Header lists of HTTP/2": {
    kinds: only(HTTP2, (_, kind) => kind === HEADER_LIST),
    over: "tls",
    alpn: "h2",
  },
  "Streams and frames of HTTP/2": {
    kinds: only(HTTP2, (each) => !isFlood(each)),
    over: "tls",
    alpn: "h2",
  },
  "TLS": { kinds: beforeTls(await recordHello()), over: "tls", handshakes: true },
};

/** What happened to clients of a kind, in a few words. */
function describe(all: readonly Stayed[]): string {
  const answers = all[0]!.answers;
  const said = answers.length === 0
    ? []
    : answers.length < 4
    ? [answers.join(", ")]
    : [`${answers.length} times ${answers[0]}`];
  const ends = all.flatMap(({ endedMs }) => endedMs ?? []);
  if (ends.length < all.length) return [...said, "open"].join(", ");
  const ms = medianOf(ends);
  return [...said, ms < 1_000 ? "cut at once" : `cut after ${(ms / 1_000).toFixed(0)} s`].join(
    ", ",
  );
}

async function runGroup(
  { kinds, over, alpn, handshakes }: Group,
  ports: Ports,
  ca: string,
  caFile: string,
): Promise<Map<string, string>> {
  const place: Place = {
    port: ports[over],
    ...over === "tls" && !handshakes && { ca },
    ...alpn && { alpn },
  };
  const honest = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", HONEST_CLIENTS],
      ...[String(ports[over]), String(HONEST), String(seconds + 1)],
      ...over === "tls" ? [caFile] : [],
    ],
    stdout: "piped",
    stderr: "inherit",
  }).output();
  const end = AbortSignal.timeout(seconds * 1_000);
  const told = new Map<string, string>();
  const attacks = Object.entries(kinds).map(async ([kind, hostile]) => {
    told.set(kind, describe(await besiege(place, hostile, each, end)));
  });
  if (handshakes) {
    attacks.push(
      shakeHands(place, ca, () => "localhost", end).then((count) => {
        told.set("handshakes without end", `${count} served`);
      }),
      shakeHands(place, ca, (count) => `${count}.example`, end).then((count) => {
        told.set("another name each time", `${count} served`);
      }),
      renegotiate(place, end).then((stayed) => {
        told.set("renegotiation", describe([stayed]));
      }),
    );
  }
  await Promise.all(attacks);
  const { answered, failed, p99 } = JSON.parse(new TextDecoder().decode((await honest).stdout));
  const figures = `${answered} answered, ${failed} failed, p99 ${Number(p99).toFixed(0)} ms`;
  told.set(`**${HONEST} honest clients meanwhile**`, figures);
  return told;
}

await using authority = await Authority.create();
const caFile = await Deno.makeTempFile({ prefix: "holdfast_bench_" });
await Deno.writeTextFile(caFile, authority.cert);
const pair = await authority.issue();
const wanted = args.groups === undefined ? Object.keys(GROUPS) : String(args.groups).split(",");
const groups = Object.entries(GROUPS).filter(([group]) => wanted.includes(group));
const results = new Map<string, Map<string, Map<string, string>>>();
const names = String(args.servers).split(",");
for (const name of names) {
  for (const [group, what] of groups) {
    // Each meets a server that nobody has worn out before.
    await using running = await SERVERS[name]!(pair);
    const told = await runGroup(what, running, authority.cert, caFile);
    if (!results.has(group)) results.set(group, new Map());
    results.get(group)!.set(name, told);
  }
}
await Deno.remove(caFile);
for (const [group, byServer] of results) {
  const kinds = [...byServer.values()][0]!.keys();
  const rows = [...kinds].map((kind) => [
    kind,
    ...names.map((name) => byServer.get(name)!.get(kind) ?? ""),
  ]);
  print(`\n### ${group}\n\n${markdownTable([["client", ...names], ...rows])}`);
}
print(`\n${each} of each kind, for ${seconds} s; times are ${LIMIT_S} s`);
