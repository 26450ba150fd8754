/** What is looked at every second: the listeners, the incumbent, the logger, and memory after a reload. */
import { log } from "../base/log.ts";
import { killChild } from "../os/child.ts";
import { maySendDescriptor } from "../os/socket.ts";
import { countWatches, FEW_WATCHES, mayWatch } from "../os/epoll.ts";
import { roleText } from "../protocol/role.ts";
import { bestEffort } from "./best_effort.ts";
import { children } from "./child_table.ts";
import { isLost, type Listener } from "./listener.ts";
import type { Parts } from "./parts.ts";
import { descriptorLimit } from "./process_facts.ts";
import { serviceState } from "./status_page.ts";
import { LOOK_INTERVAL_MS } from "./health.ts";

/** What is to be left for the supervisor itself; for that many it is tried each time. */
const LEAST_WATCHES = 256;

/** How long a generation is there when the memory that it took to bring it up is given back. */
const QUIET_MS = 5_000;

export class PeriodicChecks {
  readonly #parts: Parts;
  readonly #timer = setInterval(() => this.#look(), LOOK_INTERVAL_MS);
  /** The generation since which memory was given back. */
  #released = 0;

  /** Checks from now on. */
  constructor(parts: Parts) {
    this.#parts = parts;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { operations, generations, listeners, manager, runtime } = this.#parts;
    const { incumbent } = generations;
    if (incumbent && !operations.signal.aborted) manager?.setStatus(serviceState(this.#parts));
    this.#parts.waiting = {};
    for (const listener of listeners.app) this.#lookAtListener(listener);
    const waiting = Object.values(this.#parts.waiting).reduce((sum, count) => sum + count, 0);
    incumbent?.lookAtAcceptance(waiting);
    this.#lookAtIncumbent();
    this.#lookAtLogs();
    bestEffort("look at what its user has left", () => this.#lookAtBudgets());
    void runtime.look();
    this.#releaseMemory();
  }

  /** Once for each generation that serves for a while: it takes its time. */
  #releaseMemory(): void {
    const { generations: { incumbent, last }, operations, system } = this.#parts;
    if (!incumbent || last === this.#released || operations.reload !== "idle") return;
    if (performance.now() - incumbent.startedMs < QUIET_MS) return;
    this.#released = last;
    bestEffort("give memory back", system.releaseMemory);
  }

  /**
   * Only a worker can have changed a listener, and which one nobody can tell: the socket is one. Where
   * it was made to stop none takes connections there until it listens anew, so all are killed. For the
   * rest they are replaced one by one, which loses nothing; the only one there is is killed.
   */
  #lookAtListener(listener: Listener): void {
    const { text } = listener;
    const { waiting, troubles, former, generations: { incumbent, all } } = this.#parts;
    const generation = incumbent?.number;
    troubles.look(
      text,
      isLost(listener) ? "its file was removed or replaced" : undefined,
      (reason) => {
        log.error("listener_lost", { listen: text, reason, hint: "HUP binds it anew" });
      },
    );
    bestEffort(`set the options of ${text} back`, () => {
      const options = listener.setBack();
      if (options.length === 0) return;
      log.error("listener_changed", { listen: text, generation, options });
      if (incumbent?.config.onViolation !== "replace") return;
      const alone = all.length === 1 && (former?.pids.length ?? 0) === 0;
      void incumbent.replaceWorkers(`changed ${text}`, alone);
    });
    bestEffort(`look at what waits on ${text}`, () => waiting[text] = listener.waiting());
    bestEffort(`listen on ${text} again`, () => {
      if (!listener.listenAgain()) return;
      log.error("listener_stopped", { listen: text, generation });
      for (const { process } of incumbent?.workers ?? []) {
        process?.killFor(`made ${text} stop`);
      }
    });
  }

  #lookAtLogs(): void {
    const { services, troubles } = this.#parts;
    const { log: { folder }, trouble } = services.logs ?? { log: { folder: "" } };
    troubles.look("log", trouble, (reason) => log.error("log_unwritten", { folder, reason }));
  }

  /**
   * What may be watched, and what may be sent and not received yet, is counted for all processes of a
   * user together. Where it is used up no process can be started, or handed a listener, any more: so
   * whoever has used it up is killed, with what it has in flight.
   */
  #lookAtBudgets(): void {
    const event = !mayWatch(LEAST_WATCHES)
      ? "watches_used_up"
      : maySendDescriptor()
      ? undefined
      : "descriptors_used_up";
    if (event === undefined) return;
    const counts = [...children].map(([pid, { role }]) => {
      return { pid, role, count: countWatches(pid, descriptorLimit(pid) ?? 0) };
    });
    const [most] = counts.toSorted((one, other) => other.count - one.count);
    const found = most !== undefined && most.count > FEW_WATCHES;
    log.error(event, {
      ...found && { pid: most.pid, role: roleText(most.role) },
      killed: found,
      hint: "What it has in flight is lost. Processes of one user share this: see SECURITY.md",
    });
    if (found) killChild(most.pid);
  }

  /** Tells when the incumbent begins to fail, and when that is over. */
  #lookAtIncumbent(): void {
    const { generations, troubles } = this.#parts;
    const { failing = false, number: generation } = generations.incumbent ?? {};
    const hint = "See why its workers die, and reload";
    const tell = () => log.error("crash_loop_started", { generation, hint, formerly: "failing" });
    const over = () => log.info("crash_loop_ended", { generation, formerly: "serving_again" });
    troubles.look("incumbent", failing ? "its workers die" : undefined, tell, over);
  }
}
