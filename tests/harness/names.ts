/** A network of its own with a name server in it, and what asks it. */
import { join } from "node:path";
import { REPOSITORY } from "./project.ts";
import type { Server } from "./server.ts";
import { until } from "./wait.ts";

/** What this takes besides root. */
export const NAMES = { programs: ["ip", "python3", "setpriv", "unshare"], root: true } as const;

/** Where the C library finds the name server, by path. */
export function nameFiles(server = "127.0.0.1"): Readonly<Record<string, string>> {
  return {
    "/etc/resolv.conf": `nameserver ${server}\noptions attempts:1 timeout:5\n`,
    "/etc/nsswitch.conf": "passwd: files\nhosts: files dns\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
  };
}

/** Starts the name server in a network namespace, and then the rest of the command. */
export function withServer(): string[] {
  const script = [
    "set -e",
    "ip link set lo up",
    "ready=$(mktemp -u) && mkfifo $ready",
    // It ends with the process that this shell becomes.
    `setpriv --pdeathsig=KILL python3 ${
      join(REPOSITORY, "tests/doubles/name_server.py")
    } >$ready &`,
    "read -r word <$ready && rm $ready && test $word = ready",
    'exec "$0" "$@"',
  ].join("\n");
  return ["unshare", "--net", "--mount", "sh", "-c", script];
}

/** The same, with the files of this machine that say so covered by others, in `folder`. */
export async function withNames(folder: string, server?: string): Promise<string[]> {
  const mounts: string[] = [];
  for (const [path, text] of Object.entries(nameFiles(server))) {
    const file = join(folder, path.slice(1).replaceAll("/", "_"));
    await Deno.writeTextFile(file, text);
    mounts.push(`mount --bind ${file} ${path}`);
  }
  return [...withServer(), "sh", "-c", `${mounts.join(" && ")} && exec "$0" "$@"`];
}

/**
 * An app that asks for names when it opens, and prints what came of it as one line of JSON: by the C
 * library's resolver, as a connection does it, and by Deno's own.
 */
export const ASKING_APP = `
async function dial(hostname, port) {
  try {
    (await Deno.connect({ hostname, port })).close();
    return "connected";
  } catch (error) {
    return error.name + ": " + error.message;
  }
}
async function resolve(name, kind) {
  try {
    const found = await Deno.resolveDns(name, kind);
    return found.length;
  } catch (error) {
    return error.name + ": " + error.message;
  }
}
export async function open() {
  console.log(JSON.stringify({
    small: await dial("small.test", 9),
    large: await dial("large.test", 9),
    missing: await dial("missing.test", 9),
    resolvedSmall: await resolve("small.test", "AAAA"),
    resolvedLarge: await resolve("large.test", "A"),
  }));
}
export default { fetch: () => new Response("ok") };
`;

/** What the app may dial; port 53 is not in it. */
export const ASKING_NET = ["small.test:9", "large.test:9", "missing.test:9"];

/** What comes of it where names resolve: nobody listens on port 9, and Deno asks for more in `net`. */
export const ANSWERED = {
  small: "ConnectionRefused",
  large: "ConnectionRefused",
  missing: "Error: failed to lookup address information",
  resolvedSmall: "NotCapable",
  resolvedLarge: "NotCapable",
};

/** The same where `net` has the name server, too. */
export const RESOLVED = { ...ANSWERED, resolvedSmall: "1", resolvedLarge: "100" };

/** What the app printed itself, of what it printed: it is told beside that what it was refused. */
export async function untilAnswers(server: Server, count = 1): Promise<string> {
  return await until("the app's answers", () => {
    const texts = server.eventsOf("worker_output").map(({ text }) => `${text}`);
    return texts.filter((text) => text.startsWith("{"))[count - 1] ?? false;
  });
}

/** What the app printed, cut to what is compared. */
export function answersIn(text: unknown, expected: Readonly<Record<string, string>>) {
  const found: Record<string, unknown> = JSON.parse(`${text}`);
  return Object.fromEntries(
    Object.entries(found).map(([what, came]) => [what, `${came}`.slice(0, expected[what]?.length)]),
  );
}
