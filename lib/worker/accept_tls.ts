/** Accepts from a listener of the runtime's own that ends TLS. */
import type { Acceptor } from "./engine.ts";

const { BadResource, Interrupted } = Deno.errors;

/** How long it waits after an accept that failed: there may be a descriptor again by then. */
const AGAIN_MS = 100;

/** Whether a listener is of that kind. */
export function isTlsListener(handle: unknown): handle is Deno.TlsListener {
  return (handle as Partial<Deno.TlsListener> | null)?.addr?.transport === "tcp";
}

/** Calls `serve` with each connection; no handshake has been made on it. */
export function acceptTls(
  listener: Deno.TlsListener,
  serve: (connection: Deno.TlsConn) => void,
): Acceptor {
  const accepting = (async () => {
    while (true) {
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
      listener.close();
      return accepting;
    },
  };
}
