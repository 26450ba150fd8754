/** Tells an app that listens itself, for something else than requests, what to do instead. */
import net from "node:net";

const ADVICE =
  "Holdfast listens for the app, and serves HTTP: `Deno.serve`, a server of node:http, " +
  "`export default app` or `export default { fetch: handler }`";

/** Makes calls that listen fail with advice on what is served. To be called before the app is loaded. */
export function explainListening(): void {
  for (const name of ["listen", "listenTls"] as const) {
    const listen = Deno[name] as (...all: unknown[]) => unknown;
    Object.defineProperty(Deno, name, {
      value: (...all: unknown[]) => explaining(() => listen(...all)),
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  const server = net.Server.prototype as unknown as NodeServer;
  const { listen } = server;
  server.listen = function (...all) {
    const { emit } = this;
    this.emit = (name, ...rest) => {
      if (name === "error") explain(rest[0]);
      return emit.call(this, name, ...rest);
    };
    return explaining(() => listen.apply(this, all));
  };
}

interface NodeServer {
  listen(...all: unknown[]): unknown;
  emit(name: string, ...all: unknown[]): boolean;
}

function explaining<Result>(act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    explain(error);
    throw error;
  }
}

/** Adds the advice to a permission error. */
function explain(error: unknown): void {
  const refused = error instanceof Deno.errors.NotCapable ||
    error instanceof Deno.errors.PermissionDenied ||
    error instanceof Error && "code" in error && ["EACCES", "EPERM"].includes(`${error.code}`);
  if (refused && !error.message.includes(ADVICE)) error.message += `. ${ADVICE}`;
}
