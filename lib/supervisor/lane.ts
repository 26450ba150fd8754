/** Lanes: a socket pair for two processes that the supervisor spawned, an end for each. */
import { closeDescriptor } from "../os/descriptor.ts";
import { socketPair } from "../os/socket.ts";
import type { DescriptorKind, HandOver } from "../protocol/hand_over.ts";
import { attempt } from "./attempt.ts";
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
  const connected = attempt(`connect ${one.process.title} and ${other.process.title}`, () => {
    descriptors.push(...socketPair());
    for (const { process, message } of [one, other]) {
      process.handOver([{ descriptor: descriptors[0]!, kind: STREAM, message }]);
      descriptors.shift();
    }
  });
  if (!connected) descriptors.forEach(closeDescriptor);
}
