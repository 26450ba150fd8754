/** Names that an app dials, looked up behind the kernel's wall. */
import { assertEquals } from "@std/assert";
import {
  ANSWERED,
  answersIn,
  ASKING_APP,
  ASKING_NET,
  NAMES,
  RESOLVED,
  untilAnswers,
  withNames,
} from "./harness/names.ts";
import { testWith } from "./harness/needs.ts";
import { Project } from "./harness/project.ts";
import { Server } from "./harness/server.ts";

testWith(
  NAMES,
  "names resolve behind the wall by UDP, and by TCP where UDP has no room for the answer",
  async () => {
    const project = await Project.create({
      files: { "app.ts": ASKING_APP },
      config: { net: ASKING_NET },
    });
    await using server = await Server.startOn(project, { prefix: await withNames(project.folder) });
    assertEquals(answersIn(await untilAnswers(server), ANSWERED), ANSWERED);
    // Deno's own resolver asks Deno's permissions for the name server.
    await project.configure({ net: [...ASKING_NET, "127.0.0.1:53"] });
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals(answersIn(await untilAnswers(server, 2), RESOLVED), RESOLVED);
  },
);

testWith(
  NAMES,
  "names resolve behind the wall where the name server has an IPv6 address",
  async () => {
    const project = await Project.create({
      files: { "app.ts": ASKING_APP },
      config: { net: ASKING_NET },
    });
    const prefix = await withNames(project.folder, "::1");
    await using server = await Server.startOn(project, { prefix });
    assertEquals(answersIn(await untilAnswers(server), ANSWERED), ANSWERED);
  },
);
