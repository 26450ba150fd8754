/**
 * Broken on purpose: the rolling restart with SO_REUSEPORT that looks right. Each process has a
 * listening socket of its own, so what waits in the accept queue of the old one is reset when that
 * closes, and `shutdown()` breaks request bodies that are still arriving and closes idle
 * connections at once.
 *
 *     deno run --allow-net --allow-read --allow-run --allow-sys \
 *       tests/load/broken/reuseport_restart.ts PORT
 */
import { fileURLToPath } from "node:url";
import app from "../app.ts";
import { exitWithParent, onHangUp, print } from "./child.ts";

const port = Number(Deno.args[0]);
if (!(port > 0)) {
  throw new RangeError(`Cannot use port ${Deno.args[0]}: want one for every process`);
}
exitWithParent();
if (Deno.args[1] === "child") serve();
else await supervise();

function serve(): void {
  // Broken uploads are what this server is for, so they are answered and not logged.
  app.onError((_error, c) => c.text("error\n", 500));
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port,
    reusePort: true,
    onListen: () => print("ready"),
  }, app.fetch);
  Deno.addSignalListener("SIGTERM", async () => {
    await server.shutdown();
    Deno.exit(0);
  });
}

async function supervise(): Promise<void> {
  let incumbent = await startChild();
  print(`serving ${port}`);
  onHangUp(async () => {
    const candidate = await startChild();
    incumbent.kill("SIGTERM");
    incumbent = candidate;
    print("reloaded");
  });
  Deno.addSignalListener("SIGTERM", () => {
    incumbent.kill("SIGKILL");
    Deno.exit(0);
  });
}

async function startChild(): Promise<Deno.ChildProcess> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--no-lock",
      "--unstable-net",
      "--allow-net",
      "--allow-read",
      fileURLToPath(import.meta.url),
      String(port),
      "child",
    ],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  const { done } = await reader.read(); // the first bytes are its "ready"
  if (done) throw new Error("Cannot start a server process: it ended");
  reader.releaseLock();
  return child;
}
