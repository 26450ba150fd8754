import * as z from "zod";
import { DEFAULT_HTTP, HTTP_BOUNDS } from "../base/http_limits.ts";
import { LETS_ENCRYPT } from "./acme_place.ts";
import {
  type ListenText,
  parseCollector,
  parseListen,
  parseListenPort,
  parseNet,
  unixText,
} from "./address.ts";
import {
  BOUNDS,
  DEFAULT_KEEPING,
  DEFAULT_LIMITS,
  DEFAULT_PROBE,
  HELPER_NAME,
  MAX_VALUE_CHARS,
  MOST,
} from "./bounds.ts";
import { SYS_KINDS } from "../base/sys_kinds.ts";
import { parseEnvName } from "./env_name.ts";
import { DEFAULT_OUTPUT_LIMITS, LINE_COST } from "../base/output_limits.ts";
import { MAX_PATH_CHARS, refusePath } from "./path_text.ts";
import { canonicalIp } from "./host_port.ts";
import { quote, Refusal } from "./problem.ts";
import { DEFAULT_RUNTIME } from "./runtime_place.ts";

const MAX_NAME_CHARS = 256;

const GRANTS = {
  app: {
    unveil:
      "Files and folders the app may use, with everything below them. Any other path throws " +
      "`NotCapable`. The rights are named as in OpenBSD's unveil(2): `r` read, `w` write, `c` create, " +
      "rename and remove. `x` (execute) is refused: a worker executes nothing. Unlike unveil(2), the " +
      "list is fixed when a worker starts. Add a path when the app stores data. A config that makes " +
      "something writable which the next reload or the system would run is an error. A path that ends " +
      "in `/` and has `c` is created at the start if it does not exist.",
    env:
      "Environment variables the app may see: a list of names, or an object with `true` for a variable " +
      'that is passed on, or with a value: `{ "DATABASE_URL": true, "LOG_LEVEL": "info" }`. All others ' +
      "read as `undefined`. What the app sets by itself, as dotenv does, stays set in its process. " +
      "`NODE_ENV` is `production` unless it is listed. `TZ` too must be listed: without it the app's local " +
      "time is that of /etc/localtime. Names that control the runtime instead of the app, such as " +
      "`DENO_*`, `LD_*` or `HTTP_PROXY`, are errors. Values are those of `envFile`, or those that Holdfast " +
      "was started with: a reload or an upgrade brings in names that were added here, but new values of " +
      "the latter need a restart. Values that are written here are kept with the releases: a secret " +
      "belongs into `envFile`. `check` names the variables that are not set.",
    sys:
      "Facts of the machine the app may know. All others are answered with the same harmless values in " +
      'every process: `os.hostname()` is "localhost", `process.getuid()` is that of nobody, and so on. ' +
      "List one if the app needs the true value, such as `hostname` for its log lines.",
    dropAfterOpen:
      "Paths of `unveil`, written as there, that the app may use until it has loaded and its `open()` has " +
      "ended, and not when it answers requests: a key file, for example. Then they are not there for it, " +
      "nor for any `Worker` that it starts later. This is Deno's layer: native code, and a `Worker` that " +
      "was started before, can use them still.",
    jitless:
      "Whether the app runs without V8's compilers (`--jitless`). Then no memory becomes code any more, " +
      "which the kernel's wall enforces: an attacker who has found a fault in V8 cannot bring code of his own. " +
      "JavaScript that computes runs several times slower, and there is no `WebAssembly`. Not available " +
      "in an executable that `deno compile` makes.",
    tmp:
      "Whether each worker has a private folder for temporary files. `TMPDIR` names it, so that " +
      "`os.tmpdir()` and `Deno.makeTempDir()` use it. It lies in the folder of `runtime`, belongs to the " +
      "worker's user alone, and is removed with all that is in it when the worker ends.",
    net:
      'Hosts the app may connect to: "api.example.com", "api.example.com:443", "10.0.0.5:5432" ' +
      'or "[::1]:5432"; and Unix sockets such as "unix:/run/postgresql/.s.PGSQL.5432", by a path that ' +
      "starts at the folder of the config file, and as the app spells it. The server sees the app's user " +
      "there. None by default, so that an app that was taken over cannot send anything out. No " +
      "wildcards. Listening needs no entry. docs/wall.md has the limits.",
  },
  helper: {
    unveil: "Files and folders the helper may use, like the app's `unveil`. None by default.",
    env:
      "Names of environment variables the helper may see, like the app's `env`. None by default.",
    sys: "Facts of the machine the helper may know, like the app's `sys`. None by default.",
    dropAfterOpen:
      "Paths that the helper may use only until its module has loaded, like the app's `dropAfterOpen`.",
    jitless: "Whether the helper runs without V8's compilers, like the app's `jitless`.",
    tmp: "Whether each instance has a private folder for temporary files, like the app's `tmp`.",
    net: "Hosts the helper may connect to, like the app's `net`. None by default.",
  },
} as const;

const PathText = z.string().max(MAX_PATH_CHARS).check(({ value, issues }) => {
  const refusal = refusePath(value);
  if (refusal !== undefined) issues.push(asIssue(value, refusal));
});

const EnvNameText = z.string().max(MAX_NAME_CHARS).check(({ value, issues }) => {
  const parsed = parseEnvName(value);
  if (parsed instanceof Refusal) issues.push(asIssue(value, parsed));
});

/** The names of variables, and the values of those that the config gives. */
function toEnv(env: string[] | Record<string, string | true>) {
  if (Array.isArray(env)) return { names: env, values: {} };
  const given = Object.entries(env).filter(([, value]) => value !== true);
  return { names: Object.keys(env), values: Object.fromEntries(given) as Record<string, string> };
}

const UnixListenSchema = z.strictObject({
  unix: PathText.describe("Path of the socket file, relative to the folder of the config file."),
  mode: z.string().regex(/^0?[0-7]{3}$/, 'expected three octal digits such as "0660"')
    .default("0600")
    .describe(
      "Who may connect, as octal permission bits of the socket file; connecting needs `w`. The " +
        'default allows only the user that starts Holdfast. "0660" also allows its group, which is ' +
        "usual for a proxy in front.",
    ),
});

const toUnixText = ({ unix, mode }: { unix: string; mode: string }) =>
  unixText(unix, Number.parseInt(mode, 8));

const CertText = PathText.describe(
  "File of the certificate in PEM, with those that lead from it to an authority behind it " +
    "(`fullchain.pem`), relative to the folder of the config file. One certificate may have several " +
    "names. It is read at each start and reload, with its key: after a renewal, reload. No unveil may " +
    "reach either of them. Where neither is given, the certificate is that of `acme`.",
);
const KeyText = PathText.describe(
  "File of its private key in PEM, without a password. Others may not read it. The supervisor hands " +
    "it to each worker before the app is loaded, and it is never part of an image.",
);

const HttpsListenSchema = z.strictObject({
  https: parsedText(MAX_PATH_CHARS, parseListenPort).describe(
    'Where HTTPS is served: "0.0.0.0:443", "[::]:443", or a socket that systemd passes. TLS 1.2 and ' +
      "1.3, HTTP/2 and HTTP/1.1, on the native engine and behind the kernel's wall: docs/tls.md.",
  ),
  cert: CertText.optional(),
  key: KeyText.optional(),
  certs: z.array(z.strictObject({ cert: CertText, key: KeyText })).min(1).max(MOST.certs).optional()
    .describe(
      "Several certificates at one address, in place of `cert` and `key`. A client gets the one with " +
        "the name that it asks for, by its subjectAltName, wildcards included; where several have it, " +
        "the first of them. A client that asks for none, or for another name, gets the first one. One " +
        "certificate with all names costs less for each new connection.",
    ),
}).check(({ value, issues }) => {
  for (const at of ["cert", "key"] as const) {
    const common = { input: value[at], path: [at] };
    if (value.certs === undefined) {
      if (value[at] !== undefined || value.cert === value.key) continue;
      issues.push({ ...common, code: "invalid_type", expected: "string" });
    } else if (value[at] !== undefined) {
      const params = { code: "certs_twice", hint: `leave it out, or "certs"` };
      const message = `stands beside "certs", which has all of them`;
      issues.push({ ...common, code: "custom", message, params });
    }
  }
});

const PlainListenSchema = z.union([
  parsedText(MAX_PATH_CHARS, parseListen),
  UnixListenSchema.transform(toUnixText),
]);

const PROXY_PROTOCOL =
  "Whether each connection begins with a PROXY header, version 1 or 2, as HAProxy's `send-proxy` and " +
  "`send-proxy-v2`, Caddy, nginx and load balancers of clouds write it. Its address is then the " +
  "client's everywhere: in `info.remoteAddr`, the access log and the limits of `http`. A connection " +
  "without the header is closed. Set it only where nobody but the proxy can connect: whoever can, " +
  "says who he is.";
const ProxyProtocol = z.boolean().default(false).describe(PROXY_PROTOCOL);

const HTTP_PLACE =
  'Where plain HTTP is served, such as "0.0.0.0:80"; beside it stands `redirect`, `proxyProtocol` or both.';

const HttpListenSchema = z.strictObject({
  http: parsedText(MAX_PATH_CHARS, parseListen).describe(
    HTTP_PLACE,
  ),
  proxyProtocol: z.literal(true).describe(PROXY_PROTOCOL),
});

const RedirectListenSchema = z.strictObject({
  http: parsedText(MAX_PATH_CHARS, parseListenPort).describe(
    HTTP_PLACE,
  ),
  redirect: z.literal("https").describe(
    "Sends each request on, with 308, to the same host and path on the port of the first listener with " +
      "`https`. The app sees none of them.",
  ),
  proxyProtocol: ProxyProtocol,
});

const ListenSchema = z.union([
  PlainListenSchema.options[0],
  UnixListenSchema.extend({ proxyProtocol: ProxyProtocol })
    .transform((each): ListenText => ({ ...toUnixText(each), ...proxied(each) })),
  HttpsListenSchema.transform(({ https, cert = "", key = "", certs }): ListenText => ({
    ...https,
    // None for that of acme.
    tls: certs ?? (cert === "" ? [] : [{ cert, key }]),
  })),
  RedirectListenSchema.transform((each): ListenText => ({
    ...each.http,
    redirect: true,
    ...proxied(each),
  })),
  HttpListenSchema.transform((each): ListenText => ({ ...each.http, ...proxied(each) })),
]);

const HeaderName = z.string().max(64).regex(/^[A-Za-z0-9-]+$/, "expected a header's name");
const HeaderValue = z.string().max(1_024).regex(/^[\t\x20-\x7e]*$/, "expected a header's value");
const ProbePath = z.string().max(1_024).regex(
  /^\/[!-"$-~]*$/,
  'expected a path such as "/healthz" or "/list?page=1", with %20 in place of a space',
);

const ProbeSchema = z.strictObject({
  path: ProbePath.describe("The path, with a query if it has one."),
  status: z.array(z.int().min(200).max(599)).min(1).max(16).default([]).describe(
    "What it may be answered with, such as `[200, 302]`; by default any of 200 to 299.",
  ),
  timeoutMs: bounded(BOUNDS.probe.timeoutMs).default(DEFAULT_PROBE.timeoutMs).describe(
    "How long the whole answer may take, in milliseconds.",
  ),
  times: bounded(BOUNDS.probe.times).default(DEFAULT_PROBE.times).describe(
    "How often it is asked, one after the other. Each answer must be good.",
  ),
  headers: z.record(HeaderName, HeaderValue).default({}).describe(
    'Headers of the request, such as `{ "host": "www.example.com" }`.',
  ),
});

const toProbe = (path: string) => ({ path, status: [], headers: {}, ...DEFAULT_PROBE });

const ReloadSchema = z.strictObject({
  readyDeadlineMs: bounded(BOUNDS.reload.readyDeadlineMs).default(10_000)
    .describe(
      "How long new workers may take to become ready, in milliseconds. After that the reload fails " +
        "and the old workers keep serving. Raise it for an app with a long warm-up.",
    ),
  idleGraceMs: bounded(BOUNDS.reload.idleGraceMs).default(5_000)
    .describe(
      "How long an old worker keeps idle keep-alive connections open, in milliseconds, so that a " +
        "client that is about to send a request gets an answer. A request counts from when its head is " +
        "complete: a client that takes longer than this to send one is closed without an answer. Raise " +
        "it for clients that pause long between requests or send slowly, lower it for quicker reloads.",
    ),
  drainDeadlineMs: bounded(BOUNDS.reload.drainDeadlineMs).default(30_000)
    .describe(
      "How long requests in flight may take to finish after a reload, in milliseconds. The rest is cut " +
        "and counted. At least idleGraceMs. Raise it for long downloads and uploads.",
    ),
  shutdownDelayMs: bounded(BOUNDS.reload.shutdownDelayMs).default(0).describe(
    "How long the `readiness` path answers 503 before the server stops accepting connections, in " +
      "milliseconds. Until then everything else is answered as before. Set it longer than your load " +
      "balancer's check interval times its failure threshold. It is added to drainDeadlineMs, so allow " +
      "the service manager the sum of both for a stop. A reload has no such delay, since the new " +
      "workers accept on the same listeners at once. The former name `announceMs` is still accepted.",
  ),
  spreadMs: bounded(BOUNDS.reload.spreadMs).default(0).describe(
    "Over what time a reload closes WebSockets, with 1012 (service restart), and ends event streams, in " +
      "milliseconds: each at a random moment, so that their clients do not all come back at once. At most " +
      "drainDeadlineMs. By default they are closed at once, with 1001. Set it for thousands of such " +
      "clients. A stop does not wait for it.",
  ),
  webSockets: z.enum(["close", "keep"]).default("close").describe(
    "What a reload does with WebSockets. `close` closes them (`spreadMs`). With `keep` the old workers " +
      "and their helpers live on for them, until all have ended or `keepDeadlineMs` is over; everything " +
      "else drains as usual. Each generation that is kept holds the memory of its processes, some 60 " +
      "MiB a worker, and runs the old version of the app beside the new one. A stop and an upgrade " +
      "close them all the same. The value of the config in force counts: a reload with `close` also " +
      "ends what was kept before.",
  ),
  keepDeadlineMs: bounded(BOUNDS.reload.keepDeadlineMs).default(DEFAULT_KEEPING.keepDeadlineMs)
    .describe(
      'With `"webSockets": "keep"`: how long after a reload the old workers close what is still open, ' +
        "in milliseconds, with 1012, over `spreadMs`.",
    ),
  maxKept: bounded(BOUNDS.reload.maxKept).default(DEFAULT_KEEPING.maxKept).describe(
    'With `"webSockets": "keep"`: how many old generations are kept at the same time, besides ' +
      "`maxDraining`. One more, and the oldest closes what it has. The value of the config in force counts.",
  ),
  maxDraining: bounded(BOUNDS.reload.maxDraining).default(4)
    .describe(
      "How many old generations may drain at the same time. A reload that would exceed it waits until " +
        "one has ended. Each old generation keeps the memory of its processes: raise it if there is " +
        "enough for many reloads in a row. The value of the config in force counts.",
    ),
  keep: bounded(BOUNDS.reload.keep).default(5).describe(
    "How many versions that have served are kept besides the one that serves, for `holdfast rollback`. " +
      "Each is a copy of the app's modules; packages that several use are kept once.",
  ),
  probe: z.array(z.union([ProbePath.transform(toProbe), ProbeSchema])).max(MOST.probes).default([])
    .describe(
      "What the app of a new version must answer before it takes the place of the old one: paths, or " +
        "objects with `path`, and `status`, `timeoutMs`, `times`, `headers` as they are needed. Each new " +
        "worker is asked, by GET, within its process: nobody else sees it, and neither limits nor the " +
        "access log have a part in it. A wrong answer refuses the reload, and the old version serves on. " +
        "Reloads, rollbacks and upgrades ask; a start does not, since nothing better would serve then, " +
        "nor does a worker that takes the place of one that died.",
    ),
  widen: z.enum(["allow", "ask"]).default("allow").describe(
    "What happens to a reload that grants more than what serves: a path, a host, a fact, native code, a " +
      "weaker wall. `allow` brings it in, and tells what is new (`policy_widened`). `ask` refuses it, unless " +
      "it comes by `holdfast reload --widen`. The value of the version that serves decides. What is new of " +
      "`env`, `log`, `listen` and limits is told and never refused; a start, and a rollback, are not asked.",
  ),
  warmUp: z.array(ProbePath).max(MOST.warmUp).default([]).describe(
    "Paths that each new worker is asked for before it is probed, so that the first clients find the app " +
      "warm. What is answered does not matter. All of them have 5 s together, within readyDeadlineMs. " +
      "Name only what a GET does not change.",
  ),
}).check(({ value, issues }) => {
  if (value.spreadMs <= value.drainDeadlineMs) return;
  issues.push(asIssue(
    value.spreadMs,
    new Refusal(
      "spread_after_drain",
      `${value.spreadMs} is more than drainDeadlineMs (${value.drainDeadlineMs}): what is still open ` +
        "then is cut",
      `set it to ${value.drainDeadlineMs} or less, or raise drainDeadlineMs`,
    ),
    ["spreadMs"],
  ));
}).check(({ value, issues }) => {
  if (value.drainDeadlineMs >= value.idleGraceMs) return;
  issues.push(asIssue(
    value.drainDeadlineMs,
    new Refusal(
      "drain_before_grace",
      `${value.drainDeadlineMs} is less than idleGraceMs (${value.idleGraceMs}): ` +
        "idle connections would be cut within their grace time",
      `set it to ${value.idleGraceMs} or more, or lower idleGraceMs`,
    ),
    ["drainDeadlineMs"],
  ));
});

const RecycleSchema = z.strictObject({
  maxRequests: bounded(BOUNDS.recycle.maxRequests).optional().describe(
    "How many requests a worker answers before it is replaced. Set it for an app that leaks a little " +
      "memory with each request.",
  ),
  maxAgeMs: bounded(BOUNDS.recycle.maxAgeMs).optional().describe(
    "How old a worker may become before it is replaced, in milliseconds; at least 10000.",
  ),
  maxMemoryBytes: bounded(BOUNDS.recycle.maxMemoryBytes).optional().describe(
    "How much memory a worker may use (VmRSS of proc_pid_status(5)) before it is replaced, in bytes; " +
      "at least 128 MiB. It is measured once a second. Set it well below `limits.memoryBytes`, at " +
      "which a worker dies, and well above what the app needs from the start.",
  ),
});

const WatchdogSchema = z.strictObject({
  pulseDeadlineMs: z.union([z.literal(0), bounded(BOUNDS.watchdog.pulseDeadlineMs)])
    .default(10_000).describe(
      "How long the event loop of a worker may be blocked before the worker is replaced, in " +
        "milliseconds: at least 4000, or 0 to turn the watchdog off. What blocks it is computation " +
        "without an `await` that waits. Time in which the supervisor itself could not run does not " +
        "count. Raise it for an app with long computations, or better, move them to a helper.",
    ),
});

/** A limit on clients; 0 is none. */
function limit(key: keyof typeof HTTP_BOUNDS) {
  return bounded(HTTP_BOUNDS[key]).default(DEFAULT_HTTP[key]);
}

const HttpSchema = z.strictObject({
  headerTimeoutMs: limit("headerTimeoutMs").describe(
    "How long a new connection may take until its first request's head is complete, in milliseconds, a " +
      "PROXY header included (client_header_timeout in nginx, timeout http-request in HAProxy). Heads of " +
      "later requests fall under keepAliveTimeoutMs.",
  ),
  bodyTimeoutMs: limit("bodyTimeoutMs").describe(
    "How long the app may wait for the next piece of a request's body, in milliseconds " +
      "(client_body_timeout). Then the connection is cut. Time in which the app does not read does not " +
      "count. Raise it for clients that pause amid an upload.",
  ),
  sendTimeoutMs: limit("sendTimeoutMs").describe(
    "How long a client may take nothing of what is sent to it, in milliseconds (send_timeout). Then the " +
      "connection is cut. On TCP listeners it is also the kernel's TCP_USER_TIMEOUT, which counts time " +
      "without an acknowledgement from a host that is gone. Raise it for players that pause a download.",
  ),
  minBytesPerSecond: limit("minBytesPerSecond").describe(
    "How much of a body, or of an answer longer than 64 KiB, must pass at the least while the client is " +
      "waited for, as bytes a second (MinRequestBodyDataRate in Kestrel). It counts beyond " +
      "bodyTimeoutMs and sendTimeoutMs: a client that is slower uses these times up. 0 for any rate.",
  ),
  keepAliveTimeoutMs: limit("keepAliveTimeoutMs").describe(
    "How long a connection without a request is kept, in milliseconds (keepalive_timeout). The end is " +
      "announced where the protocol can. Behind a proxy that keeps connections, set it above the " +
      "proxy's own time.",
  ),
  webSocketIdleTimeoutMs: limit("webSocketIdleTimeoutMs").describe(
    "How long a WebSocket may pass no message either way, in milliseconds, until it is closed with 1001 " +
      "(timeout tunnel in HAProxy). No limit by default: a client that is gone is found by the " +
      "runtime's own pings on the sockets of `Deno.upgradeWebSocket`.",
  ),
  maxBodyBytes: limit("maxBodyBytes").describe(
    "The largest body of a request, in bytes (client_max_body_size). One whose Content-Length is larger " +
      "is answered with 413 at once, and the app does not see it. One that turns out larger fails where " +
      "the app reads it, and is answered with 413 if the app does not catch that. The default stops only " +
      "what has no end: set it to what the app takes.",
  ),
  maxRequestsPerConnection: limit("maxRequestsPerConnection").describe(
    "After how many requests a connection ends (keepalive_requests). Its last answer says so.",
  ),
  maxConnections: limit("maxConnections").describe(
    "How many connections a worker has open at most (worker_connections). Others wait in the kernel for " +
      "a worker that has room; on a Unix socket they are answered with 503. 0 for what " +
      "limits.descriptors allows.",
  ),
  maxConnectionsPerAddress: limit("maxConnectionsPerAddress").describe(
    "How many connections of one client a worker has open at most (limit_conn). An IPv6 client is its " +
      "/64. Others are closed at once. Addresses of `trustedProxies` and clients on Unix sockets are not " +
      "counted; with `proxyProtocol` the client's own address is. Many may share an address: set it in " +
      "the hundreds.",
  ),
  maxRequests: limit("maxRequests").describe(
    "How many requests a worker has in flight at most (maxconn of a server in HAProxy). Others are " +
      "answered with 503 and Retry-After at once. Set it for an app that is slower the more it does.",
  ),
  maxPenaltyMs: limit("maxPenaltyMs").describe(
    "How long a client that limits act on again and again is refused at the most, in milliseconds " +
      "(PerSourcePenalties in sshd). Its connections are closed at once; behind `trustedProxies` its " +
      "requests are answered with 429. It grows with each time that a client was cut for being too slow, " +
      "and fades by itself. An IPv6 client is its /64.",
  ),
  penaltyExempt: z.array(parsedText(64, parseExempt)).max(MOST.proxies)
    .default(DEFAULT_HTTP.penaltyExempt).describe(
      "Clients that are never refused for that: addresses, or ranges such as 192.0.2.0/24. By default " +
        "the private ones. Add whoever stands for many, such as a content network in front that is not " +
        "in `trustedProxies`.",
    ),
});

const LimitsSchema = z.strictObject({
  descriptors: bounded(BOUNDS.limits.descriptors).default(DEFAULT_LIMITS.descriptors).describe(
    "How many open files and connections a worker may have (RLIMIT_NOFILE); at most half of what " +
      "Holdfast may have. Connections beyond it wait in the kernel until others end; the log says " +
      "`accepting_stalled`.",
  ),
  processes: bounded(BOUNDS.limits.processes).default(DEFAULT_LIMITS.processes).describe(
    "How many threads and processes the user of the workers, or of the helper, may have in all " +
      "(RLIMIT_NPROC). The kernel does not enforce it for root.",
  ),
  fileBytes: bounded(BOUNDS.limits.fileBytes).default(DEFAULT_LIMITS.fileBytes).describe(
    "The largest file that a worker may write, in bytes (RLIMIT_FSIZE).",
  ),
  memoryBytes: bounded(BOUNDS.limits.memoryBytes).optional().describe(
    "How much writable memory a worker may have, in bytes (RLIMIT_DATA), JavaScript's heap included; " +
      "at least 128 MiB. No limit by default. A worker that needs more dies and is replaced.",
  ),
});

function grantKeys(whose: "app" | "helper") {
  return {
    unveil: z.record(
      PathText,
      parsedText(4, parseRights),
    ).refine((paths) => Object.keys(paths).length <= MOST.unveil, {
      error: `more than ${MOST.unveil} paths`,
      params: { code: "unveil_many", hint: "unveil the folder that contains them" },
    }).prefault({}).describe(GRANTS[whose].unveil),
    env: z.union([
      z.array(parsedText(MAX_NAME_CHARS, parseEnvName)).max(MOST.names).check(refuseRepeats),
      z.record(
        EnvNameText,
        z.union([
          z.literal(true),
          z.string().max(MAX_VALUE_CHARS).regex(/^[^\0]*$/, "expected no NUL"),
        ]),
      ).refine((names) => Object.keys(names).length <= MOST.names, `more than ${MOST.names} names`),
    ]).transform(toEnv).prefault([]).describe(GRANTS[whose].env),
    sys: z.array(z.enum(SYS_KINDS)).max(SYS_KINDS.length).check(refuseRepeats).prefault([])
      .describe(GRANTS[whose].sys),
    dropAfterOpen: z.array(PathText).max(MOST.unveil).check(refuseRepeats).prefault([])
      .describe(GRANTS[whose].dropAfterOpen),
    jitless: z.boolean().default(false).describe(GRANTS[whose].jitless),
    tmp: z.boolean().default(false).describe(GRANTS[whose].tmp),
    net: z.array(parsedText(MAX_NAME_CHARS, parseNet)).max(MOST.names)
      .check(refuseRepeats).prefault([]).describe(GRANTS[whose].net),
  };
}

const HelperSchema = z.strictObject({
  module: PathText.describe(
    "The helper's module, relative to the folder of the config file. Its default export is what " +
      "`defineHelper` returns.",
  ),
  ...grantKeys("helper"),
  native: z.boolean().default(false).describe(
    "Whether the helper may load native addons of its packages, such as those of sharp or libSQL. Deno's " +
      "permissions do not hold native code: the kernel's wall alone does, so that this is an error with " +
      '`"wall": "deno"`. A worker never may.',
  ),
  instances: bounded(BOUNDS.helper.instances).default(1).describe(
    "How many processes run the helper. Raise it for work that keeps a processor busy, and so that " +
      "one can answer while another has died or hangs.",
  ),
  concurrency: bounded(BOUNDS.helper.concurrency).default(16).describe(
    "How many calls an instance runs at once. Further calls wait in it; the workers take turns. Set " +
      "it to `1` for a job that must not run twice at the same time.",
  ),
  timeoutMs: bounded(BOUNDS.helper.timeoutMs).default(30_000).describe(
    "How long a call may take, in milliseconds, its streams included. After that it fails. An " +
      "instance that does not end the call then is stuck, and is replaced.",
  ),
  memoryBytes: bounded(BOUNDS.limits.memoryBytes).optional().describe(
    "How much writable memory an instance may have, in bytes (RLIMIT_DATA). The default is that of " +
      "`limits`.",
  ),
  restart: z.enum(["always", "never"]).default("always").describe(
    "Whether an instance that died is replaced; after repeated deaths with growing waits. While no " +
      "instance lives, and with `never` for good, calls fail when their time is over.",
  ),
});

const LogSchema = z.strictObject({
  folder: PathText.optional().describe(
    "Folder of `holdfast.log` and `access.log`, relative to the folder of the config file. It is " +
      "created if needed, and owned by the logger, a separate process that writes the files " +
      "(docs/accounts.md); it has no other permissions. Without this key there are no log files, and events go " +
      "only to stderr. No unveil may reach the folder.",
  ),
  access: z.enum(["off", "common", "combined", "json"]).default("combined").describe(
    "The format of `access.log`. `common` and `combined` are Apache's formats, in UTC; `json` is one " +
      "object a line, which also has the worker and the response time. `common` costs less than " +
      "`combined`, which adds referer and user agent. The client's address is that of the connection: " +
      "behind a proxy, the proxy's, unless `trustedProxies` names it.",
  ),
  rotateBytes: bounded(BOUNDS.log.rotateBytes).default(64 * 2 ** 20).describe(
    "The largest log file, in bytes. Then the file is renamed, with the time of its end in its name, " +
      "and a new one is started.",
  ),
  rotateHours: bounded(BOUNDS.log.rotateHours).default(24).describe(
    "How old a log file may be when a line is added, in hours; 0 for no limit. Set it to 0, and " +
      "rotateBytes high, if logrotate rotates the files.",
  ),
  keep: bounded(BOUNDS.log.keep).default(14).describe(
    "How many old files of each log are kept; the oldest are removed.",
  ),
  compress: z.boolean().default(true).describe("Whether old files are compressed with gzip."),
  outputLineBytes: bounded(BOUNDS.log.outputLineBytes).default(DEFAULT_OUTPUT_LIMITS.lineBytes)
    .describe(
      "The longest line that the app or a helper prints which is logged whole, in bytes. A longer line " +
        "is cut, and says so.",
    ),
  outputBytesPerSecond: bounded(BOUNDS.log.outputBytesPerSecond)
    .default(DEFAULT_OUTPUT_LIMITS.bytesPerSecond).describe(
      "How much of what a process prints is logged in the long run, in bytes a second. Standard output " +
        `and standard error count separately. A line counts its bytes and ${LINE_COST} more. Output ` +
        "beyond that is dropped; `worker_output_dropped` says how many lines. Raise it for an app that " +
        "logs a line for each request under load; each line costs the supervisor some time.",
    ),
  outputBurstBytes: bounded(BOUNDS.log.outputBurstBytes).default(DEFAULT_OUTPUT_LIMITS.burstBytes)
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
  listen: PlainListenSchema.describe(
    'Where a separate process answers `GET /metrics` for Prometheus: "127.0.0.1:9464", "[::1]:9464" ' +
      'or "unix:/run/app-metrics.sock", written as in `listen`. Only addresses of this machine are ' +
      "allowed, since the figures reveal much and there is no authentication.",
  ),
});

const AcmeSchema = z.strictObject({
  names: z.array(parsedText(MAX_NAME_CHARS, parseCertifiedName)).min(1).max(100)
    .check(refuseRepeats).describe(
      'The names that the certificate is for: "example.com", "www.example.com". Each must lead to this ' +
        "machine. One certificate has all of them; no wildcards. A name beyond ASCII is written as " +
        "`xn--…`.",
    ),
  email: z.email("expected an address such as admin@example.com").max(MAX_NAME_CHARS).optional()
    .describe("Where the authority writes to, if it does."),
  directory: parsedText(1_024, parseDirectory).default(LETS_ENCRYPT).describe(
    "The URL of the authority's ACME directory (RFC 8555). The default is Let's Encrypt. Try things " +
      'out with its staging directory, "https://acme-staging-v02.api.letsencrypt.org/directory", ' +
      "whose certificates no browser trusts: it has no strict limits.",
  ),
  trust: PathText.optional().describe(
    "File in PEM of one more authority that vouches for the directory's own server, relative to the " +
      "folder of the config file: for an authority of one's own, such as step-ca.",
  ),
});

const TracesSchema = z.strictObject({
  collector: parsedText(MAX_NAME_CHARS, parseCollector).describe(
    'Where the workers send their spans: "127.0.0.1:4318" or "[::1]:4318", an OpenTelemetry collector ' +
      "that takes OTLP over HTTP. It must be an address, not a name: the kernel's wall opens its port " +
      "for the worker, and nothing else.",
  ),
  service: z.string().max(64).regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
    "expected letters, digits and any of . _ -",
  ).describe("The name of the app in traces (`service.name`)."),
});

/** The name of an app: one word, of a file's name, a header or a message. */
export const APP_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$/;

/** The config file: every key with its default, its bounds and why one would change it. */
export const ConfigSchema = z.strictObject({
  $schema: z.string().optional()
    .describe("Where an editor finds the JSON Schema of this file. Holdfast ignores it."),
  app: PathText.describe(
    "The app's module, relative to the folder of the config file. Its project is the nearest " +
      "folder at or above it with a deno.json, deno.jsonc or package.json; that is also the working " +
      "directory of the app. Settings, import map, workspace and lock file are those that `deno run` " +
      "finds there. Packages that differ from the lock file are an error.",
  ),
  listen: z.array(ListenSchema).min(1).max(MOST.listen).describe(
    'Where the server listens: "127.0.0.1:8000", "[::1]:8000", "localhost:8000", ' +
      '"unix:/run/app.sock", { "unix": "/run/app.sock", "mode": "0660" }, or sockets that systemd ' +
      'passes: "systemd" for all, "systemd:NAME" for one by its FileDescriptorName. HTTPS is an object ' +
      'with "https", "cert" and "key", and { "http": "0.0.0.0:80", "redirect": "https" } beside it ' +
      'sends clients on. { "http": "127.0.0.1:8000", "proxyProtocol": true } is for a balancer in front ' +
      "that speaks the PROXY protocol. Other host " +
      'names are errors, since they may stand for several addresses. "0.0.0.0:8000" is every IPv4 ' +
      'address of the machine. "[::]:8000" alone is every IPv6 and IPv4 address; next to an IPv4 ' +
      "address with the same port it is IPv6 only. The socket stays open over reloads.",
  ),
  ...grantKeys("app"),
  envFile: PathText.optional().describe(
    "File with values for the variables that `env` lists, of the app and of helpers, relative to the " +
      "folder of the config file: a line each as in `NAME=value`, with `#` for comments and quotes " +
      "around a value that needs them. It is read at each start and reload, by the user that starts " +
      "Holdfast, and is never part of an image: for a new secret, change the file and reload. Other names " +
      "in it are ignored. No unveil may reach it.",
  ),
  workers: z.union([bounded(BOUNDS.workers), z.literal("auto")]).default(1).describe(
    "How many processes serve the app. A worker that dies is replaced without the others. " +
      `\`"auto"\` means one for each processor that the supervisor may use, at most ${
        BOUNDS.workers[1]
      }. ` +
      "Raise it for an app that keeps a processor busy. Workers share the listeners and nothing else: " +
      "what the app keeps in memory belongs to one worker.",
  ),
  spare: bounded(BOUNDS.spare).default(0).describe(
    "How many more workers are kept ready. They have loaded and opened the app, and accept nothing. One " +
      "of them serves within milliseconds in place of a worker that dies, hangs or is recycled. Each " +
      "takes the memory of a worker.",
  ),
  helpers: z.record(
    z.string().regex(HELPER_NAME, "expected lower case letters, digits and _, such as thumbnails"),
    HelperSchema,
  ).refine((helpers) => Object.keys(helpers).length <= MOST.helpers, {
    error: `more than ${MOST.helpers} helpers`,
    params: { code: "helpers_many", hint: "one helper may have many methods" },
  }).prefault({}).describe(
    "Modules for dangerous jobs. Each runs in a separate process that has only the permissions of its " +
      "entry here. The app calls a helper by its name; neither gets the other's permissions.",
  ),
  engine: z.enum(["native", "node"]).default("native").describe(
    "The HTTP server in the worker. `native` is Deno's own server, reached over an internal API; " +
      "where that is missing, and on Unix sockets, `node` is used instead. `node` is node:http: nearly " +
      "only public API, about a third as fast, and without HTTP/2. Both serve WebSockets. " +
      "docs/architecture.md lists the differences.",
  ),
  wall: z.enum(["kernel", "deno"]).default("kernel").describe(
    "What restricts the workers. `kernel`: Deno's permissions, and below them Landlock and seccomp, " +
      "which also restrict native code; a machine that lacks them is an error. `deno`: only Deno's " +
      "permissions.",
  ),
  onViolation: z.enum(["replace", "log"]).default("replace").describe(
    "What happens to a worker that tried to start a program or to signal another process. " +
      "`replace` kills it and starts another; `log` only logs it, up to a thousand times. The " +
      "former name `on_violation` is still accepted.",
  ),
  limits: LimitsSchema.prefault({}).describe(
    "Resource limits of a worker; only with the kernel's wall. A limit above that of Holdfast itself " +
      "is cut to it. A worker's memory is never written to a core file.",
  ),
  http: HttpSchema.prefault({}).describe(
    "What a worker allows its clients, so that slow and greedy ones harm nobody; docs/limits.md has the " +
      "whole. 0 turns a limit off. Times are looked at once a second. What has acted is in " +
      "`status`, the metrics, and the event `clients_limited`.",
  ),
  reload: ReloadSchema.prefault({}).describe(
    "Timeouts for starting new workers and draining old ones.",
  ),
  recycle: RecycleSchema.prefault({}).describe(
    "When a healthy worker is replaced; never by default. The new worker starts first, and the old " +
      "one drains as at a reload, so that nothing is lost. At most one worker of a generation is " +
      "replaced at a time. Each worker's limits are up to a tenth below or above these, so that workers " +
      "that started together are not due together. No worker is replaced before it has served for 10 s.",
  ),
  watchdog: WatchdogSchema.prefault({}).describe(
    "When a worker counts as stuck. Another worker is started first; then the old one is told to " +
      "drain, and killed 2 s later if it still does not respond.",
  ),
  trustedProxies: z.array(parsedText(64, parseProxy)).max(MOST.proxies).default([]).check(
    refuseRepeats,
  )
    .describe(
      'Proxies in front that say who the client is: addresses, ranges such as "10.0.0.0/8", or "unix" ' +
        "for whoever connects to a Unix socket. For their requests `info.remoteAddr` and the access " +
        "log have the client's address, and `request.url` begins with `https:` if " +
        "`X-Forwarded-Proto` says so. Without this key, and for everybody else, these headers are " +
        "only headers: any client can send them. Name only proxies that write the header themselves.",
    ),
  clientAddressHeader: z.string().max(64).regex(/^[A-Za-z0-9-]+$/, "expected a header's name")
    .toLowerCase().default("x-forwarded-for").describe(
      "The header in which `trustedProxies` say who the client is: a list that each proxy adds to, " +
        "such as `X-Forwarded-For`, or a single address, such as `X-Real-IP`. The list is read from " +
        "its end: the client is the first address that is no trusted proxy. `Forwarded` is read as " +
        "RFC 7239 says, with its scheme.",
    ),
  readiness: z.string().max(256).regex(
    /^(?!.*\/\.{1,2}(\/|$))(\/[A-Za-z0-9._~-]+)+$/,
    'expected a path such as "/ready", of letters, digits and . _ ~ -',
  ).optional().describe(
    'Path that tells a load balancer whether to send requests here, such as "/ready"; none by ' +
      "default. The worker itself answers it, on every listener, and the app never sees it: 200 and " +
      "`ready` while it serves, 503 and `draining` when Holdfast stops. During a reload it answers 200, " +
      "from old workers too, because the host keeps serving.",
  ),
  log: LogSchema.prefault({}).describe("Log files, in addition to the events on stderr."),
  metrics: MetricsSchema.optional().describe(
    "Metrics for Prometheus; none by default. A separate process serves them. It has no permissions, " +
      "and gets the figures of `holdfast status` from the supervisor once a second.",
  ),
  acme: AcmeSchema.optional().describe(
    "Gets the certificate of each listener with `https` and no `cert` by itself, from Let's Encrypt or " +
      "another authority that speaks ACME, and renews it: docs/tls.md. A separate process does that. " +
      "It is asked by the authority on port 80, so `listen` needs " +
      '{ "http": "0.0.0.0:80", "redirect": "https" } too. With this key you agree to the terms of ' +
      "the authority. Certificate, key and account are kept in the folder of `runtime`.",
  ),
  traces: TracesSchema.optional().describe(
    "OpenTelemetry traces of requests, and of starts and drains of workers, with Deno's own " +
      "support; none by default. Not available in an executable that `deno compile` makes.",
  ),
  user: accountName().optional().describe(
    "The user that workers run as when Holdfast starts as root: a name of /etc/passwd or a decimal " +
      "id, never root. Without it they have an id of Holdfast's own, as helpers always do: " +
      "docs/accounts.md. An error if Holdfast does not start as root. The user must be able to read the " +
      "app's modules and Deno's cache, and to enter the folder of `runtime`. Workers get no " +
      "supplementary groups, neither root's nor the user's own from /etc/group: files that they need " +
      "must belong to `user` or `group`, or be open to everyone.",
  ),
  group: accountName().optional().describe(
    "The group that workers run as: a name of /etc/group or a decimal id. The default is the primary " +
      "group of `user`. Set it if data belongs to another group.",
  ),
  name: z.string().regex(
    APP_NAME,
    "expected up to 64 letters, digits and any of _ -, the first a letter or digit",
  ).optional().describe(
    "The name of the app in what `holdfast compile` builds; the default is that of the config's " +
      "folder. `--name` goes before it. A new file takes an old one's place only if both have the same " +
      "name. Nothing else uses it.",
  ),
  runtime: PathText.default(DEFAULT_RUNTIME).describe(
    "Folder of the control socket, the lock, and the compiled code of each generation, relative to " +
      "the folder of the config file. Move it to /run if that folder is read-only, or is a different " +
      "one for each release of the app. A change needs a restart. No unveil may reach it.",
  ),
}).check(({ value, issues }) => {
  if (value.reload.shutdownDelayMs === 0 || value.readiness !== undefined) return;
  const refusal = new Refusal(
    "announce_without_readiness",
    `${value.reload.shutdownDelayMs} without a readiness path: no load balancer could see the delay`,
    'add "readiness": "/ready"',
  );
  issues.push(asIssue(value.reload.shutdownDelayMs, refusal, ["reload", "shutdownDelayMs"]));
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
  http: Object.keys(HttpSchema.shape),
  listen: [
    ...new Set(
      [UnixListenSchema, HttpsListenSchema, RedirectListenSchema].flatMap(({ shape }) =>
        Object.keys(shape)
      ),
    ),
  ],
  helpers: Object.keys(HelperSchema.shape),
};

function bounded([least, greatest]: readonly [number, number]) {
  return z.int().min(least).max(greatest);
}

function proxied({ proxyProtocol }: { proxyProtocol: boolean }): { proxyProtocol?: true } {
  return proxyProtocol ? { proxyProtocol } : {};
}

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

function parseCertifiedName(text: string): string | Refusal {
  const name = text.toLowerCase();
  const labels =
    /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
  if (labels.test(name) && /[a-z]/.test(name.split(".").at(-1)!)) return name;
  const message = text.startsWith("*.")
    ? `${quote(text)} is a wildcard: an authority asks for these by DNS, which is not supported`
    : `${quote(text)} is not the name of a host`;
  return new Refusal("acme_name", message, 'write names such as "example.com"');
}

function parseDirectory(text: string): string | Refusal {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "https:" && url.username === "" && url.password === "" && url.hash === "") {
    return url.href;
  }
  const message = `${quote(text)} is no URL with https`;
  return new Refusal("acme_directory", message, `write one such as ${quote(LETS_ENCRYPT)}`);
}

function parseProxy(text: string): string | Refusal {
  if (text === "unix") return text;
  const parsed = parseRange(text, 'write an address, a range such as "10.0.0.0/8", or "unix"');
  if (parsed instanceof Refusal || !parsed.endsWith("/0")) return parsed;
  return new Refusal(
    "proxy_anybody",
    `${quote(text)} is every address: any client could say that it is another`,
    "name the proxies, by their addresses or their range",
  );
}

function parseExempt(text: string): string | Refusal {
  return parseRange(text, 'write an address, or a range such as "192.0.2.0/24"');
}

function parseRange(text: string, hint: string): string | Refusal {
  const [, address, bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const isIpv6 = address?.includes(":") ?? false;
  const isAddress = address !== undefined &&
    canonicalIp(isIpv6 ? `[${address.toLowerCase()}]` : address) !== undefined;
  if (!isAddress || Number(bits ?? 1) > (isIpv6 ? 128 : 32)) {
    return new Refusal(
      "proxy_invalid",
      `${quote(text)} is no address`,
      hint,
    );
  }
  // A range of all may be written with any number of zeros.
  return Number(bits ?? 1) === 0 ? `${address}/0` : text;
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
      `rights ${quote(text)}: a worker never executes anything, so "x" is refused`,
      'leave "x" out',
    );
  }
  return [..."rwc"].filter((right) => text.includes(right)).join("");
}

function refuseRepeats({ value, issues }: z.core.ParsePayload<string[]>): void {
  for (const [index, text] of value.entries()) {
    if (value.indexOf(text) === index) continue;
    const refusal = new Refusal("entry_repeated", `${quote(text)} is repeated`, "write it once");
    issues.push(asIssue(text, refusal, [index]));
  }
}

function asIssue(input: unknown, { code, message, hint }: Refusal, path: PropertyKey[] = []) {
  return { code: "custom" as const, input, path, message, params: { code, hint } };
}
