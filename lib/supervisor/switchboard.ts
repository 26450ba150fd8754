/**
 * Lanes between the workers and the helpers of one generation: for every pair that lives, a socket
 * pair, an end for each. What goes over it is between the two.
 */
import { connect } from "./lane.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** An instance of a helper, as workers know it. */
export interface Instance {
  readonly helper: string;
  readonly instance: number;
}

export class Switchboard {
  readonly #workers = new Set<WorkerProcess>();
  readonly #instances = new Map<WorkerProcess, Instance>();

  /** Connects a worker to every helper, now and whenever another instance comes up. */
  addWorker(worker: WorkerProcess): void {
    this.#workers.add(worker);
    void worker.exited.then(() => this.#workers.delete(worker));
    for (const [process, instance] of this.#instances) join(worker, process, instance);
  }

  /** Connects an instance of a helper to every worker, now and whenever another one comes up. */
  addInstance(process: WorkerProcess, instance: Instance): void {
    this.#instances.set(process, instance);
    void process.exited.then(() => this.#instances.delete(process));
    for (const worker of this.#workers) join(worker, process, instance);
  }
}

function join(worker: WorkerProcess, process: WorkerProcess, instance: Instance): void {
  connect(
    { process: worker, message: { type: "helper_lane", ...instance } },
    { process, message: { type: "worker_lane", worker: worker.id } },
  );
}
