/**
 * The command line and the environment of a worker, from the config alone. Pure: what a worker may
 * do can be read off the result.
 */
import { HoldfastError } from "../base/error.ts";
import type { Compartment, Config } from "../config/config.ts";
import { LENT_NAME, namesLent } from "../protocol/lent_name.ts";
import { PACKAGES_KEY } from "../protocol/module_image.ts";
import { programData } from "../protocol/program_data.ts";
import type { Grants } from "../protocol/to_worker.ts";
import type { ProcessCode } from "./process_code.ts";
import { socketsOf } from "./dialling.ts";
import { networkOf, type Walled } from "./wall.ts";

/** What a worker is granted, as lists for Deno's flags. */
export function workerGrants(config: Compartment): Grants & { sys: string[] } {
  // Deno has no right for dialling alone: it asks for these two beside that of `net`.
  const sockets = socketsOf(config.net);
  const paths = (rights: RegExp) => [
    ...config.unveil.filter((unveil) => rights.test(unveil.rights)).map((unveil) => unveil.path),
    ...sockets,
  ];
  return {
    read: paths(/r/),
    // Deno has one right for changing a file and for making one; it cannot tell `w` from `c`.
    write: paths(/[wc]/),
    net: [...config.net],
    env: [...config.env],
    sys: [...config.sys ?? []],
    ...config.dropAfterOpen?.length && { drop: [...config.dropAfterOpen] },
    ...config.native && { native: true },
  };
}

/** What of its code decides its flags. */
type Started = Pick<ProcessCode, "flags"> & Partial<Pick<ProcessCode, "packages">>;

/**
 * The arguments of the worker's `deno run`. The program itself comes on standard input, so that no
 * file on disk decides what a worker runs.
 *
 * Every kind that is not granted is denied by name: `node:child_process` adds `-A` to a `deno run`
 * that carries no permission flag, so that the least privileged would get everything.
 */
export function workerArguments(
  config: Walled,
  { flags, packages = [] }: Started,
  wall: Config["wall"] = "deno",
): string[] {
  const { read, write, net, env, sys, native } = workerGrants(config);
  const lent = config.listen?.some(({ tls }) => tls !== undefined) && !namesLent(net);
  // A comma is two paths to Deno; one in the name of the runtime folder leaves packages unread.
  const own = packages.filter((path) => !path.includes(","));
  const readable = [...read, ...own];
  const grant = (kind: string, values: string[]) =>
    values.length > 0 ? `--allow-${kind}=${joined(values)}` : `--deny-${kind}`;
  return [
    "run",
    "--quiet",
    "--ext=js",
    "--no-prompt",
    "--cached-only",
    ...flags,
    // What is not listed is not there, as with unveil: packages look for files that they can do without.
    ...readable.length > 0 ? [`--allow-read=${joined(readable)}`] : [],
    "--ignore-read",
    grant("write", write),
    grant("net", lent ? [...net, LENT_NAME] : net),
    // The same for variables.
    ...env.length > 0 ? [`--allow-env=${env.join(",")}`] : [],
    "--ignore-env",
    "--deny-run",
    // For its first lines alone, which give it up again: lib/child/later_filter.ts.
    wall === "kernel" && !native ? "--allow-ffi" : grant("ffi", native ? own : []),
    grant("sys", sys),
    "--deny-import",
    "-",
  ];
}

/** Whose command it is: `worker`, `logger`, `metrics`, `resolver`, `acme`, or `helper NAME`. */
export type Commanded = "worker" | "logger" | "metrics" | "resolver" | "acme" | `helper ${string}`;

/** How a process is started. */
export interface Command {
  readonly program: string;
  readonly args: string[];
  /** Beside what {@link workerEnvironment} gives. */
  readonly env: Readonly<Record<string, string>>;
  /** Files and folders of the program itself that it loads, besides what it runs. */
  readonly files: readonly string[];
}

/** What has V8 interpret, and make no code. */
const JITLESS = "--jitless";

/** Whether V8 makes no code in what a command starts: an executable of `deno compile` cannot be told so. */
export function interpretsAlone({ env }: Command): boolean {
  return env.DENO_V8_FLAGS === JITLESS;
}

/**
 * The command of a process that `deno run` runs.
 *
 * @param denoProgram absolute path
 */
export function denoCommand(
  denoProgram: string,
  config: Walled,
  code: Started,
  wall: Config["wall"],
): Command {
  return {
    program: denoProgram,
    args: workerArguments(config, code, wall),
    env: config.jitless ? { DENO_V8_FLAGS: JITLESS } : {},
    files: [],
  };
}

/** The command of a planner, which writes some folders and runs the deno program. */
export function plannerCommand(denoProgram: string, writes: readonly string[]): Command {
  return {
    program: denoProgram,
    args: [
      ...["run", "--quiet", "--ext=js", "--no-prompt", "--no-config", "--no-lock"],
      ...["--allow-read", `--allow-write=${joined(writes)}`],
      ...[`--allow-run=${denoProgram}`, "--allow-env", "--allow-sys=uid", "--deny-net"],
      ...["--deny-ffi", "-"],
    ],
    env: {},
    files: [],
  };
}

/**
 * What has Deno's own OpenTelemetry send spans, and nothing else
 * (https://docs.deno.com/runtime/fundamentals/open_telemetry/).
 */
function traceEnvironment(
  { collector, service }: NonNullable<Config["traces"]>,
  generation: number,
): Record<string, string> {
  return {
    OTEL_DENO_TRACING: "true",
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://${collector}`,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    // An uncaught error would go there as a log, whatever is switched off: to nobody.
    OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: "http://127.0.0.1:0",
    // What is left is sent when a worker leaves, and a collector that hangs must not keep it: all that
    // the queue holds goes in one batch.
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: "2048",
    OTEL_EXPORTER_OTLP_TIMEOUT: "500",
    // A stranger chooses how long the address is that a span repeats.
    OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: "1024",
    OTEL_SERVICE_NAME: service,
    OTEL_RESOURCE_ATTRIBUTES: `holdfast.generation=${generation}`,
  };
}

/**
 * The environment of a worker, built from nothing: the listed names and what Deno itself needs.
 *
 * @param environment the supervisor's own
 * @param generation what its spans are to name; 0 for a worker of none
 */
export function workerEnvironment(
  config: Walled,
  environment: Readonly<Record<string, string>>,
  denoDir: string,
  generation = 0,
): Record<string, string> {
  const values = { ...environment, ...config.envValues };
  const listed = config.env.flatMap((name) =>
    Object.hasOwn(values, name) ? [[name, values[name]!]] : []
  );
  const own: Readonly<Record<string, string>> = Object.fromEntries(listed);
  return {
    ...own,
    // By sendmmsg(2) the C library sends both questions about a name at once, which the filter refuses:
    // it cannot see to whom a message goes. So one is asked after the other (resolv.conf(5)).
    ...networkOf(config.net) === "names" && {
      RES_OPTIONS: [own.RES_OPTIONS ?? [], "single-request"].flat().join(" "),
    },
    DENO_DIR: denoDir,
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
    ...config.traces && traceEnvironment(config.traces, generation),
  };
}

/**
 * What a process that runs an image is given of it.
 *
 * @param image the text of the image
 * @param packagesFrom the URL from which packages are looked for
 */
export function imageInput(image: string, packagesFrom: string): string {
  return `${programData(PACKAGES_KEY, packagesFrom)}${image}`;
}

/** One list of a flag. Deno cannot spell a comma in it: a path with one would be two grants. */
export function joined(values: readonly string[]): string {
  const split = values.find((value) => value.includes(","));
  if (split !== undefined) {
    throw new HoldfastError(
      `Cannot grant ${split}: in Deno's lists a comma makes two entries of it`,
      {
        kind: "config",
        code: "path_unfit",
        hint: "Rename the folder, or set runtime in the config to another one",
      },
    );
  }
  return values.join(",");
}
