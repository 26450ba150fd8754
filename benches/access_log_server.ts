/**
 * One engine over the load app, with an access log or without: a process for access_log_bench.ts.
 *
 *     deno run -A benches/access_log_server.ts PORT ENGINE off|common|combined [LANE]
 *
 * LANE is the path of the Unix socket where the logger listens; without it records are made, and
 * thrown away.
 */
import net from "node:net";
import { AccessLog } from "../lib/worker/access_log.ts";
import { createNativeEngine, detectNative } from "../lib/worker/native_engine.ts";
import { createNodeEngine } from "../lib/worker/node_engine.ts";
import { Traffic } from "../lib/worker/traffic.ts";
import app from "../tests/load/app.ts";
import { exitWithParent, print } from "../tests/load/broken/child.ts";

/** What may wait in the process for a logger that is slow. */
const MAX_UNSENT_BYTES = 1024 * 1024;

const [port, engineName, format, lane] = Deno.args;
exitWithParent();
const { _createServerHandle: createHandle } = net as unknown as {
  _createServerHandle(host: string, port: number, family: 4): unknown;
};
const engine = engineName === "node" ? createNodeEngine() : createNativeEngine(detectNative()!);
const address = `127.0.0.1:${port}`;
engine.serve({
  handle: createHandle("127.0.0.1", Number(port), 4),
  address,
  fetcher: app,
  traffic: new Traffic(),
  access: format === "off" ? undefined : await openAccessLog(),
});
print(`serving ${port}`);

async function openAccessLog(): Promise<AccessLog> {
  const access = new AccessLog(format === "combined" ? "kept" : "left");
  if (lane === undefined) {
    access.attach(() => true);
    return access;
  }
  const socket = net.connect(lane);
  await new Promise((resolve) => socket.once("connect", resolve));
  access.attach((frame) => {
    if (socket.writableLength > MAX_UNSENT_BYTES) return false;
    socket.write(frame);
    return true;
  });
  return access;
}
