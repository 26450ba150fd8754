/** Lanes: a socket pair for two processes that the supervisor spawned, an end for each. */
import net from "node:net";
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
  const names = [one, other].map(({ process }) => process.displayName);
  const connected = attempt(`connect ${names.join(" and ")}`, () => {
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
