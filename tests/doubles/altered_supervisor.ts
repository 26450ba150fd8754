/** `holdfast start` of which something is altered; all else is real. */
import { configureLog, flushLog } from "../../lib/base/log.ts";
import { laterProgram } from "../../lib/child/later_program.ts";
import { programData } from "../../lib/protocol/program_data.ts";
import { type Arch, encodeProgram } from "../../lib/sandbox/seccomp.ts";
import { startSpawner } from "../../lib/supervisor/spawner.ts";
import type { SpawnRequest } from "../../lib/supervisor/spawner_message.ts";
import { realSystem, type System } from "../../lib/supervisor/system.ts";
import { supervise } from "../../supervisor.ts";
import { runAsCommand } from "./command.ts";
import { PROGRAM_KEY } from "./hostile_programs.ts";

/**
 * Runs it until it has ended.
 *
 * @param request what is made of each request for a process
 */
export async function runAltered(
  system: Partial<System>,
  request: (request: SpawnRequest) => SpawnRequest,
): Promise<void> {
  await runAsCommand(async () => {
    configureLog("json");
    try {
      await supervise(Deno.args[0]!, {
        ...realSystem,
        ...system,
        startSpawner: (program) => {
          const spawner = startSpawner(program);
          return {
            spawn: (each, receive) => spawner.spawn(request(each), receive),
            close: () => spawner.close(),
          };
        },
      });
    } finally {
      await flushLog();
    }
  });
}

/** A hostile program as a process's own: it gets the second seccomp program, which nobody else has there. */
export function hostileSource({ wall }: SpawnRequest, source: string): string {
  if (!wall?.code) return source;
  const program = encodeProgram(laterProgram(Deno.build.arch as Arch, wall.code)).toBase64();
  return programData(PROGRAM_KEY, program) + source;
}
