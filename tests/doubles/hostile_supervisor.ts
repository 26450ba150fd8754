/**
 * `holdfast start` with one change: an app whose file is called `program_*.js` is not loaded by
 * Holdfast's worker but run in its place. All else is real: spawner, channel, IPC, permissions.
 *
 * It is chosen by the config, so that a reload brings it in while a good generation serves.
 */
import { fileURLToPath } from "node:url";
import { configureLog, flushLog } from "../../lib/base/log.ts";
import { runAsCommand } from "./command.ts";
import type { ToSpawner } from "../../lib/supervisor/spawner_message.ts";
import { startSpawner } from "../../lib/supervisor/spawner.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { supervise } from "../../supervisor.ts";

function withProgram(message: ToSpawner): ToSpawner {
  if (message.type !== "spawn") return message;
  const { request } = message;
  const module = /"(file:[^"]*\/program_\w+\.js)"/.exec(request.source)?.[1];
  if (module === undefined) return message;
  const source = Deno.readTextFileSync(fileURLToPath(module));
  return { ...message, request: { ...request, source } };
}

await runAsCommand(async () => {
  configureLog("json");
  try {
    await supervise(Deno.args[0]!, {
      ...realSystem,
      startSpawner: (program) => {
        const spawner = startSpawner(program);
        return {
          get failed() {
            return spawner.failed;
          },
          confine: (wall) => spawner.confine(wall),
          post: (message) => spawner.post(withProgram(message)),
          subscribe: (worker, receive) => spawner.subscribe(worker, receive),
          close: () => spawner.close(),
        };
      },
    });
  } finally {
    await flushLog();
  }
});
