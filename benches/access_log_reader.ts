/**
 * The logger over a Unix socket: a process for access_log_bench.ts.
 *
 *     deno run -A benches/access_log_reader.ts LANE FORMAT FOLDER
 */
import net from "node:net";
import type { AccessFormat } from "../lib/logger/access_format.ts";
import { LogFiles } from "../lib/logger/log_files.ts";
import { Logger, TICK_INTERVAL_MS } from "../lib/logger/logger.ts";
import { exitWithParent, print } from "../tests/load/broken/child.ts";

const [path, format, folder] = Deno.args;
exitWithParent();
const files = await LogFiles.open({
  folder: folder!,
  rotation: { maxBytes: 64 * 2 ** 20, maxAgeMs: 0, keep: 2, compress: "none" },
  onTrouble: (reason) => print(`trouble: ${reason}`),
});
const logger = new Logger(files, format as AccessFormat);
setInterval(() => logger.tick(), TICK_INTERVAL_MS);
let workers = 0;
const server = net.createServer((socket) => {
  const origin = { generation: 1, worker: ++workers, pid: 1 };
  const lane = logger.openLane(origin, () => socket.destroy());
  socket.on("data", (chunk: Uint8Array) => {
    if (!lane.receive(chunk)) socket.destroy();
  });
  socket.on("close", () => lane.end());
  socket.on("error", () => {});
});
server.listen(path, () => print("serving"));
