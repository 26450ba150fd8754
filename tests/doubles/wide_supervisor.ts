/**
 * `holdfast start` whose workers have every permission of Deno, and do not mind: what still holds
 * them is the kernel. All else is real. With FORKING set their filter lets them fork too, as one with
 * a hole would.
 */
import { configureLog, flushLog } from "../../lib/base/log.ts";
import { bundle } from "../../lib/planner/bundle.ts";
import type { SpawnRequest } from "../../lib/supervisor/spawner_message.ts";
import { type Arch, seccompProgram } from "../../lib/sandbox/seccomp.ts";
import type { Wall } from "../../lib/sandbox/wall.ts";
import { REHEARSE } from "../../lib/supervisor/rehearsal.ts";
import { realSystem, type System } from "../../lib/supervisor/system.ts";
import { runRehearsal } from "../../lib/supervisor/rehearsing.ts";
import { supervise } from "../../supervisor.ts";
import { runAsCommand } from "./command.ts";

/** The program of a worker. */
let program: string;

function widened(request: SpawnRequest): SpawnRequest {
  if (!request.source.includes(program)) return request;
  const [run, ...others] = request.args.filter((each) => !/^--(allow|deny|ignore)-/.test(each));
  return { ...request, args: [run!, "--allow-all", ...others], wall: forking(request.wall) };
}

function forking(wall: Wall | undefined): Wall | undefined {
  if (wall === undefined || !Deno.env.has("FORKING")) return wall;
  // The filter of a planner. The guard goes by the policy.
  const policy = { ...wall.seccomp, runs: true };
  return { ...wall, program: seccompProgram(Deno.build.arch as Arch, policy) };
}

await runAsCommand(async () => {
  configureLog("json");
  try {
    const system: System = {
      ...realSystem,
      loadPrograms: async (holdfast, folder, ...others) => ({
        ...await realSystem.loadPrograms(holdfast, folder, ...others),
        worker: program = await bundle(folder, "tests/doubles/wide_worker.ts"),
      }),
      startSpawner: (program) => {
        const spawner = realSystem.startSpawner(program);
        return {
          spawn: (request, receive) => spawner.spawn(widened(request), receive),
          close: () => spawner.close(),
        };
      },
    };
    const [config, ...args] = Deno.args;
    const used = args.find((each) => each.startsWith(`${REHEARSE}=`));
    if (used === undefined) await supervise(config!, system);
    else await runRehearsal(config!, used.slice(REHEARSE.length + 1), system);
  } finally {
    await flushLog();
  }
});
