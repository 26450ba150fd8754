/** Real hostile workers: one for each of the rules that an operator meets. The others are in deep/. */
import { assertEquals, assertMatch } from "@std/assert";
import { PROTOCOL_VERSION } from "../lib/protocol/version.ts";
import {
  ask,
  assertUnharmed,
  Besieged,
  bringInHostile,
  BROKE,
  type Candidate,
  ENTRY,
  GOOD,
  violating,
} from "./harness/besieged.ts";
import { Server } from "./harness/server.ts";

const CANDIDATES: Record<string, Candidate> = {
  "sends no JSON": violating("frame_not_json", "await send(frame('{\"type\":'));"),
  "says ready before hello": violating("not_permitted", "await say(READY);"),
  "sends half a header and falls silent": violating(
    "frame_stalled",
    "await goTo('loading'); await send(Buffer.alloc(2));",
  ),
  "exits with 1 while loading": {
    program: "await goTo('loading'); Deno.exit(1);",
    reason: /ended before it said ready: exited with status 1/,
  },
};

Deno.test("each of these new workers is refused, and the old one goes on serving", async (t) => {
  await using besieged = await Besieged.start();
  for (const [what, candidate] of Object.entries(CANDIDATES)) {
    await t.step(`a new worker that ${what}`, () => besieged.meet(candidate));
  }
  await t.step("the versions of both sides are in the log when they differ", async () => {
    const { server } = besieged;
    const versions = `the worker speaks protocol 99, the supervisor ${PROTOCOL_VERSION}`;
    await besieged.meet({
      ...violating("version_mismatch", "await say({ ...HELLO, version: 99 });"),
      reason: new RegExp(`${versions} \\(killed by SIGKILL\\)`),
    });
    assertEquals(server.eventsOf("worker_violation").at(-1)!.detail, versions);
  });
  await besieged.assertReloads();
});

Deno.test("a serving worker that floods with pulses is replaced, and a reload ends the flood", async () => {
  await using server = await Server.start({
    entry: ENTRY,
    config: { reload: { readyDeadlineMs: 20_000, drainDeadlineMs: 300, idleGraceMs: 100 } },
  });
  await bringInHostile(
    server,
    "await goTo('serving'); for (;;) await say(...Array.from({ length: 99 }, () => PULSE));",
  );
  assertEquals((await server.hangUp()).event, "reload_done");
  assertMatch(String((await server.waitFor("worker_lost")).how), BROKE("too_many_messages"));
  await server.waitFor("worker_ready", 3);
  await assertUnharmed(server);
  await server.project.configure(GOOD);
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await ask(server, "/"), "one /");
});

Deno.test("an app that asks for a shell on the worker's channel is refused, and the old one goes on", async () => {
  await using server = await Server.start();
  await server.project.write(
    "app.ts",
    `import net from "node:net";
    import { Buffer } from "node:buffer";
    const write = net.Socket.prototype.write;
    // The app gets at the worker's channel by standing in for the method that writes to it.
    net.Socket.prototype.write = function () {
      const payload = Buffer.from('{"type":"exec","path":"/bin/sh"}');
      const header = Buffer.alloc(4);
      header.writeUInt32BE(payload.length);
      return write.call(this, Buffer.concat([header, payload]));
    };
    export default { fetch: () => new Response("hostile") };`,
  );
  const refused = await server.hangUp();
  assertEquals(refused.event, "reload_refused");
  assertMatch(String(refused.reason), BROKE("bad_message"));
  assertEquals(server.eventsOf("worker_violation").map((event) => event.rule), ["bad_message"]);
  assertEquals(await ask(server, "/"), "one /");
  await assertUnharmed(server);
});
