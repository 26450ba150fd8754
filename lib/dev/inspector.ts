/** One address at which a debugger finds the worker that serves, whichever that is. */
import { HoldfastError } from "../base/error.ts";
import type { LogEvent } from "./terminal.ts";

/** Where debuggers look. */
export const INSPECTOR_ADDRESS = "127.0.0.1:9229";

/** What a runtime says when its inspector listens. */
const LISTENS = /^Debugger listening on ws:\/\/127\.0\.0\.1:(\d+)\//;

/** Lines that it says besides. */
const SAID = /^(Debugger (listening on|session)|Visit chrome:\/\/inspect)/;

/** How many workers are remembered. */
const MAX_KNOWN = 50;

/**
 * The host and port of an address.
 *
 * @throws {HoldfastError} if it is none of this machine's own: who reaches an inspector runs code there
 */
export function inspectorAddress(text: string): { hostname: string; port: number } {
  const [, hostname, port] = /^(?:(127\.0\.0\.1|localhost|\[::1\]):)?(\d{1,5})$/.exec(text) ?? [];
  if (port !== undefined && Number(port) >= 1 && Number(port) <= 65_535) {
    return { hostname: (hostname ?? "127.0.0.1").replace(/[[\]]/g, ""), port: Number(port) };
  }
  throw new HoldfastError(`--inspect=${text} is no address of this machine's own`, {
    ...{ kind: "usage", code: "usage" },
    hint:
      `Write --inspect, which is --inspect=${INSPECTOR_ADDRESS}, or 127.0.0.1 with another port`,
  });
}

export class Inspector {
  readonly #listener: Deno.TcpListener;
  /** The ports of inspectors, by the numbers of their workers. */
  readonly #ports = new Map<number, number>();
  #port: number | undefined;

  /** @throws {HoldfastError} if something else listens there */
  constructor(address: { readonly hostname: string; readonly port: number }) {
    try {
      this.#listener = Deno.listen(address);
    } catch (error) {
      throw new HoldfastError(
        `The inspector cannot listen on ${address.hostname}:${address.port}: ${
          (error as Error).message
        }`,
        {
          ...{ kind: "environment", code: "port_taken", cause: error },
          hint: "End what listens there, or choose another port: --inspect=127.0.0.1:9230",
        },
      );
    }
    void this.#accept();
  }

  /**
   * Hears where inspectors are.
   *
   * @returns whether the event tells of one
   */
  hear({ event, role, text, worker }: LogEvent): boolean {
    if (event !== "worker_output" || role !== "worker" || !SAID.test(String(text))) return false;
    const [, port] = LISTENS.exec(String(text)) ?? [];
    if (port === undefined) return true;
    this.#ports.set(Number(worker), Number(port));
    if (this.#ports.size > MAX_KNOWN) this.#ports.delete(this.#ports.keys().next().value!);
    return true;
  }

  /** Leads whoever connects from now on to a worker. */
  follow(worker: number | undefined): void {
    this.#port = worker === undefined ? undefined : this.#ports.get(worker);
  }

  close(): void {
    this.#listener.close();
  }

  async #accept(): Promise<void> {
    try {
      for await (const client of this.#listener) void this.#connect(client);
    } catch {
      // It was closed.
    }
  }

  async #connect(client: Deno.TcpConn): Promise<void> {
    try {
      if (this.#port === undefined) return client.close();
      const server = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
      await Promise.all([
        client.readable.pipeTo(server.writable),
        server.readable.pipeTo(client.writable),
      ]);
    } catch {
      try {
        client.close();
      } catch {
        // It is closed.
      }
    }
  }
}
