/**
 * Makes the audit's attempts in other sandboxes on this machine, each with a narrow setting that is
 * typical of it, and prints the page of the docs. Run it as root, as the audit is.
 *
 *     deno task audit --json > audit.json
 *     deno run -A tools/compare_sandboxes.ts --audit audit.json [--node node] [--firejail firejail] [--kept FILE]
 *
 * With `--kept` what was seen of the other sandboxes is kept in that file, and not made again.
 */
import { parseArgs } from "@std/cli";
import { join } from "node:path";
import { AREAS, type Attempt, type Order, Report } from "../lib/audit/attempt.ts";
import { ATTEMPTS } from "../lib/audit/attempts/catalogue.ts";
import { Fixture } from "../lib/audit/fixture.ts";
import type { Summary } from "../lib/audit/summary.ts";
import { bundle } from "../lib/planner/bundle.ts";

/** How long an attempt may take before its process is ended. */
const ATTEMPT_MS = 35_000;

/** How long a proof from outside may take. */
const SETTLE_MS = 40;

/** Of a Holdfast's own surroundings: others have no channel and no helpers. */
const OWN: readonly Attempt["area"][] = ["channel", "helper", "persistence", "exhaustion"];

/** By the descriptors that a worker is given, or what the auditor sees of its end. */
const OF_A_WORKER =
  /^(SP4\.(owner_ioctl|group_ioctl|peer)|SP7\.getfd_peer|SP14|NW9\.native_name|NW17|SE9|FD|FK)/;

const args = parseArgs(Deno.args, {
  string: ["audit", "node", "firejail", "only", "kept"],
  default: { node: "node", firejail: "firejail" },
});
const [NODE, FIREJAIL] = [String(args.node), String(args.firejail)];
if (typeof args.audit !== "string") throw new Error("--audit FILE: what `audit --json` printed");
const audited: Summary = JSON.parse(await Deno.readTextFile(args.audit));

/** How many of a kind are made: more would only show again how one layer treats one interface. */
const OF_A_KIND = 3;

const all = ATTEMPTS.filter((attempt) =>
  !OWN.includes(attempt.area) && !OF_A_WORKER.test(attempt.id) && !attempt.stress &&
  !attempt.only && !["ended", "bounded"].includes(attempt.proof) &&
  (typeof args.only !== "string" || new RegExp(args.only).test(attempt.id))
);

/** By system calls first, since every sandbox is to hold them; then those that need no process of their own. */
const attempts = [...Map.groupBy(all, ({ id }) => id.split(".")[0]!).values()].flatMap((kind) =>
  kind.toSorted((a, b) => rank(a) - rank(b)).slice(0, OF_A_KIND)
);

function rank({ id, alone }: Attempt): number {
  return (/native|\.node/.test(id) ? 0 : 1) + (alone ? 2 : 0);
}

/** What a sandbox is started with, and what its attempts are compared with. */
interface Sandbox {
  readonly name: string;
  /** What runs in it, without the sandbox, shows which attempts work there at all. */
  readonly control: "deno" | "node" | undefined;
  readonly command: (place: Place) => string[];
}

/** Where everything lies. */
interface Place {
  readonly fixture: Fixture;
  /** A folder with the subject's text, and with Deno. */
  readonly folder: string;
}

const DENO = Deno.execPath();
const deno = ({ folder }: Place, ...flags: string[]) => [
  ...[DENO, "run", "--no-prompt", "--no-config", "--no-lock", "--quiet", ...flags],
  join(folder, "subject.js"),
];
const node = ({ folder }: Place, ...flags: string[]) => [
  ...[NODE, "--disable-warning=ExperimentalWarning", ...flags],
  join(folder, "subject.mjs"),
];
const granted = ({ fixture }: Place, rights: RegExp) =>
  fixture.unveils().filter((each) => rights.test(each.rights)).map(({ path }) => path);

/** The sandbox that is none, by what runs in it. */
const CONTROLS = { deno: "no wall, Deno", node: "no wall, Node" } as const;

const SANDBOXES: readonly Sandbox[] = [
  { name: CONTROLS.deno, control: undefined, command: (place) => deno(place, "-A") },
  { name: CONTROLS.node, control: undefined, command: (place) => node(place) },
  {
    name: "Deno's flags",
    control: "deno",
    command: (place) =>
      deno(
        place,
        `--allow-read=${granted(place, /r/)}`,
        `--allow-write=${granted(place, /[wc]/)}`,
      ),
  },
  {
    name: "Node --permission",
    control: "node",
    command: (place) =>
      node(
        place,
        "--permission",
        ...[place.folder, ...granted(place, /r/)].map((path) => `--allow-fs-read=${path}/*`),
        ...granted(place, /[wc]/).map((path) => `--allow-fs-write=${path}/*`),
      ),
  },
  {
    name: "bubblewrap",
    control: "deno",
    command: (place) => [
      ...["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"],
      ...["--clearenv", "--setenv", "DENO_DIR", "/tmp/deno", "--proc", "/proc", "--dev", "/dev"],
      ...["--tmpfs", "/tmp", "--ro-bind", "/usr", "/usr"],
      ...["bin", "lib", "lib64"].flatMap((name) => ["--symlink", `usr/${name}`, `/${name}`]),
      ...["--ro-bind", DENO, DENO, "--ro-bind", place.folder, place.folder],
      ...granted(place, /^r$/).flatMap((path) => ["--ro-bind", path, path]),
      ...granted(place, /[wc]/).flatMap((path) => ["--bind", path, path]),
      ...deno(place, "-A"),
    ],
  },
  {
    name: "firejail",
    control: "deno",
    command: (place) => [
      ...[FIREJAIL, "--quiet", "--noprofile", "--nonewprivs", "--caps.drop=all", "--seccomp"],
      ...[
        "--net=none",
        "--nodbus",
        "--nogroups",
        "--private-dev",
        "--private-etc=passwd,ld.so.cache",
      ],
      ...["--read-only=/", "--rlimit-nofile=1024", `--blacklist=${place.fixture.path("outside")}`],
      ...["inside-twin", "of_helper", "of_worker", "servers", "temporary/other"]
        .map((name) => `--blacklist=${place.fixture.path(name)}`),
      ...granted(place, /[wc]/).map((path) => `--read-write=${path}`),
      "--",
      ...deno(place, "-A"),
    ],
  },
];

/** A running subject. */
class Subject {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncIterator<string>;
  #over = false;

  constructor([program, ...args]: string[], env: Record<string, string>) {
    this.#child = new Deno.Command(program!, {
      ...{ args, env, clearEnv: true, cwd: "/tmp" },
      ...{ stdin: "piped", stdout: "piped", stderr: "null" },
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#lines = linesOf(this.#child.stdout)[Symbol.asyncIterator]();
    void this.#child.status.then(() => this.#over = true);
  }

  get alive(): boolean {
    return !this.#over;
  }

  async make(order: Order): Promise<Report | undefined> {
    const timer = setTimeout(() => this.end(), ATTEMPT_MS);
    try {
      await this.#input.write(new TextEncoder().encode(`${JSON.stringify(order)}\n`));
      for (;;) {
        const { done, value } = await this.#lines.next();
        if (done) return undefined;
        // What an attempt prints itself comes between.
        const report = value.startsWith("{") ? Report.safeParse(tryParse(value)) : undefined;
        if (report?.success) return report.data;
      }
    } catch {
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  end(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** The attempts that got through. */
async function measure(sandbox: Sandbox, text: string, chosen: readonly Attempt[]) {
  await using fixture = await Fixture.create(undefined);
  const folder = fixture.path("program");
  Deno.mkdirSync(folder);
  for (const name of ["subject.js", "subject.mjs"]) {
    Deno.writeTextFileSync(join(folder, name), text);
  }
  const command = sandbox.command({ fixture, folder });
  const home = Deno.makeTempDirSync({ prefix: "holdfast_compare_" });
  const env = { PATH: Deno.env.get("PATH")!, HOME: home, DENO_DIR: join(home, "deno") };
  const through = new Set<string>();
  let subject: Subject | undefined;
  const sleeper = new Deno.Command("sleep", { args: ["3600"] }).spawn();
  const world = () => {
    const pids = { siblingPid: sleeper.pid, helperPid: sleeper.pid, workerPid: sleeper.pid };
    return fixture.world({
      ...{
        configFile: fixture.path("outside/file.txt"),
        module: fixture.path("outside/secret.mjs"),
      },
      ...{ project: fixture.path("outside"), denoDir: env.DENO_DIR, denoProgram: DENO },
      ...{ runtime: fixture.path("outside"), keyFile: "", dialled: "" },
    }, pids);
  };
  try {
    for (const attempt of chosen) {
      if (attempt.alone || !subject?.alive) {
        subject?.end();
        subject = new Subject(command, env);
      }
      const [before, contacts] = [fixture.fingerprint(), fixture.contacts];
      const report = await subject.make({ id: attempt.id, world: world() });
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      if (attempt.alone || report === undefined) subject.end();
      const claims = report?.returned !== undefined &&
        !["undefined", "null", "false"].includes(report.returned);
      const changed = fixture.fingerprint() !== before;
      const proven = {
        secret: report?.returned?.includes(fixture.secret) === true,
        change: changed,
        contact: fixture.contacts > contacts,
        canary: !fixture.canaryRuns,
        claim: claims,
      }[attempt.proof as "claim"];
      if (proven) through.add(attempt.id);
      if (changed || !fixture.canaryRuns) fixture.restore();
    }
  } finally {
    subject?.end();
    sleeper.kill("SIGKILL");
    await sleeper.status;
    await Deno.remove(home, { recursive: true });
  }
  return through;
}

const folder = await Deno.makeTempDir({ prefix: "holdfast_compare_" });
const text = await bundle(folder, "tools/compare_subject.ts");
await Deno.remove(folder, { recursive: true });

const results = readKept();
for (const sandbox of SANDBOXES) {
  if (results.has(sandbox.name)) continue;
  const control = sandbox.control && results.get(CONTROLS[sandbox.control])!;
  const chosen = control ? attempts.filter(({ id }) => control.has(id)) : attempts;
  results.set(sandbox.name, await measure(sandbox, text, chosen));
  progress(`${sandbox.name}: ${results.get(sandbox.name)!.size} of ${chosen.length} got through`);
  keep();
}

const works = results.get(CONTROLS.deno)!;
/** What got through of Holdfast's worker, behind one of its layers or both. */
const ofHoldfast = (mode: "kernel" | "both") =>
  new Set(
    audited.lines.filter(({ process, id, outcomes }) =>
      process === "worker" && works.has(id) && outcomes[mode] === "through"
    ).map(({ id }) => id),
  );
interface Column {
  readonly name: string;
  readonly through: Set<string>;
  /** What was made in it. */
  readonly made: Set<string>;
}
const columns: readonly Column[] = [
  ...SANDBOXES.flatMap(({ name, control }) =>
    control ? [{ name, through: results.get(name)!, made: results.get(CONTROLS[control])! }] : []
  ),
  { name: "Holdfast, kernel alone", through: ofHoldfast("kernel"), made: works },
  { name: "Holdfast", through: ofHoldfast("both"), made: works },
];

const row = (cells: readonly unknown[]) => `| ${cells.join(" | ")} |`;
const heads = ["area", ...columns.map(({ name }) => name)];
const byArea = AREAS.filter((area) => attempts.some((attempt) => attempt.area === area));
const counts = ({ through, made }: Column, area?: string) => {
  const own = attempts.filter((each) => made.has(each.id) && (!area || each.area === area));
  return `${own.filter(({ id }) => through.has(id)).length} of ${own.length}`;
};
print([
  row(heads),
  row(heads.map(() => "---")),
  ...byArea.map((area) => row([area, ...columns.map((each) => counts(each, area))])),
  row(["all", ...columns.map((each) => counts(each))]),
  "",
  ...columns.map(({ name, through }) => `- **${name}**: ${listed(through)}`),
  "",
  ...SANDBOXES.filter(({ control }) => control).flatMap((sandbox) => [
    `${sandbox.name}:`,
    "",
    "```sh",
    wrapped(commandOf(sandbox)),
    "```",
    "",
  ]),
].join("\n"));

/** Ids by their kinds, with how many variants of each. */
function listed(through: Set<string>): string {
  const kinds = Map.groupBy(through, (id) => id.split(".")[0]!);
  return [...kinds].map(([kind, ids]) => ids.length === 1 ? ids[0] : `${kind} (${ids.length})`)
    .join(", ") || "none";
}

/** A command as it was, with names for what is made anew each time. */
function commandOf(sandbox: Sandbox): string {
  const path = (name: string) => name === "" ? "FIXTURE" : `FIXTURE/${name}`;
  const fixture = {
    path,
    unveils: () => new Fixture("FIXTURE", undefined).unveils(),
  } as unknown as Fixture;
  return sandbox.command({ fixture, folder: "PROGRAM" }).join(" ")
    .replaceAll(DENO, "deno").replaceAll(NODE, "node").replaceAll(FIREJAIL, "firejail");
}

function wrapped(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length > 90) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.join(" \\\n  ");
}

function readKept(): Map<string, Set<string>> {
  try {
    const kept = JSON.parse(Deno.readTextFileSync(String(args.kept))) as Record<string, string[]>;
    return new Map(Object.entries(kept).map(([name, ids]) => [name, new Set(ids)]));
  } catch {
    return new Map();
  }
}

function keep(): void {
  if (typeof args.kept !== "string") return;
  const plain = Object.fromEntries([...results].map(([name, ids]) => [name, [...ids]]));
  Deno.writeTextFileSync(args.kept, JSON.stringify(plain));
}

function progress(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}
