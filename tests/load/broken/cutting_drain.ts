/**
 * Broken on purpose: the listener is held open and handed over as it should be, but a reload cuts
 * off whatever the old worker has in flight.
 *
 *     deno run --allow-net --allow-read --allow-run --allow-env --allow-sys \
 *       tests/load/broken/cutting_drain.ts PORT
 */
import { type ChildProcess, spawn } from "node:child_process";
import * as net from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";
import app from "../app.ts";
import { exitWithParent, onHangUp, print } from "./child.ts";

exitWithParent();
if (Deno.args[1] === "child") work();
else await supervise();

async function supervise(): Promise<void> {
  const port = Number(Deno.args[0]);
  if (!(port > 0)) throw new RangeError(`Cannot use port ${Deno.args[0]}: want a number`);
  // deno-lint-ignore no-explicit-any
  const listener = (net as any)._createServerHandle("127.0.0.1", port, 4);
  if (typeof listener === "number") throw new Error(`Cannot bind 127.0.0.1:${port}: ${listener}`);
  let incumbent = await startChild(listener);
  print(`serving ${port}`);
  onHangUp(async () => {
    const candidate = await startChild(listener);
    incumbent.kill("SIGKILL");
    incumbent = candidate;
    print("reloaded");
  });
  Deno.addSignalListener("SIGTERM", () => {
    incumbent.kill("SIGKILL");
    Deno.exit(0);
  });
}

function startChild(listener: unknown): Promise<ChildProcess> {
  // Without any permission flag node:child_process would add -A.
  const args = ["run", "--no-prompt", "--no-lock", "--allow-read", "--deny-write", "--deny-run"];
  const child = spawn(Deno.execPath(), [...args, fileURLToPath(import.meta.url), "0", "child"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", () => reject(new Error("Cannot start a worker: it ended")));
    child.on("message", (message) => {
      // deno-lint-ignore no-explicit-any
      if (message === "hello") (child as any).send("listener", listener, { keepOpen: true });
      if (message === "ready") resolve(child);
    });
  });
}

function work(): void {
  // deno-lint-ignore no-explicit-any
  const internal = (Deno as any)[(Deno as any).internal];
  const rid = internal.core.internalRidSymbol;
  process.on("message", (_message: unknown, handle: unknown) => {
    const server = net.createServer((socket) => {
      const localAddr = { transport: "tcp", hostname: socket.localAddress, port: socket.localPort };
      // deno-lint-ignore no-explicit-any
      const stream = (socket as any)._handle.takeStream();
      internal.serveHttpOnConnection(
        { [rid]: stream, localAddr },
        undefined,
        app.fetch,
        () => new Response("error\n", { status: 500 }),
        () => {},
      ).finished.catch(() => {});
    });
    // deno-lint-ignore no-explicit-any
    server.listen(handle as any, () => process.send!("ready"));
  });
  process.send!("hello");
}
