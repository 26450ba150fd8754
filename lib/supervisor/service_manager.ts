/**
 * What the service manager is told, and the sockets that it keeps: sd_notify(3), sd_listen_fds(3) and
 * the file descriptor store of systemd.service(5). Without one, nothing happens.
 */
import { createHash } from "node:crypto";
import { log } from "../base/log.ts";
import { HoldfastError } from "../base/error.ts";
import type { BoundAddress, Config, ListenAddress } from "../config/config.ts";
import { closeDescriptor, duplicateDescriptor } from "../os/descriptor.ts";
import { listeningName } from "../os/socket_name.ts";
import { monotonicMicroseconds, sendNotification } from "../os/notify_socket.ts";
import { adoptListener } from "./adopted_listener.ts";
import { attempt } from "./attempt.ts";
import type { ServiceBequest } from "./inheritance.ts";
import { holding, type Listener, optionsOf } from "./listener.ts";
import {
  type Passed,
  type ServiceEnvironment,
  takeServiceEnvironment,
} from "./service_environment.ts";

/** What begins the names of our own descriptors in the manager's store; no other socket has it. */
const STORED = "holdfast-";

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
  /** Sockets that another unit made: they are the manager's for the whole of our life. */
  readonly #activated: readonly (Passed & { readonly address: BoundAddress; listen(): Listener })[];
  /** What came back of the store and is not yet anybody's, by name. */
  readonly #returned = new Map<string, number>();
  /** The names of what lies in the store. */
  readonly #stored = new Set<string>();
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
    for (const name of stored ?? []) this.#stored.add(name);
    for (const { fd, name } of passed.filter(({ name }) => name.startsWith(STORED))) {
      // The same name twice: whoever was before was killed between a removal and its storing.
      if (this.#returned.has(name)) closeDescriptor(fd);
      else this.#returned.set(name, fd);
      this.#stored.add(name);
    }
    this.#activated = passed.filter(({ name }) => !name.startsWith(STORED))
      .map((each) => {
        const address = passedAddress(each);
        return { ...each, address, listen: passedListener(each, address) };
      });
    // The timer is as alive as the loop that it runs in, and that is what a watchdog is to watch.
    if (socket !== undefined && watchdogMs !== undefined) {
      // The one before it in this process may have said so nearly that long ago.
      if (stored) this.#tell("WATCHDOG=1");
      this.#watchdog = setInterval(() => this.#tell("WATCHDOG=1"), watchdogMs / 2);
    }
  }

  /** Whether a listener is one that another unit made. */
  isPassed(text: string): boolean {
    return this.#activated.some(({ address }) => address.text === text);
  }

  /** What the supervisor that takes this one's place in the same process is to know. */
  bequest(): ServiceBequest {
    return {
      ...this.#socket !== undefined && { socket: this.#socket },
      ...this.#watchdogMs !== undefined && { watchdogMs: this.#watchdogMs },
      stored: [...this.#stored],
      passed: this.#activated.map(({ fd, name }) => ({ fd, name })),
    };
  }

  /** Puts the sockets that were passed in the place of `systemd` and `systemd:NAME`. */
  resolve(config: Config): Config {
    const listen = config.listen.flatMap((address): ListenAddress[] => {
      if (address.kind !== "systemd") return [address];
      const found = this.#activated.filter(({ name }) => (address.name ?? name) === name);
      return found.length > 0 ? found.map(({ address }) => address) : [address];
    });
    const texts = listen.map(({ text }) => text);
    return { ...config, listen: listen.filter(({ text }, index) => texts.indexOf(text) === index) };
  }

  /** The listener of an address, if the manager passed it: one of its own, or one that it kept. */
  adopt(address: ListenAddress): Listener | undefined {
    const activated = this.#activated.find((each) => each.address.text === address.text);
    if (activated) return activated.listen();
    if (address.kind === "systemd") return undefined;
    const name = storedName(address.text);
    const fd = this.#returned.get(name);
    if (fd === undefined) return undefined;
    this.#returned.delete(name);
    try {
      const listener = adoptListener(fd, address);
      if (address.kind === "unix" && !Deno.lstatSync(address.path).isSocket) {
        throw new Error("its file is another one");
      }
      listener.update(address);
      return listener;
    } catch (error) {
      // A Unix socket whose file somebody removed: nobody can reach it any more.
      log.warn("listener_not_adopted", { listen: address.text, reason: (error as Error).message });
      closeDescriptor(fd);
      this.#forget(name);
      return undefined;
    }
  }

  /** Gives a listener to the manager to keep, so that a crash of this process does not close it. */
  listens(listener: Listener): void {
    const name = storedName(listener.text);
    if (this.#socket === undefined || this.#stored.has(name)) return;
    if (this.isPassed(listener.text)) return;
    const fd = listener.duplicate();
    try {
      this.#tell(`FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`, fd);
      this.#stored.add(name);
    } finally {
      closeDescriptor(fd);
    }
  }

  /** Has the manager let go of a listener that is closed. */
  closes(text: string): void {
    const name = storedName(text);
    if (this.#stored.has(name)) this.#forget(name);
  }

  #forget(name: string): void {
    this.#stored.delete(name);
    this.#tell(`FDSTOREREMOVE=1\nFDNAME=${name}`);
  }

  /** Something legitimate goes on that may take as long. */
  extend(ms: number): void {
    this.#tell(`EXTEND_TIMEOUT_USEC=${Math.ceil(ms) * 1_000}`);
  }

  /** The first generation serves. */
  serving(state: ServiceState): void {
    // What the config before the crash listened on, and this one does not.
    for (const [name, fd] of this.#returned) {
      closeDescriptor(fd);
      this.#forget(name);
    }
    this.#returned.clear();
    this.#ready(state);
  }

  /** A reload begins. */
  reloading(): void {
    this.#tell(
      `RELOADING=1\nMONOTONIC_USEC=${this.#socket === undefined ? 0 : monotonicMicroseconds()}\n` +
        "STATUS=Reloading",
    );
  }

  /** A reload is over, done or refused: either way a generation serves. */
  reloaded(state: ServiceState): void {
    this.#ready(state);
  }

  #ready(state: ServiceState): void {
    this.#said = cut(statusLine(state));
    this.#tell(`READY=1\nMAINPID=${Deno.pid}\nSTATUS=${this.#said}`);
  }

  /** Tells how it goes, if that is another than what was told. */
  goes(state: ServiceState): void {
    const line = cut(statusLine(state));
    if (line === this.#said) return;
    this.#said = line;
    this.#tell(`STATUS=${line}`);
  }

  /** The last generation drains, which may take as long. */
  stopping(ms: number): void {
    this.#tell("STOPPING=1\nSTATUS=Draining");
    this.extend(ms);
  }

  /** Lets go; what the manager keeps stays with it, for a restart. */
  close(): void {
    clearInterval(this.#watchdog);
    for (const fd of this.#returned.values()) closeDescriptor(fd);
    this.#returned.clear();
    for (const { fd } of this.#activated) attempt("close a socket", () => closeDescriptor(fd));
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

/** Neither its file nor its end is ours: it may be listened on again by a later reload. */
function passedListener({ fd }: Passed, address: BoundAddress): () => Listener {
  const handle = { fdForIpc: () => duplicateDescriptor(fd), close: () => {} };
  // What the manager has set, by KeepAlive= or NoDelay= of its unit, is to stay.
  const options = address.kind === "tcp" ? optionsOf(handle) : [];
  return () => ({ ...holding(address.text, handle, options), update: () => {} });
}

/**
 * Where a socket listens that was passed.
 *
 * @throws {HoldfastError} if it is none that a worker can accept from
 */
function passedAddress({ fd, name }: Passed): BoundAddress {
  const found = listeningName(fd);
  if (found?.kind === "tcp") {
    const { host, port } = found;
    return { ...found, text: `${host.includes(":") ? `[${host}]` : host}:${port}` };
  }
  // One of the abstract namespace has no path.
  if (found?.path) return { ...found, text: `unix:${found.path}`, mode: 0 };
  throw new HoldfastError(`Cannot listen on what is passed as ${name}: no stream socket listens`, {
    kind: "environment",
    code: "passed_socket",
    hint: "In the socket unit write ListenStream= with Accept=no, and no abstract name",
  });
}

/** One line, and no longer than is shown. */
function cut(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ").slice(0, MAX_STATUS_CHARS).toWellFormed();
}
