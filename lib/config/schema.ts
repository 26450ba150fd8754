import * as z from "zod";
import { parseCollector, parseListen, parseNet, refusePath, unixText } from "./address.ts";
import { parseEnvName } from "./env_name.ts";
import { DEFAULT_OUTPUT_LIMITS, LINE_COST } from "../base/output_limits.ts";
import { quote, Refusal } from "./problem.ts";

// 64 paths of 1024 characters stay below the 128 KiB that Linux allows one argument of a program.
const MAX_UNVEILS = 64;
const MAX_PATH_CHARS = 1024;
const MAX_NAMES = 128;
const MAX_NAME_CHARS = 256;
const MAX_HELPERS = 32;

/** The most workers that a generation may have. */
export const MAX_WORKERS = 64;

const GRANTS = {
  app: {
    unveil:
      "Files and folders the app may use, with everything below them; nothing else exists for it. " +
      "The rights are those of OpenBSD's unveil(2): `r` read, `w` write, `c` create, rename and " +
      "remove, `x` execute (refused for now: a worker executes nothing). Add a path when the app " +
      "stores data. Code, config and caches stay out of reach: a config that makes something " +
      "writable which the next reload would run is an error.",
    env:
      "Names of environment variables the app may see, such as DATABASE_URL; no other variable " +
      "is passed on, `TZ` neither: without it in this list the app's local time is the machine's, from " +
      "/etc/localtime. Names that steer the runtime instead of the app, such as `DENO_*`, `LD_*` or " +
      "`HTTP_PROXY`, are errors. The values are those that Holdfast was started with: a reload and an " +
      "upgrade bring in names that were added here, but no new values, for which Holdfast is to be " +
      "restarted. The app may also change what it is given, for itself.",
    net:
      'Hosts the app may connect to: "api.example.com", "api.example.com:443", "10.0.0.5:5432" ' +
      'or "[::1]:5432". None by default, so that a hijacked app cannot send anything out. No ' +
      "wildcards. Listening needs no entry.",
  },
  helper: {
    unveil: "Files and folders the helper may use, as the app's `unveil`. None by default.",
    env: "Names of environment variables the helper may see, as the app's `env`. None by default.",
    net: "Hosts the helper may connect to, as the app's `net`. None by default.",
  },
} as const;

const PathText = z.string().max(MAX_PATH_CHARS).check(({ value, issues }) => {
  const refusal = refusePath(value);
  if (refusal !== undefined) issues.push(asIssue(value, refusal));
});

const UnixListenSchema = z.strictObject({
  unix: PathText.describe("Path of the socket file, relative to the folder of the config file."),
  mode: z.string().regex(/^0?[0-7]{3}$/, 'expected three octal digits such as "0660"')
    .default("0600")
    .describe(
      "Who may connect, as octal permission bits of the socket file; connecting takes `w`. The " +
        'default lets in only the user that starts Holdfast: "0660" lets in its group, which is ' +
        "the usual way for a proxy in front.",
    ),
});

const ListenSchema = z.union([
  parsedText(MAX_PATH_CHARS, parseListen),
  UnixListenSchema.transform(({ unix, mode }) => unixText(unix, Number.parseInt(mode, 8))),
]);

const ReloadSchema = z.strictObject({
  readyDeadlineMs: z.int().min(100).max(600_000).default(10_000)
    .describe(
      "How long new workers may take until they are ready, in milliseconds; after that the reload " +
        "fails and the old workers go on. Raise it for an app with a long warm-up.",
    ),
  idleGraceMs: z.int().min(0).max(120_000).default(5_000)
    .describe(
      "How long an old worker leaves idle keep-alive connections open, in milliseconds, so that a " +
        "client that is about to send a request is answered. A request counts from when its head is " +
        "complete: a client that takes longer than this to send one is closed without an answer. Raise " +
        "it for clients that think long between requests or send slowly, lower it for quicker reloads.",
    ),
  drainDeadlineMs: z.int().min(0).max(3_600_000).default(30_000)
    .describe(
      "How long requests in flight may finish after a reload, in milliseconds; what is left is cut " +
        "and counted. At least idleGraceMs. Raise it for long downloads and uploads.",
    ),
  announceMs: z.int().min(0).max(600_000).default(0).describe(
    "How long `readiness` says 503 at a stop before the listeners are left, in milliseconds; all else " +
      "is answered meanwhile, and new connections are accepted. Set it to what the load balancer " +
      "needs to notice: its interval times the failures it wants, and a little more. It comes before " +
      "drainDeadlineMs, so give the service manager the sum of both for a stop. A reload announces " +
      "nothing, since the new workers accept on the same listeners at once.",
  ),
  maxDraining: z.int().min(1).max(64).default(4)
    .describe(
      "How many old generations drain at a time at the most; a reload that would make it one more " +
        "waits until one has ended. Each holds the memory of its processes: raise it where there is " +
        "enough of that for many reloads in a row. What counts is the config that is in force.",
    ),
}).check(({ value, issues }) => {
  if (value.drainDeadlineMs >= value.idleGraceMs) return;
  issues.push(asIssue(
    value.drainDeadlineMs,
    new Refusal(
      "drain_before_grace",
      `${value.drainDeadlineMs} is less than idleGraceMs (${value.idleGraceMs}): ` +
        "idle connections would be cut within their grace",
      `set it to ${value.idleGraceMs} or more, or lower idleGraceMs`,
    ),
    ["drainDeadlineMs"],
  ));
});

const RecycleSchema = z.strictObject({
  maxRequests: z.int().min(1).max(Number.MAX_SAFE_INTEGER).optional().describe(
    "How many requests a worker answers before it leaves. Set it for an app that leaks a little " +
      "with each.",
  ),
  maxAgeMs: z.int().min(10_000).max(31_536_000_000).optional().describe(
    "How old a worker becomes before it leaves, in milliseconds. The least is 10000.",
  ),
  maxMemoryBytes: z.int().min(134_217_728).max(Number.MAX_SAFE_INTEGER).optional().describe(
    "How much of a worker may be in memory (VmRSS of proc_pid_status(5)) before it leaves, in bytes; " +
      "it is looked at once a second. The least is 128 MiB. Set it well below `limits.memoryBytes`, at " +
      "which a worker dies, and well above what the app needs from the start.",
  ),
});

/**
 * A worker tells its figures once a second, and is looked at as often. A second each for both, for a
 * look that comes late, and for the time until a worker that stood still as well tells again.
 */
const LEAST_PULSE_DEADLINE_MS = 4_000;

const WatchdogSchema = z.strictObject({
  pulseDeadlineMs: z.union([z.literal(0), z.int().min(LEAST_PULSE_DEADLINE_MS).max(3_600_000)])
    .default(10_000).describe(
      "How long the event loop of a worker may stand still, in milliseconds, before another worker " +
        "takes its place; 0 for ever. It is what the app computes in one piece, without an `await` " +
        "that waits. Time in which the supervisor itself could not run does not count. Raise it for " +
        "an app with long computations, or better, move them to a helper. The least is 4000.",
    ),
});

const LimitsSchema = z.strictObject({
  descriptors: z.int().min(64).max(1_048_576).default(65_536).describe(
    "Open files and connections of a worker (RLIMIT_NOFILE). Connections beyond it wait in the " +
      "kernel until others end; the log says `accepting_stalled`.",
  ),
  processes: z.int().min(32).max(4_194_304).default(16_384).describe(
    "Threads and processes that the workers' user may have in all (RLIMIT_NPROC); the kernel does " +
      "not hold root to it. Give the workers a `user` of their own for a limit that means them alone.",
  ),
  fileBytes: z.int().min(1_048_576).max(Number.MAX_SAFE_INTEGER).default(64 * 2 ** 30).describe(
    "The largest file that a worker may write, in bytes (RLIMIT_FSIZE).",
  ),
  memoryBytes: z.int().min(134_217_728).max(Number.MAX_SAFE_INTEGER).optional().describe(
    "Memory that a worker may write to, in bytes (RLIMIT_DATA), JavaScript's heap included; no " +
      "limit by default. A worker that wants more dies and is replaced. The least is 128 MiB.",
  ),
});

function grantKeys(whose: "app" | "helper") {
  return {
    unveil: z.record(
      PathText,
      parsedText(4, parseRights),
    ).refine((paths) => Object.keys(paths).length <= MAX_UNVEILS, {
      error: `more than ${MAX_UNVEILS} paths`,
      params: { code: "unveil_many", hint: "unveil the folder that holds them" },
    }).prefault({}).describe(GRANTS[whose].unveil),
    env: z.array(parsedText(MAX_NAME_CHARS, parseEnvName)).max(MAX_NAMES)
      .check(refuseRepeats).prefault([]).describe(GRANTS[whose].env),
    net: z.array(parsedText(MAX_NAME_CHARS, parseNet)).max(MAX_NAMES)
      .check(refuseRepeats).prefault([]).describe(GRANTS[whose].net),
  };
}

const HelperSchema = z.strictObject({
  module: PathText.describe(
    "The helper's module, relative to the folder of the config file. Its default export is what " +
      "`defineHelper` returns.",
  ),
  ...grantKeys("helper"),
  instances: z.int().min(1).max(64).default(1).describe(
    "How many processes do the job side by side. Raise it for work that keeps a processor busy, and " +
      "so that one may die or hang while another answers.",
  ),
  concurrency: z.int().min(1).max(1024).default(16).describe(
    "How many calls an instance runs at once; the others wait in it, each worker's in turn. `1` for " +
      "a job that must not be done twice at a time.",
  ),
  timeoutMs: z.int().min(10).max(3_600_000).default(30_000).describe(
    "When a call is given up, in milliseconds, its streams included. An instance that does not let go of it then is " +
      "stuck, and replaced.",
  ),
  memoryBytes: z.int().min(134_217_728).max(Number.MAX_SAFE_INTEGER).optional().describe(
    "Memory that an instance may write to, in bytes (RLIMIT_DATA); the default is that of `limits`.",
  ),
  restart: z.enum(["always", "never"]).default("always").describe(
    "Whether an instance that died is replaced, ever later if it dies again at once. Until one " +
      "lives, and for good with `never`, calls fail once their time is over.",
  ),
});

const HELPER_NAME = /^[a-z][a-z0-9_]{0,31}$/;

const LogSchema = z.strictObject({
  folder: PathText.optional().describe(
    "Folder of `holdfast.log` and `access.log`, relative to the folder of the config file; it " +
      "is made if it is not there, for the user that starts Holdfast. With it a logger runs, a process that may write in " +
      "this folder and do nothing else. Without it there are no log files, and events go to stderr " +
      "alone. No unveil may reach it.",
  ),
  access: z.enum(["off", "common", "combined", "json"]).default("combined").describe(
    "How `access.log` tells of each request. `common` and `combined` are Apache's formats, in UTC; " +
      "`json` is one object a line, with the worker and the time that the answer took. `common` " +
      "costs less than `combined`, which has referer and user agent. The client's address is that " +
      "of the connection: behind a proxy, the proxy's.",
  ),
  rotateBytes: z.int().min(65_536).max(2 ** 40).default(64 * 2 ** 20).describe(
    "The largest log file, in bytes. The next line begins another file; the old one is renamed, " +
      "with the time of its end in its name.",
  ),
  rotateHours: z.int().min(0).max(8_784).default(24).describe(
    "How old a log file may be when a line is added, in hours; 0 is any age. Set it to 0, and " +
      "rotateBytes high, where logrotate does this.",
  ),
  keep: z.int().min(0).max(10_000).default(14).describe(
    "How many old files of each log are kept, the newest ones.",
  ),
  compress: z.boolean().default(true).describe("Whether old files are compressed, with gzip."),
  outputLineBytes: z.int().min(256).max(131_072).default(DEFAULT_OUTPUT_LIMITS.lineBytes).describe(
    "The longest line of what the app and the helpers print that is logged whole, in bytes; the rest " +
      "of a longer one is left out, and the line says so.",
  ),
  outputBytesPerSecond: z.int().min(1_024).max(67_108_864)
    .default(DEFAULT_OUTPUT_LIMITS.bytesPerSecond).describe(
      "How much of what a process prints is logged in the long run, in bytes a second, for each of " +
        `its standard output and standard error. A line counts its bytes and ${LINE_COST} more. What is beyond ` +
        "that is dropped, and `worker_output_dropped` says how many lines it was. Raise it for an app " +
        "that logs a line a request under load; every line costs the supervisor some time.",
    ),
  outputBurstBytes: z.int().min(1_024).max(67_108_864).default(DEFAULT_OUTPUT_LIMITS.burstBytes)
    .describe(
      "How much of what a process prints is logged at once, in bytes, counted as for " +
        `outputBytesPerSecond. At least outputLineBytes and ${LINE_COST}.`,
    ),
}).check(({ value, issues }) => {
  const least = value.outputLineBytes + LINE_COST;
  if (value.outputBurstBytes >= least) return;
  issues.push(asIssue(
    value.outputBurstBytes,
    new Refusal(
      "burst_below_line",
      `${value.outputBurstBytes} is less than one line of outputLineBytes (${value.outputLineBytes}) ` +
        `and ${LINE_COST}: the longest lines would never be logged`,
      `set it to ${least} or more, or lower outputLineBytes`,
    ),
    ["outputBurstBytes"],
  ));
});

const MetricsSchema = z.strictObject({
  listen: ListenSchema.describe(
    'Where a process of its own answers `GET /metrics` for Prometheus: "127.0.0.1:9464", "[::1]:9464" ' +
      'or "unix:/run/app-metrics.sock", as in the `listen` above. Addresses of this machine alone, ' +
      "since the figures tell much and nobody is asked who they are.",
  ),
});

const TracesSchema = z.strictObject({
  collector: parsedText(MAX_NAME_CHARS, parseCollector).describe(
    'Where the workers send their spans: "127.0.0.1:4318" or "[::1]:4318", an OpenTelemetry collector ' +
      "that takes OTLP over HTTP. An address, no name: the kernel's wall opens its port for the " +
      "worker, and nothing else.",
  ),
  service: z.string().max(64).regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
    "expected letters, digits and any of . _ -",
  ).describe("What the app is called there (`service.name`)."),
});

/** The config file: every key with its default, its bounds and why one would change it. */
export const ConfigSchema = z.strictObject({
  $schema: z.string().optional()
    .describe("Where an editor finds the JSON Schema of this file. Holdfast ignores it."),
  app: PathText.describe(
    "The app's module, relative to the folder of the config file. Its project is the nearest " +
      "folder at or above it with a deno.json, deno.jsonc or package.json; that is also the folder " +
      "the app runs in. Settings, import map, workspace and lock file are those that `deno run` finds " +
      "there; the app is held to the lock file.",
  ),
  listen: z.array(ListenSchema).min(1).max(16).describe(
    'Where the server listens: "127.0.0.1:8000", "[::1]:8000", "localhost:8000", ' +
      '"unix:/run/app.sock", { "unix": "/run/app.sock", "mode": "0660" }, or sockets that systemd ' +
      'passes: "systemd" for all, "systemd:NAME" for one by its FileDescriptorName. Other host ' +
      'names are errors, since they may stand for several addresses; "0.0.0.0:8000" is every IPv4 ' +
      'address of the machine. "[::]:8000" alone is every IPv6 and IPv4 address; beside an IPv4 ' +
      "address with the same port it is IPv6 alone. The socket stays open over reloads.",
  ),
  ...grantKeys("app"),
  workers: z.union([z.int().min(1).max(MAX_WORKERS), z.literal("auto")]).default(1).describe(
    "How many processes serve the app side by side, each with a slot of its own: one that dies is " +
      'replaced alone. `"auto"` is one for each processor that the supervisor may use, ' +
      `${MAX_WORKERS} at the most. Raise it for an app that keeps a processor busy. Workers share ` +
      "the listeners and nothing else: what the app keeps in memory is each worker's own.",
  ),
  helpers: z.record(
    z.string().regex(HELPER_NAME, "expected lower case letters, digits and _, such as thumbnails"),
    HelperSchema,
  ).refine((helpers) => Object.keys(helpers).length <= MAX_HELPERS, {
    error: `more than ${MAX_HELPERS} helpers`,
    params: { code: "helpers_many", hint: "one helper may have many methods" },
  }).prefault({}).describe(
    "Dangerous jobs, each a module in a process of its own that has what its entry grants and " +
      "nothing else. The app calls them by name; neither has what the other was granted.",
  ),
  engine: z.enum(["native", "node"]).default("native").describe(
    "What speaks HTTP in the worker. `native` is Deno's own server, reached over an internal API; " +
      "where that is missing, and on Unix sockets, `node` takes over. `node` is node:http: public " +
      "API nearly throughout, about a third as fast, and without HTTP/2. Both serve WebSockets; " +
      "docs/architecture.md says where they differ.",
  ),
  wall: z.enum(["kernel", "deno"]).default("kernel").describe(
    "What holds a worker back. `kernel`: Deno's permissions, and below them Landlock and seccomp, " +
      "which also hold native code; a machine that lacks them is an error. `deno`: Deno's " +
      "permissions alone.",
  ),
  on_violation: z.enum(["replace", "log"]).default("replace").describe(
    "What becomes of a worker that tried to start a program or to signal another process. " +
      "`replace` kills it and starts another; `log` only says so, up to a thousand times.",
  ),
  limits: LimitsSchema.prefault({}).describe(
    "What a worker may use up; only with the kernel's wall. A limit above what Holdfast itself was " +
      "given is cut to that. A worker's memory is never written to a core file.",
  ),
  reload: ReloadSchema.prefault({}).describe("How patient a reload is."),
  recycle: RecycleSchema.prefault({}).describe(
    "When a worker leaves although nothing is wrong with it; never by default. Another one is brought " +
      "up first, and the old one drains as at a reload, so that nothing is lost. One worker of a " +
      "generation at a time; each has limits of its own, up to a tenth below or above these, so that " +
      "workers that started together do not become due together. None leaves before it has served 10 s.",
  ),
  watchdog: WatchdogSchema.prefault({}).describe(
    "When a worker that says nothing is stuck. Another one is brought up first; then the old one is " +
      "told to drain, and killed 2 s later if it is still silent.",
  ),
  readiness: z.string().max(256).regex(
    /^(?!.*\/\.{1,2}(\/|$))(\/[A-Za-z0-9._~-]+)+$/,
    'expected a path such as "/ready", of letters, digits and . _ ~ -',
  ).optional().describe(
    'Path that tells a load balancer whether to send requests here, such as "/ready"; none by ' +
      "default. The worker itself answers it, on every listener, and the app never sees it: 200 and " +
      "`ready` while it serves, 503 and `draining` when Holdfast stops. It says 200 at a reload, " +
      "from old workers too: the host goes on serving, and 503 would take it away for nothing.",
  ),
  log: LogSchema.prefault({}).describe("Log files, besides the events on stderr."),
  metrics: MetricsSchema.optional().describe(
    "Figures for Prometheus; none by default. With it one more process runs, which is granted " +
      "nothing and is told every second what `holdfast status` shows.",
  ),
  traces: TracesSchema.optional().describe(
    "OpenTelemetry traces of the requests, and of the starts and drains of workers, by Deno's own " +
      "support; none by default. Not for an executable that `deno compile` makes.",
  ),
  user: accountName().optional().describe(
    "Whom the workers run as when Holdfast starts as root: a name of /etc/passwd or a decimal id, " +
      "never root. An error when Holdfast does not start as root. It must be able to read the app's " +
      "modules and Deno's cache, and to enter the folder of `runtime`. The workers get no " +
      "supplementary group, neither root's nor the user's own from /etc/group: what they are to reach " +
      "must belong to `user` or `group`, or be open to everybody.",
  ),
  group: accountName().optional().describe(
    "The workers' group: a name of /etc/group or a decimal id. The default is the primary group of " +
      "`user`. Set it when data belongs to another group.",
  ),
  runtime: PathText.default("./.holdfast").describe(
    "Folder of the control socket, the lock, and the compiled code of each generation, relative to " +
      "the folder of the config file. Move it to /run when that folder is read-only, or is another " +
      "one for each release of the app. To change it takes a restart. No unveil may reach it.",
  ),
}).check(({ value, issues }) => {
  if (value.reload.announceMs === 0 || value.readiness !== undefined) return;
  const refusal = new Refusal(
    "announce_without_readiness",
    `${value.reload.announceMs} without a readiness path: nobody would hear of it`,
    'add "readiness": "/ready"',
  );
  issues.push(asIssue(value.reload.announceMs, refusal, ["reload", "announceMs"]));
}).check(({ value, issues }) => {
  if (value.group === undefined || value.user !== undefined) return;
  const refusal = new Refusal("group_without_user", "a group without a user", 'add "user"');
  issues.push(asIssue(value.group, refusal, ["group"]));
});

/** A config file, parsed, with every default filled in; its paths are still as the file has them. */
export type ConfigFile = z.infer<typeof ConfigSchema>;

/** The known keys, by the first part of the path of the object they are in. */
export const KNOWN_KEYS: Readonly<Record<string, readonly string[]>> = {
  "": Object.keys(ConfigSchema.shape),
  reload: Object.keys(ReloadSchema.shape),
  limits: Object.keys(LimitsSchema.shape),
  recycle: Object.keys(RecycleSchema.shape),
  watchdog: Object.keys(WatchdogSchema.shape),
  log: Object.keys(LogSchema.shape),
  metrics: Object.keys(MetricsSchema.shape),
  traces: Object.keys(TracesSchema.shape),
  listen: Object.keys(UnixListenSchema.shape),
  helpers: Object.keys(HelperSchema.shape),
};

/** A text that `parse` turns into what it means, or refuses. */
function parsedText<T>(maxChars: number, parse: (text: string) => T | Refusal) {
  return z.string().max(maxChars).transform((text, { issues }) => {
    const parsed = parse(text);
    if (!(parsed instanceof Refusal)) return parsed;
    issues.push(asIssue(text, parsed));
    return z.NEVER;
  });
}

function accountName() {
  const names = /^([a-zA-Z_][a-zA-Z0-9_.-]*\$?|0|[1-9]\d*)$/;
  return z.string().max(32).regex(names, "expected a name or a decimal id");
}

function parseRights(text: string): string | Refusal {
  if (text === "" || !/^[rwxc]*$/.test(text) || new Set(text).size !== text.length) {
    return new Refusal(
      "unveil_rights",
      `rights ${quote(text)}`,
      "write any of r (read), w (write), c (create and remove), each at most once",
    );
  }
  if (text.includes("x")) {
    return new Refusal(
      "unveil_x",
      `rights ${quote(text)}: a worker never executes anything, so "x" is refused for now`,
      'leave "x" out; a helper process is where such a job will go',
    );
  }
  return [..."rwc"].filter((right) => text.includes(right)).join("");
}

function refuseRepeats({ value, issues }: z.core.ParsePayload<string[]>): void {
  for (const [index, text] of value.entries()) {
    if (value.indexOf(text) === index) continue;
    const refusal = new Refusal("entry_repeated", `${quote(text)} again`, "write it once");
    issues.push(asIssue(text, refusal, [index]));
  }
}

function asIssue(input: unknown, { code, message, hint }: Refusal, path: PropertyKey[] = []) {
  return { code: "custom" as const, input, path, message, params: { code, hint } };
}
