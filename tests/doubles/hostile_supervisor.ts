/**
 * `holdfast start` with one change: an app whose file is called `program_*.js` is not loaded by
 * Holdfast's worker but run in its place. All else is real: spawner, channel, IPC, permissions.
 *
 * It is chosen by the config, so that a reload brings it in while a good generation serves.
 */
import { fileURLToPath } from "node:url";
import { configureLog, flushLog } from "../../lib/base/log.ts";
import { runAsCommand } from "./command.ts";
import { laterProgram } from "../../lib/child/later_program.ts";
import { programData } from "../../lib/protocol/program_data.ts";
import { type Arch, encodeProgram } from "../../lib/sandbox/seccomp.ts";
import type { Wall } from "../../lib/sandbox/wall.ts";
import { PROGRAM_KEY } from "./hostile_programs.ts";
import type { SpawnRequest } from "../../lib/supervisor/spawner_message.ts";
import { startSpawner } from "../../lib/supervisor/spawner.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { supervise } from "../../supervisor.ts";

/** Its second seccomp program, which nobody else has there. */
function encoded({ code }: Wall): string {
  return encodeProgram(laterProgram(Deno.build.arch as Arch, code!)).toBase64();
}

function withProgram(request: SpawnRequest): SpawnRequest {
  const module = /"(file:[^"]*\/program_\w+\.js)"/.exec(request.image?.() ?? "")?.[1];
  if (module === undefined) return request;
  const source = Deno.readTextFileSync(fileURLToPath(module));
  return {
    ...request,
    image: undefined,
    source: (request.wall?.code ? programData(PROGRAM_KEY, encoded(request.wall)) : "") + source,
  };
}

await runAsCommand(async () => {
  configureLog("json");
  try {
    await supervise(Deno.args[0]!, {
      ...realSystem,
      // None is started early for another app, by which it is known what is to run.
      commandOf: (config, ...rest) => {
        const command = realSystem.commandOf(config, ...rest);
        return { ...command, env: { ...command.env, HOSTILE_APP: config.app.module } };
      },
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
