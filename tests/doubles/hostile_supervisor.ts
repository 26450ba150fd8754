/**
 * `holdfast start` with one change: an app whose file is called `program_*.js` is not loaded by
 * Holdfast's worker but run in its place. All else is real: spawner, channel, IPC, permissions.
 *
 * It is chosen by the config, so that a reload brings it in while a good generation serves.
 */
import { fileURLToPath } from "node:url";
import type { SpawnRequest } from "../../lib/supervisor/spawner_message.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { hostileSource, runAltered } from "./altered_supervisor.ts";

function withProgram(request: SpawnRequest): SpawnRequest {
  const module = /"(file:[^"]*\/program_\w+\.js)"/.exec(request.image?.() ?? "")?.[1];
  if (module === undefined) return request;
  const source = hostileSource(request, Deno.readTextFileSync(fileURLToPath(module)));
  return { ...request, image: undefined, source };
}

await runAltered({
  // None is started early for another app, by which it is known what is to run.
  commandOf: (config, ...rest) => {
    const command = realSystem.commandOf(config, ...rest);
    return { ...command, env: { ...command.env, HOSTILE_APP: config.app.module } };
  },
}, withProgram);
