/** A server that is started by names: of the folder that it is started in, of its config and its programs. */
import { join } from "node:path";
import { ProcessLog } from "./process_log.ts";
import { HOLDFAST, type Project } from "./project.ts";
import { Server, supervisorPermissions } from "./server.ts";

/** Starts in a folder, as a shell does that came there by this name. It may not serve yet. */
export function startIn(
  project: Project,
  { cwd, config, program = Deno.execPath(), holdfast = HOLDFAST }: {
    readonly cwd: string;
    readonly config: string;
    readonly program?: string;
    readonly holdfast?: string;
  },
): Server {
  const permissions = supervisorPermissions(project)
    .map((flag) => flag.startsWith("--allow-run=") ? `--allow-run=${program}` : flag);
  const main = [join(holdfast, "main.ts"), "start", "--config", config];
  const child = ProcessLog.spawn([program, "run", ...permissions, ...main], {
    cwd,
    env: { PWD: cwd },
  });
  return new Server(project, child);
}
