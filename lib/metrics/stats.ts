/** Metrics for Prometheus, made from what `holdfast status` shows. No process, no socket. */
import { Counter, Gauge, Registry } from "prom-client";
import type { LimitKind } from "../base/http_limits.ts";
import type { ProcessStatus, Status } from "../protocol/control.ts";
import { STATUS_CLASSES } from "../protocol/latency.ts";
import { DurationHistogram } from "./duration_histogram.ts";

const STATES = ["starting", "serving", "draining", "kept", "gone"] as const;

/** What each process counts since it started. */
const COUNTED = ["accepted", "answered"] as const;

/** Counters of the supervisor, with their names in the metrics. */
const SUPERVISOR_COUNTERS = {
  holdfast_reloads_total: "Reloads by their outcome",
  holdfast_drains_total: "Generations that have drained, by their outcome",
  holdfast_drain_seconds_total: "Time that generations took to drain",
  holdfast_drain_cut_connections_total: "Connections that were cut at the end of a drain",
  holdfast_log_dropped_lines_total: "Events that the logger did not take",
  holdfast_events_total: "Events of the supervisor's log by their name",
} as const;

type SupervisorCounter = keyof typeof SUPERVISOR_COUNTERS;

interface NamedProcess {
  readonly role: string;
  readonly generation: string;
  readonly process: ProcessStatus;
}

/** The metrics of one supervisor. */
export class Stats {
  readonly #registry = new Registry();
  readonly #seen = new Map<string, number>();
  /** The last status of each process, by its number. */
  #last = new Map<number, ProcessStatus>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #counters = new Map<string, Counter>();
  readonly #durations = new DurationHistogram(
    "holdfast_request_duration_seconds",
    "From a request's coming to the app until the app has answered; the body may come later",
  );

  constructor() {
    for (const [name, help] of Object.entries(SUPERVISOR_COUNTERS)) {
      this.#counter(name, help, LABELS[name as SupervisorCounter]);
    }
    const role = ["role"];
    this.#counter("holdfast_accepted_total", "Connections accepted", role);
    this.#counter("holdfast_limited_total", "How often each limit of http has acted", ["limit"]);
    this.#counter("holdfast_answered_total", "Requests, or calls of helpers, answered", role);
    this.#counter("holdfast_responses_total", "Answers of the app, by status", ["status"]);
    this.#durations.register(this.#registry);
    const each = ["role", "generation", "worker"];
    this.#gauge("holdfast_info", "Versions; always 1", ["holdfast", "deno"]);
    this.#gauge("holdfast_supervisor_age_seconds", "Since the supervisor started", []);
    this.#gauge("holdfast_generations", "Generations by state", ["state"]);
    this.#gauge("holdfast_workers", "Living workers by the state of their generation", ["state"]);
    this.#gauge(
      "holdfast_workers_missing",
      "Workers of the serving generation without a process",
      [],
    );
    this.#gauge("holdfast_waiting", "Connections that wait to be accepted", ["listen"]);
    this.#gauge("holdfast_accepting", "0 while connections wait and no worker accepts any", []);
    this.#gauge(
      "holdfast_replacements",
      "Processes of living generations that took another's place",
      role,
    );
    this.#gauge("holdfast_connections", "Connections open; a helper's are workers", each);
    this.#gauge("holdfast_web_sockets", "WebSockets among them", each);
    this.#gauge("holdfast_in_flight", "Requests in flight; a helper's are calls", each);
    this.#gauge("holdfast_process_memory_bytes", "What is in memory (VmRSS)", each);
    this.#gauge(
      "holdfast_process_descriptors",
      "Open descriptors; 0 where the kernel says nothing",
      each,
    );
    this.#gauge("holdfast_process_age_seconds", "Since the process started", each);
    this.#gauge(
      "holdfast_certificate_not_after_seconds",
      "When the certificate ends that acme has got, in seconds since 1970",
      ["name"],
    );
    this.#gauge("holdfast_process_denied", "Calls that the kernel refused the process", each);
  }

  /** The type of {@link Stats.text}. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The metrics in Prometheus' text format. */
  async text(): Promise<string> {
    return await this.#registry.metrics();
  }

  /** Takes in a status. What a process does after its last status is not counted. */
  observe(status: Status): void {
    for (const gauge of this.#gauges.values()) gauge.reset();
    const set = (name: string, value: number, labels: Record<string, string> = {}) =>
      this.#gauges.get(name)!.set(labels, value);
    set("holdfast_info", 1, { holdfast: status.holdfast, deno: status.deno });
    set("holdfast_supervisor_age_seconds", status.ageMs / 1000);
    this.#observeSupervisor(status);
    set("holdfast_accepting", Number(status.accepting));
    for (const [listen, count] of Object.entries(status.waiting)) {
      set("holdfast_waiting", count, { listen });
    }
    for (const state of STATES) {
      const generations = status.generations.filter((each) => each.state === state);
      const workers = generations.flatMap((each) => each.workers);
      set("holdfast_generations", generations.length, { state });
      set("holdfast_workers", workers.filter(({ process }) => process).length, { state });
      if (state !== "serving") continue;
      set("holdfast_workers_missing", workers.filter(({ process }) => !process).length);
    }
    for (const { role, count } of replacementsOf(status)) {
      this.#gauges.get("holdfast_replacements")!.inc({ role }, count);
    }
    const { acme } = status;
    for (const name of acme && !acme.selfSigned && acme.notAfter !== null ? acme.names : []) {
      set("holdfast_certificate_not_after_seconds", acme!.notAfter!, { name });
    }
    const last = new Map<number, ProcessStatus>();
    for (const { role, generation, process } of processesOf(status)) {
      const labels = { role, generation, worker: String(process.worker) };
      set("holdfast_connections", process.connections, labels);
      set("holdfast_in_flight", process.inFlight, labels);
      if (role === "worker") set("holdfast_web_sockets", process.webSockets ?? 0, labels);
      set("holdfast_process_memory_bytes", process.memoryBytes, labels);
      set("holdfast_process_descriptors", process.descriptors, labels);
      set("holdfast_process_age_seconds", process.ageMs / 1000, labels);
      set("holdfast_process_denied", process.denied, labels);
      last.set(process.worker, process);
      const before = this.#last.get(process.worker);
      if (role === "worker" && process.latency) {
        this.#durations.add(process.latency, before?.latency);
        for (const [index, status] of STATUS_CLASSES.entries()) {
          const [now, then] = [process.latency, before?.latency].map((each) =>
            each?.statuses[index] ?? 0
          ) as [number, number];
          this.#counters.get("holdfast_responses_total")!.inc({ status }, Math.max(0, now - then));
        }
      }
      for (const [limit, count] of Object.entries(process.limited ?? {})) {
        const more = count - (before?.limited?.[limit as LimitKind] ?? 0);
        this.#counters.get("holdfast_limited_total")!.inc({ limit }, Math.max(0, more));
      }
      for (const counter of COUNTED) {
        const more = process[counter] - (before?.[counter] ?? 0);
        // A worker that was taken over may report less than before: a counter never falls.
        this.#counters.get(`holdfast_${counter}_total`)!.inc({ role }, Math.max(0, more));
      }
    }
    this.#last = last;
    const supervisor = { role: "supervisor", generation: "", worker: "" };
    set("holdfast_process_memory_bytes", status.memoryBytes, supervisor);
    set("holdfast_process_descriptors", status.descriptors, supervisor);
    set("holdfast_process_age_seconds", status.ageMs / 1000, supervisor);
  }

  #observeSupervisor({ events, drains, logger }: Status): void {
    for (const outcome of ["done", "refused"]) {
      this.#reach("holdfast_reloads_total", events[`reload_${outcome}`] ?? 0, { outcome });
    }
    for (const [outcome, count] of Object.entries(drains.outcomes)) {
      this.#reach("holdfast_drains_total", count, { outcome });
    }
    this.#reach("holdfast_drain_seconds_total", drains.ms / 1000);
    this.#reach("holdfast_drain_cut_connections_total", drains.cut);
    this.#reach("holdfast_log_dropped_lines_total", logger?.dropped ?? 0);
    for (const [event, count] of Object.entries(events)) {
      this.#reach("holdfast_events_total", count, { event });
    }
  }

  /** Raises a counter to the supervisor's value. */
  #reach(name: SupervisorCounter, value: number, labels: Record<string, string> = {}): void {
    const key = `${name} ${Object.values(labels).join()}`;
    const before = this.#seen.get(key) ?? 0;
    this.#seen.set(key, value);
    // A counter that starts at 0 again, such as a new logger's, is added to the total.
    this.#counters.get(name)!.inc(labels, value < before ? value : value - before);
  }

  #counter(name: string, help: string, labelNames: string[]): void {
    const registers = [this.#registry];
    this.#counters.set(name, new Counter({ name, help, labelNames, registers }));
  }

  #gauge(name: string, help: string, labelNames: string[]): void {
    const registers = [this.#registry];
    this.#gauges.set(name, new Gauge({ name, help, labelNames, registers }));
  }
}

const LABELS: Record<SupervisorCounter, string[]> = {
  holdfast_reloads_total: ["outcome"],
  holdfast_drains_total: ["outcome"],
  holdfast_drain_seconds_total: [],
  holdfast_drain_cut_connections_total: [],
  holdfast_log_dropped_lines_total: [],
  holdfast_events_total: ["event"],
};

function processesOf(
  { generations, logger, metrics, resolver, acme = null }: Status,
): NamedProcess[] {
  const services = [
    ...[{ role: "logger", of: logger }, { role: "metrics", of: metrics }],
    ...[{ role: "resolver", of: resolver }, { role: "acme", of: acme }],
  ];
  const all = [
    ...services.map(({ role, of }) => ({
      role,
      generation: "",
      process: of?.process ?? null,
    })),
    ...generations.flatMap(({ generation, workers, spares = [], helpers }) =>
      [
        ...workers.map(({ process }) => ({ role: "worker", process })),
        ...spares.map((process) => ({ role: "worker (spare)", process })),
        ...helpers.map(({ helper, process }) => ({ role: `helper ${helper}`, process })),
      ].map((each) => ({ ...each, generation: String(generation) }))
    ),
  ];
  return all.flatMap(({ process, ...names }) => process ? [{ ...names, process }] : []);
}

function replacementsOf({ generations, logger, metrics, acme }: Status) {
  return [
    { role: "logger", count: logger?.replacements ?? 0 },
    { role: "metrics", count: metrics?.replacements ?? 0 },
    { role: "acme", count: acme?.replacements ?? 0 },
    ...generations.flatMap(({ replacements, helpers }) => [
      { role: "worker", count: replacements },
      ...helpers.map(({ helper, replacements }) => ({
        role: `helper ${helper}`,
        count: replacements,
      })),
    ]),
  ];
}
