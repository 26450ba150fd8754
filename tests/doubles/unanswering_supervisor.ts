/**
 * Spawns two processes behind walls, and never answers the kernel's questions about their execs: what a
 * supervisor looks like that is killed at that moment. Says "asked" when it is asked.
 */
import { waitForAny } from "../../lib/os/poll.ts";
import { answerQuestion, takeQuestion } from "../../lib/os/seccomp.ts";
import { landlockAbi } from "../../lib/os/landlock.ts";
import { type Arch, numberOf } from "../../lib/sandbox/seccomp.ts";
import { type Wall, workerWall } from "../../lib/sandbox/wall.ts";
import type { FromSpawner, Spawn } from "../../lib/supervisor/spawner_message.ts";
import { makeConfig } from "../harness/config.ts";

const say = (text: string) => void Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
const [folder] = Deno.args as [string];
const arch = Deno.build.arch as Arch;
const facts = {
  ...{ arch, abi: landlockAbi(), denoProgram: Deno.execPath(), forbidden: `${folder}/forbidden` },
  ...{ files: [], code: { reads: [] }, interpretsAlone: false },
};
Deno.writeTextFileSync(facts.forbidden, "");
const wall: Wall = workerWall(makeConfig({ unveil: [] }), facts);
for (let count = 0; count < 2; count++) {
  const thread = new Worker(new URL("../../lib/supervisor/spawner_thread.ts", import.meta.url), {
    type: "module",
  });
  thread.onmessage = async ({ data }: MessageEvent<FromSpawner>) => {
    if (data.type !== "confined") return say(JSON.stringify(data));
    const fd = data.questions!;
    while (true) {
      const [ready] = await waitForAny([fd], 1_000);
      if (ready === undefined) continue;
      const question = takeQuestion(fd);
      if (question === undefined || question === "closed") continue;
      if (question.number === numberOf("clone", arch)) answerQuestion(fd, question.id, "continue");
      else say("asked");
    }
  };
  thread.postMessage(
    {
      wall,
      program: {
        ...{ program: Deno.execPath(), args: ["--version"], env: {}, cwd: "/" },
        ...{ descriptors: [0, 1, 2], account: undefined },
      },
    } satisfies Spawn,
  );
}
