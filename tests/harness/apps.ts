/** Other people's apps: each is started with the narrowest config, reloaded under load, and then given nothing. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Wire } from "./http.ts";
import { HELPER_MODULE } from "./helpers.ts";
import { type LogEvent, Server } from "./server.ts";
import { Project } from "./project.ts";
import { PATIENCE_MS, sleep, until } from "./wait.ts";

/** One of them. */
export interface AppCase {
  /** The text of its module, `app.js`; a build has its own. */
  readonly app?: string;
  /** What it imports, of npm, by `deno.json`. */
  readonly packages?: Readonly<Record<string, string>>;
  /** Keys of the config besides `listen`, and `app` where it is another: the fewest with which it runs. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly files?: Readonly<Record<string, string>>;
  /** What its package.json says, where packages come into a node_modules folder. */
  readonly manifest?: Readonly<Record<string, unknown>>;
  /** Commands of `deno` that install and build it. */
  readonly build?: readonly string[];
  /** @default "/" */
  readonly path?: string;
  /** The answer; `hello` by default. */
  readonly answer?: RegExp;
  /** What else is asked once, and answered. */
  readonly also?: Readonly<Record<string, RegExp>>;
  /**
   * What says, where nothing is granted, which line of the config is missing, where it is no event of its
   * own: what the failing start, or the app, says.
   */
  readonly refusal?: RegExp;
}

const RELOADS = 5;

/** Between two requests of a client: it is no test of speed. */
const THINK_MS = 20;

/** A build may take its time on a busy machine. */
export const BUILD_PATIENCE_MS = 300_000;

/** Runs a command of `deno` in a project, with the caches of whoever runs the tests. */
async function runDeno({ folder }: Project, command: string): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: command.split(" "),
    cwd: folder,
    env: { ASTRO_TELEMETRY_DISABLED: "1", NO_COLOR: "1" },
    stdin: "null",
    signal: AbortSignal.timeout(BUILD_PATIENCE_MS),
  }).output();
  const said = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  if (!success) throw new Error(`deno ${command}:\n${said}`);
}

/** Makes the project of an app, built. */
export async function makeProject(
  { app, packages, config = {}, files = {}, manifest, build = [] }: AppCase,
): Promise<Project> {
  const imports = Object.fromEntries([
    ["holdfast/helper", HELPER_MODULE],
    ...Object.entries(packages ?? {}).flatMap(([name, version]) => [
      [name, `npm:${name}@${version}`],
      [`${name}/`, `npm:/${name}@${version}/`],
    ]),
  ]);
  const settings: Record<string, string> = manifest === undefined
    ? { "deno.json": JSON.stringify({ imports }) }
    : { "package.json": JSON.stringify(manifest) };
  const project = await Project.create({
    files: { ...app !== undefined && { "app.js": app }, ...settings, ...files },
    config: { app: "./app.js", reload: { readyDeadlineMs: 60_000 }, ...config },
  });
  try {
    for (const command of build) await runDeno(project, command);
  } catch (error) {
    await project[Symbol.asyncDispose]();
    throw error;
  }
  return project;
}

/** Asks over and over, on a connection for each request or on one that is kept, until told to stop. */
async function keepAsking(
  port: number,
  path: string,
  answer: RegExp,
  kept: boolean,
  goesOn: () => boolean,
): Promise<number> {
  let count = 0;
  while (goesOn()) {
    using wire = await Wire.open(port);
    for (let last = false; !last && goesOn(); count++) {
      const found = await wire.ask(path, { headers: kept ? {} : { connection: "close" } });
      assertEquals(found.status, 200, found.text);
      assertMatch(found.text, answer);
      last = !kept || found.persistence === "close";
      await sleep(THINK_MS);
    }
  }
  return count;
}

/** Starts it, asks it, reloads it under load, and takes away what it was granted. */
export async function tryApp(each: AppCase): Promise<void> {
  const project = await makeProject(each);
  const { path = "/", answer = /^hello/, also = {} } = each;
  await using server = await Server.startOn(project, { wait: "nothing" });
  const ended = server.ended.then(() => {
    throw new Error(`It did not start:\n${server.log.slice(-4000)}`);
  });
  const serves = () => server.eventsOf("serving").length > 0;
  await Promise.race([until("it to serve", serves, BUILD_PATIENCE_MS), ended]);
  ended.catch(() => {}); // It ends when the test does.
  for (const [asked, answered] of Object.entries({ [path]: answer, ...also })) {
    const found = await server.get(asked);
    const text = await found.text();
    assertEquals(found.status, 200, `${asked}: ${text}\n${server.log.slice(-4000)}`);
    assertMatch(text, answered);
  }
  let reloading = true;
  const clients = [false, true].map((kept) =>
    keepAsking(project.port, path, answer, kept, () => reloading)
  );
  const asked = Promise.all(clients);
  asked.catch(() => {}); // Awaited below.
  const entry = String(each.config?.app ?? "app.js");
  const text = await Deno.readTextFile(project.path(entry));
  try {
    for (let count = 0; count < RELOADS; count++) {
      // A change, so that there is a new image.
      await project.write(entry, `${text}\n// ${count}\n`);
      const { outcome, reason } = await server.reload();
      assertEquals([outcome, reason], ["done", undefined]);
    }
  } finally {
    reloading = false;
  }
  for (const count of await asked) assert(count > 0);
  for (const event of ["call_denied", "exec_denied", "worker_lost"]) {
    assertEquals(server.eventsOf(event), []);
  }
  await takeAway(server, each);
}

/** With nothing granted, what is refused first is what was taken away. */
async function takeAway(server: Server, { config = {}, path = "/", also, refusal }: AppCase) {
  const { app: _, ...granted } = config;
  if (Object.keys(granted).length === 0) return;
  const before = server.events.length;
  const nothing = Object.fromEntries(Object.keys(granted).map((key) => [key, undefined]));
  await server.project.configure(nothing);
  const { outcome, reason = "" } = await server.reload();
  const paths = outcome === "done" ? [path, ...Object.keys(also ?? {})] : [];
  const answers = await Promise.all(paths.map((each) => server.text(each).catch(() => "")));
  if (refusal !== undefined) {
    const looks = () =>
      [reason, ...answers, ...server.events.slice(before).map(({ text }) => String(text ?? ""))]
        .find((said) => refusal.test(said));
    await until(`${refusal}`, looks);
    return;
  }
  // What the app only looked for comes after what it was refused.
  const isLine = (event: LogEvent) => isLineOf(event, granted, server.project);
  const first = await until("a refusal", () => {
    const refused = server.events.slice(before).filter(({ event }) => event === "refused");
    return refused.find(({ level }) => level === "warn") ?? refused.find(isLine);
  }, PATIENCE_MS).catch((error) => {
    throw new Error(`${error.message}: ${reason}\n${server.log.slice(-4000)}`);
  });
  assert(isLine(first), `${JSON.stringify(first)} is not a line of ${JSON.stringify(granted)}`);
}

/** Whether the line that an event names is one that the config had, or a part of one. */
function isLineOf(
  { allow = "" }: LogEvent,
  granted: Readonly<Record<string, unknown>>,
  project: Project,
): boolean {
  const said: Record<string, unknown> = JSON.parse(`{${allow}}`);
  return Object.entries(said).length > 0 && Object.entries(said).every(([key, value]) => {
    const had = granted[key];
    if (had === undefined) return false;
    if (key === "envFile") return project.path(String(had)) === value;
    if (key !== "unveil") {
      return namesIn(value).some((name) => namesIn(had).includes(name)) || value === had;
    }
    const paths = namesIn(had).map((path) => project.path(path).replace(/\/$/, ""));
    return Object.keys(value as object).every((path) =>
      paths.some((unveiled) => `${path}/`.startsWith(`${unveiled}/`))
    );
  });
}

/** The names of a list, or of an object. */
function namesIn(value: unknown): string[] {
  if (Array.isArray(value)) return value;
  return typeof value === "object" && value !== null ? Object.keys(value) : [];
}

/** What a test of it is called: it has the config. */
export function nameOf(name: string, { config = {} }: AppCase): string {
  const { app: _, ...granted } = config;
  const shown = JSON.stringify(granted);
  const nothing = shown === "{}" ? ", so that there is no line to take away" : "";
  return `${name}: loses nothing over ${RELOADS} reloads behind the kernel's wall with ${shown}${nothing}`;
}

/** Defines a test for each. */
export function testApps(apps: Readonly<Record<string, AppCase>>): void {
  for (const [name, each] of Object.entries(apps)) {
    Deno.test(nameOf(name, each), () => tryApp(each));
  }
}
