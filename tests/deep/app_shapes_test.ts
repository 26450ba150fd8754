/** Every way in which an app says what answers requests. */
import { assertMatch, assertStringIncludes } from "@std/assert";
import { assertRefused, assertServed, REFUSED, SHAPES } from "../harness/app_shapes.ts";
import { Server } from "../harness/server.ts";

Deno.test("an app's own server is what is served, whatever its shape", async (t) => {
  await using server = await Server.start();
  for (const [name, app] of Object.entries(SHAPES)) {
    await t.step(name, () => assertServed(server, app));
  }
  const said = server.eventsOf("worker_output").map(({ text }) => String(text)).join("\n");
  assertMatch(said, /The app's server \(Deno\.serve\) is served on 127\.0\.0\.1:\d+/);
  assertStringIncludes(said, "port 8000 is not used");
  assertStringIncludes(said, "port 9090): it gets no requests");
  assertStringIncludes(said, "its own server is not");
});

Deno.test("an app that answers no requests is refused, and the reason says what is missing", async (t) => {
  await using server = await Server.start();
  for (const [name, { app, says }] of Object.entries(REFUSED)) {
    await t.step(name, () => assertRefused(server, app, says));
  }
});
