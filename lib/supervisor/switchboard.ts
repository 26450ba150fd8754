/**
 * Lanes between the workers and the helpers of one generation: for every pair that lives, a socket
 * pair, an end for each. What goes over it is between the two.
 */
import { closeDescriptor } from "../os/descriptor.ts";
import { socketPair } from "../os/socket.ts";
import type { DescriptorKind } from "../protocol/hand_over.ts";
import { attempt } from "./attempt.ts";
import type { WorkerProcess } from "./worker_process.ts";

const STREAM: DescriptorKind = { family: "unix", use: "stream" };

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
    for (const [process, instance] of this.#instances) connect(worker, process, instance);
  }

  /** Connects an instance of a helper to every worker, now and whenever another one comes up. */
  addInstance(process: WorkerProcess, instance: Instance): void {
    this.#instances.set(process, instance);
    void process.exited.then(() => this.#instances.delete(process));
    for (const worker of this.#workers) connect(worker, process, instance);
  }
}

function connect(worker: WorkerProcess, process: WorkerProcess, instance: Instance): void {
  const ends: number[] = [];
  // A pair that cannot be connected goes without: calls go to other instances, or fail in time.
  const done = attempt(`connect ${worker.id} and ${instance.helper}`, () => {
    ends.push(...socketPair());
    worker.handOver([{
      descriptor: ends[0]!,
      kind: STREAM,
      message: { type: "helper_lane", ...instance },
    }]);
    ends.shift();
    process.handOver([{
      descriptor: ends[0]!,
      kind: STREAM,
      message: { type: "worker_lane", worker: worker.id },
    }]);
  });
  if (!done) ends.forEach(closeDescriptor);
}
