/** The end of a supervisor again and again: the answer to stop races with it. */
import { assertEquals } from "@std/assert";
import { Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";

Deno.test("stop is answered each time: ten starts, ten stops, ten times exit 0", async () => {
  const project = await Project.create();
  const codes: number[] = [];
  for (let round = 0; round < 9; round++) {
    const server = await Server.startOn(project);
    codes.push((await runCommand(project, "stop")).code, (await server.exited()).code);
  }
  await using server = await Server.startOn(project);
  codes.push((await runCommand(project, "stop")).code, (await server.exited()).code);
  assertEquals(codes, Array(20).fill(0));
});
