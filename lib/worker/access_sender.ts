/** Sends a worker's access records over the lane to the current logger. */
import net from "node:net";
import { MAX_ACCESS_FRAME_BYTES } from "../protocol/access.ts";
import { AccessLog } from "./access_log.ts";

/** How long writing the last records to the kernel may take. */
const LAST_RECORDS_MS = 1_000;

export class AccessSender {
  readonly log: AccessLog;
  #socket: net.Socket | undefined;

  /** @param extent whether records have referer and user agent */
  constructor(extent: "short" | "long") {
    this.log = new AccessLog(extent === "long" ? "kept" : "left");
  }

  /** Takes a new lane: the previous one has ended, or will. */
  take(handle: unknown): void {
    const socket = new net.Socket({ handle, readable: true, writable: true } as never);
    this.#socket = socket;
    // The logger sends nothing; anything that arrives is discarded.
    socket.resume();
    socket.on("error", () => {});
    socket.on("close", () => {
      if (this.#socket === socket) this.#socket = undefined;
    });
    this.log.attach((frame) => {
      if (this.#socket !== socket || socket.writableLength > 4 * MAX_ACCESS_FRAME_BYTES) {
        return false;
      }
      socket.write(frame);
      return true;
    });
  }

  /** Sends all records, and ends the lane. */
  async finish(): Promise<void> {
    this.log.detach();
    const socket = this.#socket;
    if (!socket) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LAST_RECORDS_MS);
      socket.end(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
