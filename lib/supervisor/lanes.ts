/** Lanes: a socket pair for two processes that the supervisor spawned, an end for each. */
import net from "node:net";
import { closeDescriptor } from "../os/descriptor.ts";
import { socketPair } from "../os/socket.ts";
import type { DescriptorKind, HandOver } from "../protocol/hand_over.ts";
import { bestEffort } from "./best_effort.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** What an end of a lane is. */
export const STREAM: DescriptorKind = { family: "unix", use: "stream" };

/** A process, and what it is told of its end. */
export interface LaneEnd {
  readonly process: WorkerProcess;
  readonly message: HandOver;
}

/**
 * Connects two processes. Never fails: a pair that cannot be connected goes without, which is logged,
 * and what would have gone over the lane fails in its own time.
 */
export function connect(one: LaneEnd, other: LaneEnd): void {
  const descriptors: number[] = [];
  const names = [one, other].map(({ process }) => process.displayName);
  const connected = bestEffort(`connect ${names.join(" and ")}`, () => {
    descriptors.push(...socketPair());
    for (const { process, message } of [one, other]) {
      process.handOver([{ descriptor: descriptors[0]!, kind: STREAM, message }]);
      descriptors.shift();
    }
  });
  if (!connected) descriptors.forEach(closeDescriptor);
}

/**
 * Opens a feed to a process that only listens: the supervisor's own end.
 *
 * @throws {Error} if there is no pair of sockets to be had
 */
export function openFeed(process: WorkerProcess, onClose: (feed: net.Socket) => void): net.Socket {
  const [own, theirs] = socketPair();
  try {
    process.handOver([{ descriptor: theirs, kind: STREAM, message: { type: "feed" } }]);
  } catch (error) {
    for (const descriptor of [own, theirs]) closeDescriptor(descriptor);
    throw error;
  }
  const feed = new net.Socket({ fd: own, readable: true, writable: true });
  // It has nothing to say; what comes all the same is thrown away.
  feed.resume();
  feed.on("error", () => {});
  feed.on("close", () => onClose(feed));
  return feed;
}

/** An instance of a helper, as workers know it. */
interface Instance {
  readonly helper: string;
  readonly instance: number;
}

/**
 * Lanes between the workers and the helpers of one generation: one for every pair that lives. What goes
 * over it is between the two.
 */
export class HelperLanes {
  readonly #workers = new Set<WorkerProcess>();
  readonly #instances = new Map<WorkerProcess, Instance>();

  /** Connects a worker to every helper, now and whenever another instance comes up. */
  connectWorker(worker: WorkerProcess): void {
    this.#workers.add(worker);
    void worker.exited.then(() => this.#workers.delete(worker));
    for (const [process, instance] of this.#instances) join(worker, process, instance);
  }

  /** Connects an instance of a helper to every worker, now and whenever another one comes up. */
  connectHelper(process: WorkerProcess, instance: Instance): void {
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
