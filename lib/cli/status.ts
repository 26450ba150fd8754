import { EXIT } from "../base/exit_code.ts";
import type { ProcessStatus, Status } from "../protocol/control.ts";
import { askSupervisor } from "./control_client.ts";
import type { AskingCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { filtersBeside, type FiltersOf, statusJson } from "./process_filters.ts";
import { formatTable } from "./table.ts";
import { printLine } from "./terminal.ts";

type Generation = Status["generations"][number];

/**
 * The states with exit status 0. During an upgrade the old workers serve. While stopping, a probe must
 * not get a server killed that still finishes requests.
 */
const HEALTHY: readonly Status["state"][] = ["serving", "upgrading", "stopping"];

/** A line for each state other than `serving`. */
const STATES: Partial<Record<Status["state"], string>> = {
  starting: "STARTING: the first workers are starting, none serves yet",
  upgrading: "UPGRADING: the old workers serve until the new ones are ready",
  failing: "FAILING: crash loop, workers keep exiting soon after they start; see the log",
  stopping: "STOPPING: requests in flight are finished, new connections are not accepted",
};

/** Shows processes and generations. */
export const status: AskingCommand = async ({ config, json, system }) => {
  const { status } = await askSupervisor(await findSupervisor(config, system), "status", "status");
  printLine(json ? statusJson(status) : formatStatus(status, filtersBeside(status)));
  return HEALTHY.includes(status.state) ? EXIT.ok : EXIT.failing;
};

const HEAD = [
  "ROLE",
  "PID",
  "UID",
  "GENERATION",
  "STATE",
  "AGE",
  "ENGINE",
  "WALL",
  "FILTERS",
  "IN FLIGHT",
  "CONNECTIONS",
  "ACCEPTED",
  "ANSWERED",
  "DENIED",
  "MEMORY",
  "FDS",
];

const BLANK = HEAD.slice(6).map(() => "");

/** How often each limit has acted on the clients of all workers. */
function formatLimited({ generations }: Status): string[] {
  const counts = new Map<string, number>();
  for (const { process } of generations.flatMap(({ workers }) => workers)) {
    for (const [limit, count] of Object.entries(process?.limited ?? {})) {
      counts.set(limit, (counts.get(limit) ?? 0) + count);
    }
  }
  if (counts.size === 0) return [];
  return [`limited: ${[...counts].map(([limit, count]) => `${limit} ${count}`).join(", ")}`];
}

/** Old generations that live on for their WebSockets. */
function formatKept({ generations }: Status): string[] {
  return generations.filter(({ state }) => state === "kept").map(({ workers, ...each }) => {
    const sockets = workers.reduce((sum, { process }) => sum + (process?.webSockets ?? 0), 0);
    const left = formatAge(each.endsInMs ?? 0);
    return `generation ${each.generation} is kept for ${sockets} WebSockets, ${left} at the most`;
  });
}

/** The status as text. */
export function formatStatus(status: Status, filtersOf: FiltersOf = () => undefined): string {
  const rows: unknown[][] = [
    ["supervisor", status.pid, "", "", "", formatAge(status.ageMs), ...BLANK],
  ];
  const add = (role: string, process: ProcessStatus | null, generation?: Generation) =>
    rows.push([
      process ? role : `(no ${role})`,
      process?.pid ?? "",
      process?.uid ?? "",
      generation?.generation ?? "",
      generation?.state ?? "",
      formatAge(process?.ageMs ?? generation?.ageMs ?? 0),
      process?.engine === "none" ? "" : process?.engine ?? "",
      generation?.wall ?? "",
      (process && filtersOf(process.pid)) ?? "",
      process?.inFlight ?? "",
      process?.connections ?? "",
      process?.accepted ?? "",
      process?.answered ?? "",
      process?.denied ?? "",
      process ? formatMemory(process.memoryBytes) : "",
      process?.descriptors || "",
    ]);
  if (status.logger) add("logger", status.logger.process);
  if (status.metrics) add("metrics", status.metrics.process);
  if (status.acme) add("acme", status.acme.process);
  if (status.resolver) add("resolver", status.resolver.process);
  for (const { pid, role, denied, memoryBytes, descriptors, endsInMs } of status.former ?? []) {
    rows.push([
      ...[`${role} (former)`, pid, "", "", endsInMs === null ? "serving" : "draining", ""],
      ...["", "", filtersOf(pid) ?? "", "", "", "", "", denied],
      ...[formatMemory(memoryBytes), descriptors || ""],
    ]);
  }
  for (const generation of status.generations) {
    const { workers } = generation;
    for (const { index, process } of workers) {
      add(workers.length === 1 ? "worker" : `worker.${index}`, process, generation);
    }
    for (const process of generation.spares ?? []) add("worker (spare)", process, generation);
    for (const { helper, instance, process } of generation.helpers) {
      add(`helper ${helper}.${instance}`, process, generation);
    }
  }
  return [
    `holdfast ${status.holdfast} (deno ${status.deno})  ${status.config}${formatName(status)}`,
    `listening on ${
      status.listeners.map((text) => status.https?.includes(text) ? `${text} (HTTPS)` : text)
        .join(", ")
    }`,
    ...status.logger
      ? [
        `log in ${status.logger.folder}, ${status.logger.dropped} events dropped`,
        ...status.logger.trouble === undefined
          ? []
          : [`NOTHING IS LOGGED: ${status.logger.trouble}`],
      ]
      : [],
    ...STATES[status.state] === undefined ? [] : [STATES[status.state]!],
    ...status.accepting ? [] : [
      `NOT ACCEPTING: ${formatWaiting(status)} wait, and no worker accepts them; see the log`,
    ],
    ...formatLimited(status),
    ...formatKept(status),
    ...status.acme ? [formatCertificate(status.acme)] : [],
    ...status.metrics ? [`metrics on ${status.metrics.listen}`] : [],
    ...dialsByPort(status)
      ? [
        "dialling is judged by port alone, beyond Deno's own layer; see dialling_by_port in the log",
      ]
      : [],
    formatReload(status),
    "",
    formatTable(HEAD, rows),
  ].join("\n");
}

function formatCertificate(
  { listen, names, notAfter, selfSigned, trouble }: NonNullable<Status["acme"]>,
): string {
  const until = notAfter === null ? "?" : new Date(notAfter * 1000).toISOString();
  const state = selfSigned ? "NO CERTIFICATE YET, self-signed" : `certificate until ${until}`;
  const why = trouble === undefined ? "" : `; the last try failed: ${trouble}`;
  return `${state}, for ${names.join(", ")}, by ACME on ${listen.join(", ")}${why}`;
}

function dialsByPort({ generations }: Status): boolean {
  const processes = generations.flatMap(({ workers, helpers }) => [...workers, ...helpers]);
  return processes.some(({ process }) => process?.dialling === "ports");
}

function formatMemory(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}

/** Names the link by which the config was given: it may lead to another release by now. */
function formatName({ named, config }: Status): string {
  return named === undefined || named === config ? "" : ` (by ${named})`;
}

function formatWaiting({ waiting }: Status): string {
  const counts = Object.values(waiting);
  return `${counts.reduce((sum, count) => sum + count, 0)} connections or more`;
}

function formatReload({ reload, ...status }: Status): string {
  const last = formatLastReload(status);
  if (reload === "idle") return last;
  return `${last}; another one ${reload === "running" ? "is running" : "waits for a drain to end"}`;
}

function formatLastReload({ reloads, lastReload }: Pick<Status, "reloads" | "lastReload">): string {
  if (!lastReload) return "never reloaded";
  const { outcome, at, ms, reason } = lastReload;
  const why = reason === undefined ? "" : `: ${reason}`;
  return `${reloads} reloads, the last one ${outcome} at ${at} after ${ms} ms${why}`;
}

/** An age as a person reads it: `4s`, `3m 4s`, `2h 3m`, `1d 2h`. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const units: [number, string][] = [[86_400, "d"], [3_600, "h"], [60, "m"], [1, "s"]];
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0s";
  return units.slice(first, first + 2).map(([size, name], index) => {
    const limit = index === 0 ? Infinity : units[first]![0] / size;
    return `${Math.floor(seconds / size) % limit}${name}`;
  }).join(" ");
}
