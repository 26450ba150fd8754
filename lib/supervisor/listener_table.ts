/**
 * Every listener that the supervisor holds, by its address. The table alone closes them; whoever has
 * one hands out duplicates. A config asks for its listeners in a {@link ListenerChange}, and nothing that
 * is held changes until that is committed: then what is not asked for any more is closed. A change that
 * is abandoned closes what it alone has bound.
 */
import { log } from "../base/log.ts";
import { HoldfastError } from "../base/error.ts";
import type { BoundAddress, Config, ListenAddress } from "../config/config.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { activatedSocket, resolveActivated } from "./activated_socket.ts";
import { adoptListener } from "./adopted_listener.ts";
import { bestEffort } from "./best_effort.ts";
import type { Inheritance, ServiceBequest } from "./inheritance.ts";
import { isLost, type Listener } from "./listener.ts";
import type { Passed } from "./service_environment.ts";
import { type ServiceManager, STORED, storedName } from "./service_manager.ts";
import type { Estate } from "./upgrade.ts";

/** Who accepts there. */
export type ListenerUser = "app" | "metrics" | "acme";

interface Row {
  readonly address: BoundAddress;
  readonly listener: Listener;
  /** Bound here, left by an upgrade, made by a socket unit, or back from the manager's store. */
  readonly origin: "bound" | "inherited" | "activated" | "stored";
  /** None until a config asks for it. */
  readonly user?: ListenerUser | undefined;
  /** Whether the service manager keeps it. */
  readonly stored?: boolean;
  /** Of a socket unit: the manager's for the whole of our life, and never closed before its end. */
  readonly passed?: Passed;
}

/** What a config asks for. */
export type ListenerChange = Map<string, Row>;

export class ListenerTable {
  #rows = new Map<string, Row>();
  /** What came back of the store and is not asked for yet, by name. */
  readonly #returned = new Map<string, number>();
  readonly #bind: (address: ListenAddress) => Promise<Listener>;
  #manager: ServiceManager | undefined;

  constructor(bind: (address: ListenAddress) => Promise<Listener>) {
    this.#bind = bind;
  }

  /** Takes over what was left by an upgrade, and what the service manager has passed. */
  open(manager: ServiceManager, inherited: Inheritance["listeners"] = []): void {
    this.#manager = manager;
    const lost = new Set(manager.stored);
    for (const { address, fd } of inherited) {
      const stored = lost.delete(storedName(address.text));
      const listener = adoptListener(fd, address);
      // Until a config says what it is for, it is shown as the app's.
      this.#rows.set(address.text, { address, listener, origin: "inherited", user: "app", stored });
    }
    for (const name of lost) manager.dropListener(name);
    for (const passed of manager.passed) {
      const { fd, name } = passed;
      if (!name.startsWith(STORED)) {
        const { address, listener } = activatedSocket(passed);
        this.#rows.set(address.text, { address, listener, origin: "activated", passed });
        // The same name twice: whoever was before was killed between a removal and its storing.
      } else if (this.#returned.has(name)) closeDescriptor(fd);
      else this.#returned.set(name, fd);
    }
  }

  /** Puts the sockets that were passed in the place of `systemd` and `systemd:NAME`. */
  resolve(config: Config): Config {
    const { sendTimeoutMs } = config.http;
    const placed = (listen: Config["listen"]) =>
      resolveActivated(listen, [...this.#rows.values()])
        .map((address) => ({ ...address, sendTimeoutMs }));
    const { acme } = config;
    return {
      ...config,
      listen: placed(config.listen),
      ...acme && { acme: { ...acme, listen: placed(acme.listen) } },
    };
  }

  /**
   * Adds to a change: the listener that is held, one that the manager has kept, or a new one.
   *
   * @throws {HoldfastError} if it cannot be bound
   */
  async acquire(
    address: ListenAddress,
    user: ListenerUser,
    change: ListenerChange,
  ): Promise<Listener> {
    const held = change.has(address.text) ? undefined : this.#find(address);
    if (held) requireSameKind(held.address, address);
    const listener = held?.listener ?? await this.#bind(address);
    // What is served there is the config's to say, each time. One of a socket unit that was not passed
    // is never bound.
    const { tls: _, redirect: __, proxyProtocol: ___, sendTimeoutMs: ____, ...place } = address;
    const bound = { address: place as BoundAddress, listener, user };
    change.set(address.text, held ? { ...held, ...bound } : { ...bound, origin: "bound" });
    return listener;
  }

  /** A socket whose file is gone is bound anew; what waits in the old one is its workers'. */
  #find(address: ListenAddress): Row | undefined {
    const held = this.#rows.get(address.text);
    if (held) return isLost(held.listener) ? undefined : held;
    const name = storedName(address.text);
    const fd = this.#returned.get(name);
    if (fd === undefined || address.kind === "systemd") return undefined;
    this.#returned.delete(name);
    try {
      const listener = adoptListener(fd, address);
      if (address.kind === "unix" && !Deno.lstatSync(address.path).isSocket) {
        throw new Error("its file is another one");
      }
      listener.update(address);
      const row: Row = { address, listener, origin: "stored", stored: true };
      this.#rows.set(address.text, row);
      return row;
    } catch (error) {
      // A Unix socket whose file somebody removed: nobody can reach it any more.
      log.warn("listener_not_adopted", { listen: address.text, reason: (error as Error).message });
      closeDescriptor(fd);
      this.#manager?.dropListener(name);
      return undefined;
    }
  }

  /** The switch has happened; what fails from here on is no reason to undo it. */
  commit(change: ListenerChange): void {
    const before = this.#rows;
    this.#rows = new Map(change);
    for (const [text, row] of before) {
      if (change.get(text)?.listener === row.listener) continue;
      if (row.origin === "activated") this.#rows.set(text, { ...row, user: undefined });
      else this.#close(row);
      if (row.user === "app" && !change.has(text)) log.info("listener_closed", { listen: text });
    }
    for (const [name, fd] of this.#returned) {
      closeDescriptor(fd);
      this.#manager?.dropListener(name);
    }
    this.#returned.clear();
    for (const [text, row] of change) {
      bestEffort(`update ${text}`, () => row.listener.update(row.address));
      if (row.user !== "app" || row.stored || row.origin === "activated") continue;
      bestEffort(`store ${text}`, () => {
        const stored = this.#manager?.storeListener(row.listener) ?? false;
        this.#rows.set(text, { ...row, stored });
      });
    }
  }

  /** It comes to nothing. */
  abandon(change: ListenerChange): void {
    for (const [text, row] of change) {
      if (this.#rows.get(text)?.listener !== row.listener) this.#close(row);
    }
  }

  #close({ address: { text }, listener, stored }: Row): void {
    bestEffort(`close ${text}`, () => listener.close());
    if (stored) this.#manager?.dropListener(storedName(text));
  }

  /** Where the app is listened for. */
  get app(): readonly Listener[] {
    return [...this.#rows.values()].flatMap((row) => row.user === "app" ? row.listener : []);
  }

  /** What the supervisor that takes this one's place in the same process is to have. */
  handOver(): Pick<Estate, "listeners"> & Pick<ServiceBequest, "stored" | "passed"> {
    const rows = [...this.#rows.values()];
    return {
      listeners: rows.filter(({ origin, listener }) => origin !== "activated" && !isLost(listener)),
      stored: rows.flatMap(({ stored, address }) => stored ? [storedName(address.text)] : []),
      passed: rows.flatMap(({ passed }) => passed ?? []),
    };
  }

  /** Closes all; what the manager keeps stays with it, for a restart. */
  close(): void {
    for (const [text, { listener, passed }] of this.#rows) {
      bestEffort(`close ${text}`, () => listener.close());
      if (passed) bestEffort("close a socket", () => closeDescriptor(passed.fd));
    }
    this.#rows.clear();
    for (const fd of this.#returned.values()) closeDescriptor(fd);
    this.#returned.clear();
  }
}

/** What a socket takes is settled when it is bound. */
function requireSameKind(bound: ListenAddress, wanted: ListenAddress): void {
  const alone = (address: ListenAddress) => address.kind === "tcp" && address.ipv6Only === true;
  if (alone(bound) === alone(wanted)) return;
  const [is, shall] = alone(bound) ? ["IPv6 alone", "IPv4 too"] : ["IPv4 too", "IPv6 alone"];
  throw new HoldfastError(
    `${wanted.text} was bound to take ${is}, and is to take ${shall} by the new config`,
    {
      kind: "environment",
      code: "listener_rebind",
      hint: "Restart Holdfast; beside an IPv4 address with its port, [::] takes IPv6 alone",
    },
  );
}
