/** Who has dialled what by `node:net`: its errors come later, when the stack has nothing of the app. */
import net from "node:net";
import { withDeepStack } from "./frames.ts";

/** How many are remembered; a refusal comes soon. */
const MAX_REMEMBERED = 32;

const remembered: { host: string; port: string; stack: Error }[] = [];

/** Remembers from here on. */
export function rememberDials(): void {
  const { prototype } = net.Socket as unknown as {
    prototype: { connect(this: unknown, ...all: unknown[]): unknown };
  };
  const { connect } = prototype;
  prototype.connect = function (...all) {
    const { host, port } = addressOf(all);
    if (port !== undefined) {
      const stack = withDeepStack(new Error());
      remembered.push({ host: String(host ?? "localhost"), port: String(port), stack });
      if (remembered.length > MAX_REMEMBERED) remembered.shift();
    }
    return Reflect.apply(connect, this, all);
  };
}

/** The stack of who dialled `HOST:PORT`, or `HOST`, last. */
export function dialler(what: string): string | undefined {
  return remembered.findLast(({ host, port }) => what === `${host}:${port}` || what === host)
    ?.stack.stack;
}

/** `connect(port, host)`, `connect({ port, host })`, or its arguments in a list, as Node has them. */
function addressOf([first, second]: unknown[]): { host?: unknown; port?: unknown } {
  if (Array.isArray(first)) return addressOf(first);
  if (typeof first === "object" && first !== null) return first;
  return { port: first, ...typeof second === "string" && { host: second } };
}
