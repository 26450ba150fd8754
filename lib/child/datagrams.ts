/**
 * Sockets for datagrams, which no process has. The runtime throws its refusal where nobody can catch it, and
 * the process would end by it; here it comes as the errors of a socket do.
 */
import dgram from "node:dgram";
import { withDeepStack } from "./frames.ts";
import type { Refusals } from "./refusals.ts";
import { type Method, replace } from "./replace.ts";

const CALLS = ["bind", "connect", "send"] as const;

/** Explains them. */
export function explainDatagrams(refusals: Refusals): void {
  for (const call of CALLS) {
    const wrapped: Method = function (...all) {
      const socket = this as dgram.Socket;
      const what = addressOf(call, all);
      const { stack } = withDeepStack(new Error(), wrapped);
      const error = Object.assign(new Error(`${call} EPERM ${what}`), {
        code: "EPERM",
        syscall: call,
      });
      refusals.explain(error, { kind: "datagram", what }, stack);
      const last = all.at(-1);
      // What is called when a socket is bound is never called.
      const callback = call !== "bind" && typeof last === "function" ? last : undefined;
      queueMicrotask(() => {
        if (callback) callback.call(socket, error);
        // A datagram may get lost: who listens for no error is not ended by one.
        else if (socket.listenerCount("error") > 0) socket.emit("error", error);
      });
      return call === "bind" ? socket : undefined;
    };
    replace(dgram.Socket.prototype, call, wrapped);
  }
}

/** What a call is for: `HOST:PORT`, as far as it says. */
function addressOf(call: (typeof CALLS)[number], all: readonly unknown[]): string {
  const [first] = all;
  if (call === "bind" && typeof first === "object" && first !== null) {
    const { address = "", port = 0 } = first as { address?: unknown; port?: unknown };
    return `${address || "0.0.0.0"}:${port}`;
  }
  // A message may come before, with an offset and a length, all of which are given then.
  const rest = call === "send" ? all.slice(1) : all;
  const numbers = rest.filter((each) => typeof each === "number" || /^\d+$/.test(String(each)));
  const host = rest.find((each) => typeof each === "string" && !/^\d*$/.test(each)) ??
    (call === "bind" ? "0.0.0.0" : "127.0.0.1");
  return `${host}:${numbers.at(-1) ?? 0}`;
}
