import type { Project } from "./project.ts";
import { Server } from "./server.ts";
import { mountSmall } from "./small_disk.ts";

/** A server whose log folder, `./log`, is a disk that is soon full. */
export interface SmallLog extends AsyncDisposable {
  readonly server: Server;
}

/** Starts one. */
export async function startOnSmallLog(project: Project): Promise<SmallLog> {
  const folder = project.path("log");
  await Deno.mkdir(folder);
  const disk = await mountSmall(folder);
  const server = await Server.startOn(project);
  return {
    server,
    async [Symbol.asyncDispose]() {
      // Before the server looks what it has left behind, its folder must be an ordinary one.
      await server.stop();
      await disk?.[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}
