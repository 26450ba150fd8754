/** The policy of a config: what each process may do, and which layer enforces it. Pure. */
import { join } from "node:path";
import type { Compartment, Config, HelperConfig, ListenAddress } from "../config/config.ts";
import { LEAST_ABI, type PathRule } from "../sandbox/landlock.ts";
import { missingIn } from "../sandbox/landlock_gaps.ts";
import {
  type Command,
  type Commanded,
  interpretsAlone,
  workerEnvironment,
} from "../sandbox/worker_command.ts";
import { acmeCompartment } from "../sandbox/acme_compartment.ts";
import { logCompartment } from "../sandbox/log_compartment.ts";
import { metricsCompartment } from "../sandbox/metrics_compartment.ts";
import { namesOf, resolverCompartment } from "../sandbox/resolver_compartment.ts";
import { isUnix } from "../sandbox/dialling.ts";
import type { ProcessCode } from "../sandbox/process_code.ts";
import { temporaryIn } from "../config/temporary.ts";
import { withTemporary } from "../sandbox/temporary.ts";
import { type Wall, type Walled, type WallFacts, workerWall } from "../sandbox/wall.ts";

/** A process: `supervisor`, `worker`, `logger`, `metrics`, `resolver`, `acme`, or `helper NAME`. */
export type ProcessName = "supervisor" | Commanded;

/** One thing that a process may do. */
export interface Permission {
  readonly process: ProcessName;
  readonly may: string;
  readonly what: readonly string[];
  /** The layers that enforce it. */
  readonly by: string;
}

export interface Explanation {
  /** The command lines of the processes behind a wall. */
  readonly commands: readonly { readonly process: ProcessName; readonly command: string[] }[];
  readonly rules: readonly Permission[];
  /** What the wall asks of the kernel, and what this kernel lacks; a line each. */
  readonly kernel: readonly string[];
}

/** What an explanation depends on besides the config. */
export interface ExplainFacts extends Omit<WallFacts, "files" | "code" | "interpretsAlone"> {
  readonly environment: Readonly<Record<string, string>>;
  readonly commandOf: (who: Commanded, compartment: Compartment) => Command;
  /** The logger's program, that of the metrics process, the resolver's, and that of the acme process. */
  readonly logger: string;
  readonly metrics: string;
  readonly resolver: string;
  readonly acme: string;
  /** Whom a process runs as; the default is whom the config names. */
  readonly accountOf?: (who: Commanded) => string;
  /** What a process runs. */
  readonly codeOf: (who: Commanded) => ProcessCode;
}

/** Explains a config on a machine. */
export function explainPolicy(given: Config, facts: ExplainFacts): Explanation {
  const config = withTemporaries(given);
  const command = (who: Commanded, compartment: Compartment) => {
    const { program, args, env } = facts.commandOf(who, compartment);
    return [...Object.entries(env).map(([name, value]) => `${name}=${value}`), program, ...args];
  };
  const { folder } = config.log;
  const logger = folder === undefined ? undefined : logCompartment(config, folder, facts.logger);
  const metrics = config.metrics &&
    metricsCompartment(config, config.metrics.listen, facts.metrics);
  const acme = config.acme && acmeCompartment(config, config.acme, facts.acme);
  const names = config.wall === "kernel" ? namesOf(config) : [];
  const resolver = names.length > 0
    ? resolverCompartment(config, names, facts.resolver)
    : undefined;
  return {
    commands: [
      { process: "worker", command: command("worker", config) },
      ...config.helpers.map((helper) => ({
        process: `helper ${helper.name}` as const,
        command: command(`helper ${helper.name}`, helper),
      })),
      ...logger ? [{ process: "logger" as const, command: command("logger", logger) }] : [],
      ...metrics ? [{ process: "metrics" as const, command: command("metrics", metrics) }] : [],
      ...acme ? [{ process: "acme" as const, command: command("acme", acme) }] : [],
      ...resolver ? [{ process: "resolver" as const, command: command("resolver", resolver) }] : [],
    ],
    rules: [
      ...supervisorRules(config, facts),
      ...workerRules(config, facts),
      ...config.helpers.flatMap((helper) => helperRules(helper, config, facts)),
      ...logger ? loggerRules(logger, config, facts) : [],
      ...metrics ? metricsRules(metrics, config, facts) : [],
      ...acme ? acmeRules(acme, config, facts) : [],
      ...resolver ? resolverRules(resolver, config, facts) : [],
    ],
    kernel: kernelLines(config, facts.abi),
  };
}

/** With the private folders that processes are given when they start; their names are made up then. */
function withTemporaries(config: Config): Config {
  const show = <Kind extends Compartment>(compartment: Kind): Kind => {
    const path = compartment.tmp ? join(temporaryIn(config.runtime), "NAME") : undefined;
    return withTemporary(compartment, path);
  };
  return { ...show(config), helpers: config.helpers.map(show) };
}

function supervisorRules(config: Config, { denoProgram }: ExplainFacts): Permission[] {
  const rule = (may: string, ...what: string[]): Permission => ({
    process: "supervisor",
    may,
    what,
    by: "Deno",
  });
  return [
    rule("read", "everything that its user may read, to check the config"),
    rule("write", config.runtime),
    rule("listen", ...config.listen.map(servedAt)),
    ...config.acme ? [rule("listen", ...config.acme.listen.map(servedAt))] : [],
    ...config.metrics ? [rule("listen", config.metrics.listen.text)] : [],
    rule("run", denoProgram),
    rule("call", "the C library, by the functions in lib/os"),
  ];
}

function servedAt({ text, tls, redirect }: ListenAddress): string {
  return tls ? `${text} (HTTPS)` : redirect ? `${text} (sends on to HTTPS)` : text;
}

function workerRules(config: Config, facts: ExplainFacts): Permission[] {
  const wall = wallOf("worker", config, config, facts);
  const lanes = config.helpers.map(({ name }) => name);
  const keys = [...new Set(config.listen.flatMap(({ tls = [] }) => tls.map(({ key }) => key)))];
  return compartmentRules("worker", config, facts, wall, [
    {
      may: "accept",
      what: config.listen.map(servedAt),
      by: config.listen.some(({ tls }) => tls)
        ? "listeners from the supervisor; HTTPS by seccomp, which asks it"
        : "listeners from the supervisor",
    },
    ...keys.length > 0
      ? [{ may: "hold", what: keys, by: "the supervisor sends it; the app does not find it" }]
      : [],
    { may: "call", what: lanes, by: "lanes from the supervisor" },
    ...config.traces
      ? [{
        may: "trace to",
        what: [config.traces.collector],
        by: wall ? "Deno's exporter; seccomp asks the supervisor" : "Deno's exporter",
      }]
      : [],
  ]);
}

function helperRules(helper: HelperConfig, config: Config, facts: ExplainFacts): Permission[] {
  const { name, instances, concurrency, timeoutMs, restart } = helper;
  const wall = wallOf(`helper ${name}`, helper, config, facts);
  const times = `${instances} ${instances === 1 ? "process" : "processes"}`;
  return compartmentRules(`helper ${name}`, helper, facts, wall, [
    { may: "accept", what: [], by: "it gets no listener" },
    {
      may: "answer",
      what: [
        "the workers of its own generation",
        `${times}, each ${concurrency} calls at once, ${timeoutMs} ms a call`,
        restart === "always" ? "replaced when it dies" : "not replaced when it dies",
      ],
      by: "lanes from the supervisor",
    },
    { may: "call", what: [], by: "it has no lane to another" },
  ]);
}

/** Settings files above the log folder are not the logger's. */
function loggerRules(logger: Compartment, config: Config, facts: ExplainFacts): Permission[] {
  return compartmentRules("logger", logger, facts, wallOf("logger", logger, config, facts), [
    { may: "accept", what: [], by: "it gets no listener" },
    { may: "answer", what: [], by: "it only receives" },
    { may: "call", what: [], by: "it has no lane to a helper" },
  ]);
}

function metricsRules(metrics: Walled, config: Config, facts: ExplainFacts): Permission[] {
  const where = metrics.listen?.map(({ text }) => text) ?? [];
  return compartmentRules("metrics", metrics, facts, wallOf("metrics", metrics, config, facts), [
    { may: "accept", what: where, by: "a listener from the supervisor" },
    { may: "answer", what: ["GET /metrics, with figures from the supervisor"], by: "a feed" },
    { may: "call", what: [], by: "it has no lane to a helper" },
  ]);
}

function acmeRules(acme: Walled, config: Config, facts: ExplainFacts): Permission[] {
  const where = acme.listen?.map(({ text }) => text) ?? [];
  return compartmentRules("acme", acme, facts, wallOf("acme", acme, config, facts), [
    { may: "accept", what: where, by: "a listener from the supervisor" },
    { may: "answer", what: ["the authority's questions; others are sent on to HTTPS"], by: "HTTP" },
    { may: "tell", what: ["the supervisor that its certificate has changed"], by: "a feed" },
    { may: "call", what: [], by: "it has no lane to a helper" },
  ]);
}

function resolverRules(resolver: Walled, config: Config, facts: ExplainFacts): Permission[] {
  const wall = wallOf("resolver", resolver, config, facts);
  // Deno's own layer takes a look-up for dialling.
  return compartmentRules("resolver", { ...resolver, net: [] }, facts, wall, [
    { may: "look up", what: resolver.net, by: "Deno; of the name servers, seccomp asks" },
    { may: "accept", what: [], by: "it gets no listener" },
    { may: "answer", what: ["what these names resolve to, to the supervisor"], by: "a feed" },
    { may: "call", what: [], by: "it has no lane to a helper" },
  ]);
}

function wallOf(
  who: Commanded,
  compartment: Walled,
  { wall }: Config,
  { arch, abi, denoProgram, forbidden, codeOf, commandOf }: ExplainFacts,
): Wall | undefined {
  if (wall !== "kernel") return undefined;
  const own = { code: codeOf(who), interpretsAlone: interpretsAlone(commandOf(who, compartment)) };
  return workerWall(compartment, { arch, abi, denoProgram, forbidden, files: [], ...own });
}

/** The rules of a process behind a wall; `own` are those of its kind. */
function compartmentRules(
  process: Commanded,
  compartment: Walled,
  facts: ExplainFacts,
  wall: Wall | undefined,
  own: readonly Omit<Permission, "process">[],
): Permission[] {
  const both = (layer: string) => wall ? `Deno, ${layer}` : "Deno";
  const rule = (may: string, what: readonly string[], by: string): Permission => ({
    process,
    may,
    what: what.length > 0 ? what : ["nothing"],
    by,
  });
  const paths = (letter: string) =>
    compartment.unveil.filter(({ rights }) => rights.includes(letter)).map(({ path }) => path);
  const names = Object.keys(
    workerEnvironment(compartment, facts.environment, facts.codeOf(process).denoDir),
  );
  const { account } = compartment;
  const user = facts.accountOf?.(process) ??
    (account ? `uid ${account.uid}, gid ${account.gid}` : "the user that starts Holdfast");
  return [
    rule("be", [user], "the kernel"),
    rule("read", paths("r"), both("Landlock")),
    rule("write", paths("w"), both("Landlock")),
    rule("create", paths("c"), both("Landlock")),
    ...wall ? [rule("load", machinePaths(compartment, wall), "Landlock")] : [],
    ...dialRules(compartment.net, both).map(([what, by]) => rule("dial", what, by)),
    ...compartment.native
      ? [rule("load natively", ["addons of its packages"], both("Landlock"))]
      : [],
    ...own.map(({ may, what, by }) => rule(may, what, by)),
    ...compartment.dropAfterOpen?.length
      ? [rule("drop", compartment.dropAfterOpen, "Deno, once it has opened")]
      : [],
    rule("run", [], both("seccomp asks the supervisor")),
    ...wall
      ? [rule("be held by", stagesOf(wall), "seccomp; `status --wide` counts them as FILTERS")]
      : [],
    ...wall ? [rule("add code", codeOf(wall), "seccomp, from its second program on")] : [],
    rule("signal", [], both("seccomp, Landlock")),
    rule("see", names, "the environment starts empty"),
    ...wall
      ? [rule("use up", wall.limits.map(({ name, value }) => `${name}: ${value}`), "rlimits")]
      : [],
  ];
}

/** The programs that hold it, by its stage. */
function stagesOf({ code }: Wall): string[] {
  const first = "from its spawn: one program";
  if (code === undefined) return [`${first}, and no second one, since it loads native code`];
  return [first, "from its first lines on, before anything is loaded or given: a second one"];
}

/** What may become code in it, once it has started. */
function codeOf({ code }: Wall): string[] {
  if (code === undefined) return ["whatever its packages bring, and what V8 compiles"];
  return [
    ...code.compiled ? ["what V8 compiles"] : [],
    ...code.libraries ? ["libraries of the system, for names"] : [],
  ];
}

/** Unix sockets apart: nothing but the supervisor judges them. */
function dialRules(
  net: readonly string[],
  both: (layer: string) => string,
): [what: readonly string[], by: string][] {
  const [sockets, others] = [net.filter(isUnix), net.filter((entry) => !isUnix(entry))];
  const asked = "seccomp asks the supervisor";
  return [
    ...others.length > 0 || sockets.length === 0
      ? [[others, both(`${asked}, Landlock by port`)] as [string[], string]]
      : [],
    ...sockets.length > 0 ? [[sockets, both(`${asked}, by path`)] as [string[], string]] : [],
  ];
}

/** What the runtime itself reads; Deno's own permissions do not give it to the app. */
function machinePaths({ unveil }: Compartment, { landlock }: Wall): string[] {
  const granted = new Set(unveil.map(({ path }) => path));
  const letters = ({ rights }: PathRule) =>
    [["readFile", "r"], ["writeFile", "w"], ["execute", "x"]]
      .filter(([right]) => (rights as readonly string[]).includes(right!))
      .map(([, letter]) => letter).join("");
  return landlock.paths.filter(({ path }) => !granted.has(path))
    .map((rule) => `${rule.path} ${letters(rule)}`);
}

function kernelLines({ wall }: Config, abi: number): string[] {
  if (wall === "deno") {
    return ["The config does not ask for the kernel's wall: native code is not restricted."];
  }
  if (abi < LEAST_ABI) {
    return [
      `The config asks for the kernel's wall, but this machine does not have it (Landlock ABI ${abi}).`,
    ];
  }
  return [
    `The kernel's wall: no_new_privs, Landlock ABI ${abi}, seccomp, limits, a separate process group.`,
    "A second seccomp program, which each process installs by its first lines: nothing that only a start " +
    "needs. The supervisor sees that it is there before it gives anything.",
    "Dialling: the supervisor is asked about each address, and dials itself. Where it may not read a " +
    'process\'s memory, only the ports are ruled: `holdfast status --json` says "dialling": "ports".',
    ...missingIn(abi).map((missing) => `Not ruled by this kernel's Landlock: ${missing}`),
  ];
}
