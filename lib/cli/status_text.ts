/** A status as text: what is wrong first, then what is served, then each process. Pure. */
import { escapeUntrusted } from "../base/escape.ts";
import type { ProcessStatus, Status } from "../protocol/control.ts";
import type { FiltersOf } from "./process_filters.ts";
import { formatTable, wrapText } from "./table.ts";
import type { Tone, View } from "./text.ts";
import { formatAge, formatMemory } from "./units.ts";

type Generation = Status["generations"][number];

/** A line of a status, and how it is meant. */
type Note = readonly [Tone, string];

/** A note for each state other than `serving`. */
const STATES: Partial<Record<Status["state"], Note>> = {
  starting: ["warning", "STARTING: the first workers are starting, none serves yet"],
  upgrading: ["warning", "UPGRADING: the old workers serve until the new ones are ready"],
  failing: [
    "bad",
    "FAILING: crash loop, workers keep exiting soon after they start; see holdfast logs",
  ],
  stopping: [
    "warning",
    "STOPPING: requests in flight are finished, new connections are not accepted",
  ],
};

/** What matters most stands first; what has a rank is left out where there is no room. */
const COLUMNS = [
  { head: "ROLE" },
  { head: "STATE" },
  { head: "GEN", align: "right" },
  { head: "PID", align: "right" },
  { head: "AGE", align: "right" },
  { head: "IN FLIGHT", align: "right", rank: 0 },
  { head: "ANSWERED", align: "right" },
  { head: "MEMORY", align: "right" },
  { head: "CONNECTIONS", align: "right", rank: 1 },
  { head: "RESTARTS", align: "right", rank: 2 },
  { head: "DENIED", align: "right", rank: 3 },
  { head: "UID", align: "right", rank: 4 },
  { head: "WALL", rank: 5 },
  { head: "FILTERS", align: "right", rank: 6 },
  { head: "ENGINE", rank: 7 },
  { head: "ACCEPTED", align: "right", rank: 8 },
  { head: "FDS", align: "right", rank: 9 },
] as const;

/** What there is to say of a process, by the heads of the columns. */
type Row = Partial<Record<typeof COLUMNS[number]["head"], unknown>>;

const PAINTED: Readonly<Record<string, Tone>> = {
  DOWN: "bad",
  serving: "good",
  starting: "warning",
  draining: "faint",
  kept: "faint",
};

/** The status as text. */
export function formatStatus(
  status: Status,
  view: View,
  filtersOf: FiltersOf = () => undefined,
): string {
  const { width, paint } = view;
  const rows = rowsOf(status, filtersOf).map((row) =>
    COLUMNS.map(({ head }) => {
      const cell = String(row[head] ?? "");
      return head === "STATE" && PAINTED[cell] ? paint(PAINTED[cell], cell) : cell;
    })
  );
  const [first, ...others] = formatTable(COLUMNS.map((each) => ({ ...each })), rows, width).split(
    "\n",
  );
  return [formatNotes(status, view), "", paint("head", first!), ...others].join("\n");
}

/** What goes before the table. */
function formatNotes(status: Status, { width, paint }: View): string {
  const facts = factsOf(status).map((fact) => wrapText(harmless(fact), width, "  "));
  const notes = troublesOf(status).map(([tone, note]) => {
    const lines = wrapText(harmless(note), width, "  ").split("\n");
    return lines.map((line) => paint(tone, line)).join("\n");
  });
  return [...notes, ...facts].join("\n");
}

/** Reasons come from processes that nobody trusts: they move nothing on a terminal. */
function harmless(text: string): string {
  return text.split("\n").map((line) => escapeUntrusted(line, Infinity)).join("\n");
}

/** What is wrong, or under way, the worst first. */
export function troublesOf(status: Status): Note[] {
  const { state, accepting, logger, acme, upgradeRefused, lastReload } = status;
  const down = rowsOf(status, () => undefined).filter(({ STATE }) => STATE === "DOWN");
  const notes: (Note | undefined)[] = [
    STATES[state],
    accepting ? undefined : [
      "bad",
      `NOT ACCEPTING: ${formatWaiting(status)} wait, and no worker accepts them`,
    ],
    down.length === 0 ? undefined : [
      "bad",
      `DOWN: ${down.map(({ ROLE }) => ROLE).join(", ")}`,
    ],
    logger?.trouble === undefined ? undefined : ["bad", `NOTHING IS LOGGED: ${logger.trouble}`],
    acme?.selfSigned || acme?.trouble !== undefined
      ? [acme.selfSigned ? "bad" : "warning", formatCertificate(acme)]
      : undefined,
    upgradeRefused === null
      ? undefined
      : ["warning", `The last upgrade was refused: ${upgradeRefused}`],
    lastReload?.outcome === "refused" ? ["warning", formatReload(status)] : undefined,
  ];
  const rank = ([tone]: Note) => tone === "bad" ? 0 : 1;
  return notes.filter((note) => note !== undefined).toSorted((a, b) => rank(a) - rank(b));
}

/** What is served, and how. */
function factsOf(status: Status): string[] {
  const { holdfast, deno, config, logger, acme, metrics, lastReload } = status;
  const isHttps = (text: string) => status.https?.includes(text);
  return [
    `holdfast ${holdfast} (deno ${deno})  ${config}${formatName(status)}`,
    `listening on ${
      status.listeners.map((text) => isHttps(text) ? `${text} (HTTPS)` : text).join(", ")
    }`,
    ...logger ? [`log in ${logger.folder}, ${logger.dropped} events dropped`] : [],
    ...formatLimited(status),
    ...formatKept(status),
    ...acme && !acme.selfSigned && acme.trouble === undefined ? [formatCertificate(acme)] : [],
    ...metrics ? [`metrics on ${metrics.listen}`] : [],
    ...dialsByPort(status)
      ? [
        "dialling is judged by port alone, beyond Deno's own layer; see dialling_by_port in the log",
      ]
      : [],
    ...lastReload?.outcome === "refused" ? [] : [formatReload(status)],
  ];
}

/** A row for each process, and for each that should be there. */
function rowsOf(status: Status, filtersOf: FiltersOf): Row[] {
  const { logger, metrics, acme, resolver } = status;
  const rows: Row[] = [{
    ...{ ROLE: "supervisor", PID: status.pid, AGE: formatAge(status.ageMs) },
    ...{ MEMORY: formatMemory(status.memoryBytes), FDS: status.descriptors || "" },
  }];
  const add = (role: string, process: ProcessStatus | null, more: Row, ageMs = 0) =>
    rows.push({
      ...{ ROLE: role, STATE: process ? "" : "DOWN", ...more },
      ...process === null ? { AGE: formatAge(ageMs) } : factsOfProcess(process, filtersOf),
    });
  for (const [role, service] of Object.entries({ logger, metrics, acme, resolver })) {
    if (service) add(role, service.process, { RESTARTS: service.replacements });
  }
  for (const { pid, role, denied, memoryBytes, descriptors, endsInMs } of status.former ?? []) {
    rows.push({
      ...{ ROLE: `${role} (former)`, STATE: endsInMs === null ? "serving" : "draining" },
      ...{ PID: pid, FILTERS: filtersOf(pid), DENIED: denied },
      ...{ MEMORY: formatMemory(memoryBytes), FDS: descriptors || "" },
    });
  }
  for (const generation of status.generations) {
    const { workers, helpers, spares = [], ageMs } = generation;
    const common = (process: ProcessStatus | null): Row => ({
      STATE: process === null && generation.state === "serving" ? "DOWN" : generation.state,
      ...{ GEN: generation.generation, WALL: generation.wall },
    });
    for (const { index, process, replacements } of workers) {
      const role = workers.length === 1 ? "worker" : `worker.${index}`;
      add(role, process, { ...common(process), RESTARTS: replacements }, ageMs);
    }
    for (const process of spares) add("worker (spare)", process, common(process));
    for (const { helper, instance, process, replacements } of helpers) {
      const more = { ...common(process), RESTARTS: replacements };
      add(`helper ${helper}.${instance}`, process, more, ageMs);
    }
  }
  return rows;
}

function factsOfProcess(process: ProcessStatus, filtersOf: FiltersOf): Row {
  const { pid, uid, ageMs, engine, inFlight, connections, accepted, answered, denied } = process;
  return {
    ...{ PID: pid, UID: uid, AGE: formatAge(ageMs), ENGINE: engine === "none" ? "" : engine },
    ...{ "IN FLIGHT": inFlight, CONNECTIONS: connections, ACCEPTED: accepted, ANSWERED: answered },
    ...{ DENIED: denied, FILTERS: filtersOf(pid), MEMORY: formatMemory(process.memoryBytes) },
    FDS: process.descriptors || "",
  };
}

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
  return generations.filter(({ state }) => state === "kept").map((each: Generation) => {
    const sockets = each.workers.reduce((sum, { process }) => sum + (process?.webSockets ?? 0), 0);
    const left = formatAge(each.endsInMs ?? 0);
    return `generation ${each.generation} is kept for ${sockets} WebSockets, ${left} at the most`;
  });
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
