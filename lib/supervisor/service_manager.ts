/**
 * What the service manager is told: sd_notify(3), and what it is to keep in the file descriptor store of
 * systemd.service(5). Without one, nothing happens.
 */
import { createHash } from "node:crypto";
import { log } from "../base/log.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { monotonicMicroseconds, sendNotification } from "../os/notify_socket.ts";
import type { ServiceBequest } from "./inheritance.ts";
import type { Listener } from "./listener.ts";
import {
  type Passed,
  type ServiceEnvironment,
  takeServiceEnvironment,
} from "./service_environment.ts";

/** What begins the names of our own descriptors in the manager's store; no other socket has it. */
export const STORED = "holdfast-";

/** FDNAME has room for as many characters. */
const MAX_NAME_CHARS = 255;

/** How much of a line a manager shows. */
const MAX_STATUS_CHARS = 512;

/** What is told of how it goes. */
export interface ServiceState {
  readonly generation: number;
  readonly listeners: readonly string[];
  /** Whether the incumbent has no worker that lives. */
  readonly failing: boolean;
  readonly lastReload?: {
    readonly outcome: "done" | "refused";
    readonly at: string;
    readonly reason?: string | undefined;
  } | undefined;
}

/** Sends a datagram, and a descriptor with it. */
export type Send = (socket: string, text: string, descriptor?: number) => void;

/** The name of a listener in the store: printable ASCII without a colon. */
export function storedName(address: string): string {
  const name = STORED + encodeURIComponent(address);
  if (name.length <= MAX_NAME_CHARS) return name;
  return STORED + createHash("sha256").update(address).digest("hex");
}

/** One line for an operator. */
export function statusLine({ generation, listeners, failing, lastReload }: ServiceState): string {
  const { outcome, at, reason } = lastReload ?? {};
  const reload = outcome === undefined
    ? ""
    : `; last reload ${outcome} at ${at}${reason === undefined ? "" : `: ${reason}`}`;
  const does = failing ? "is failing, its worker is being replaced," : "serves";
  return `Generation ${generation} ${does} on ${listeners.join(", ")}${reload}`;
}

export class ServiceManager {
  readonly #socket: string | undefined;
  readonly #send: Send;
  /** What it has passed to this process; the table of listeners owns it. */
  readonly passed: readonly Passed[];
  /** The names of what lies in its store by what the one before it in this process said. */
  readonly stored: readonly string[];
  readonly #watchdog: ReturnType<typeof setInterval> | undefined;
  readonly #watchdogMs: number | undefined;
  #failed = false;
  #said = "";

  constructor(
    { socket, watchdogMs, passed, stored }: ServiceEnvironment & {
      stored?: readonly string[];
    } = takeServiceEnvironment(),
    send: Send = sendNotification,
  ) {
    this.#socket = socket;
    this.#watchdogMs = watchdogMs;
    this.#send = send;
    this.passed = passed;
    this.stored = stored ?? [];
    // The timer is as alive as the loop that it runs in, and that is what a watchdog is to watch.
    if (socket !== undefined && watchdogMs !== undefined) {
      // The one before it in this process may have said so nearly that long ago.
      if (stored) this.#tell("WATCHDOG=1");
      this.#watchdog = setInterval(() => this.#tell("WATCHDOG=1"), watchdogMs / 2);
    }
  }

  /** What the supervisor that takes this one's place in the same process is to know. */
  handOver(): Pick<ServiceBequest, "socket" | "watchdogMs"> {
    return {
      ...this.#socket !== undefined && { socket: this.#socket },
      ...this.#watchdogMs !== undefined && { watchdogMs: this.#watchdogMs },
    };
  }

  /**
   * Gives it a listener to keep, so that a crash of this process does not close it.
   *
   * @returns whether there is a manager that may
   */
  storeListener(listener: Listener): boolean {
    if (this.#socket === undefined) return false;
    const fd = listener.duplicate();
    try {
      this.#tell(`FDSTORE=1\nFDNAME=${storedName(listener.text)}\nFDPOLL=0`, fd);
    } finally {
      closeDescriptor(fd);
    }
    return true;
  }

  /** Has it let go of a listener that is closed, by its name in the store. */
  dropListener(name: string): void {
    this.#tell(`FDSTOREREMOVE=1\nFDNAME=${name}`);
  }

  /** Something legitimate goes on that may take as long. */
  extendTimeout(ms: number): void {
    this.#tell(`EXTEND_TIMEOUT_USEC=${Math.ceil(ms) * 1_000}`);
  }

  /** A reload begins. */
  reloading(): void {
    this.#tell(
      `RELOADING=1\nMONOTONIC_USEC=${this.#socket === undefined ? 0 : monotonicMicroseconds()}\n` +
        "STATUS=Reloading",
    );
  }

  /** A generation serves: the first one, or after a reload that is done or refused. */
  ready(state: ServiceState): void {
    this.#said = cut(statusLine(state));
    this.#tell(`READY=1\nMAINPID=${Deno.pid}\nSTATUS=${this.#said}`);
  }

  /** Tells how it goes, if that is another than what was told. */
  setStatus(state: ServiceState): void {
    const line = cut(statusLine(state));
    if (line === this.#said) return;
    this.#said = line;
    this.#tell(`STATUS=${line}`);
  }

  /** The last generation drains, which may take as long. */
  stopping(ms: number): void {
    this.#tell("STOPPING=1\nSTATUS=Draining");
    this.extendTimeout(ms);
  }

  /** Says no more. */
  close(): void {
    clearInterval(this.#watchdog);
  }

  /** A manager that does not hear is no reason to stop; that it does not is said once. */
  #tell(text: string, descriptor?: number): void {
    if (this.#socket === undefined) return;
    try {
      this.#send(this.#socket, text, descriptor);
    } catch (error) {
      if (this.#failed) return;
      this.#failed = true;
      log.warn("notify_failed", {
        reason: (error as Error).message,
        hint: "The service manager does not hear of readiness, reloads and signs of life",
      });
    }
  }
}

/** One line, and no longer than is shown. */
function cut(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ").slice(0, MAX_STATUS_CHARS).toWellFormed();
}
