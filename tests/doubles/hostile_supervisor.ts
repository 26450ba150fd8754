/**
 * `holdfast start` with one change: an app whose file is called `program_*.js` is not loaded by
 * Holdfast's worker but run in its place. All else is real: spawner, channel, IPC, permissions.
 *
 * It is chosen by the config, so that a reload brings it in while a good generation serves.
 */
import { fileURLToPath } from "node:url";
import { configureLog, flushLog } from "../../lib/base/log.ts";
import { runAsCommand } from "./command.ts";
import type { SpawnRequest } from "../../lib/supervisor/spawner_message.ts";
import { startSpawner } from "../../lib/supervisor/spawner.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { supervise } from "../../supervisor.ts";

function withProgram(request: SpawnRequest): SpawnRequest {
  const module = /"(file:[^"]*\/program_\w+\.js)"/.exec(request.source)?.[1];
  if (module === undefined) return request;
  const source = Deno.readTextFileSync(fileURLToPath(module));
  return { ...request, source };
}

await runAsCommand(async () => {
  configureLog("json");
  try {
    await supervise(Deno.args[0]!, {
      ...realSystem,
      startSpawner: (program) => {
        const spawner = startSpawner(program);
        return {
          spawn: (request, receive) => spawner.spawn(withProgram(request), receive),
          close: () => spawner.close(),
        };
      },
    });
  } finally {
    await flushLog();
  }
});
