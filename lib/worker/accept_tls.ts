/** Accepts from a listener of the runtime's own that ends TLS. */
import type { Acceptor } from "./engine.ts";
import type { Limits } from "./limits.ts";
import type { Traffic } from "./traffic.ts";

const { BadResource, Interrupted } = Deno.errors;

/** How long it waits after an accept that failed: there may be a descriptor again by then. */
const AGAIN_MS = 100;

/** Whether a listener is of that kind. */
export function isTlsListener(handle: unknown): handle is Deno.TlsListener {
  return (handle as Partial<Deno.TlsListener> | null)?.addr?.transport === "tcp";
}

/**
 * Calls `serve` with each connection; no handshake has been made on it. While there are as many as there
 * may be, others wait in the kernel.
 */
export function acceptTls(
  listener: Deno.TlsListener,
  { limits, traffic }: { readonly limits: Limits; readonly traffic: Traffic },
  serve: (connection: Deno.TlsConn) => void,
): Acceptor {
  let stopped = false;
  let proceed = () => {};
  const room = async () => {
    limits.count("maxConnections");
    limits.pausing++;
    while (limits.full && !stopped) {
      await new Promise<void>((resolve) => traffic.onRoom.add(proceed = resolve));
      traffic.onRoom.delete(proceed);
    }
    limits.pausing--;
  };
  const accepting = (async () => {
    while (true) {
      if (limits.full) await room();
      try {
        serve(await listener.accept());
      } catch (error) {
        if (error instanceof BadResource || error instanceof Interrupted) return;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  })();
  return {
    stop: () => {
      stopped = true;
      listener.close();
      proceed();
      return accepting;
    },
  };
}
