/** Conformance to HTTP/2, beside a bare `Deno.serve` with the same app: before, during and after reloads. */
import { assert, assertEquals } from "@std/assert";
import { BareServer } from "../harness/bare_server.ts";
import { Authority } from "../harness/certificates.ts";
import { runH2spec } from "../harness/h2spec.ts";
import { testWith } from "../harness/needs.ts";
import { Server } from "../harness/server.ts";
import { createTlsProject } from "../harness/tls.ts";

/** It takes its time: some cases say more on a stream that must not have been answered before. */
const APP = `
export default {
  async fetch(request) {
    const text = await request.text();
    await new Promise((resolve) => setTimeout(resolve, 50));
    return new Response("hello " + text.length);
  },
};
`;

/** What Deno's server does otherwise than a case wants; docs/conformance.md says why. */
const KNOWN = {
  h2c: ["http2/3.5: Sends invalid connection preface"],
  tls: [],
};

const RUNS_DURING = 3;

testWith(
  { programs: ["h2spec", "openssl"] },
  "HTTP/2 is as conformant as Deno's own server, before, during and after reloads",
  async () => {
    await using authority = await Authority.create();
    const pair = await authority.issue();
    const { project, port } = await createTlsProject(pair, {
      files: { "app.ts": APP },
      config: { reload: { maxDraining: 8 } },
    });
    await project.configure({
      listen: [
        { https: `127.0.0.1:${port}`, cert: "./tls/cert.pem", key: "./tls/key.pem" },
        `127.0.0.1:${project.port}`,
      ],
    });
    await using server = await Server.startOn(project);
    const ports = { h2c: project.port, tls: port };
    const assertConformant = async () => {
      for (const over of ["h2c", "tls"] as const) {
        const { tests, failed } = await runH2spec(ports[over], over);
        assert(tests >= 145, `only ${tests} cases`);
        assertEquals(failed, KNOWN[over], over);
      }
    };
    for (const over of ["h2c", "tls"] as const) {
      await using bare = await BareServer.start({
        app: APP,
        pair: over === "tls" ? pair : undefined,
      });
      assertEquals((await runH2spec(bare.port, over)).failed, KNOWN[over], `bare, ${over}`);
    }
    await assertConformant();
    let enough = false;
    const reloading = (async () => {
      let reloads = 0;
      for (; !enough; reloads++) assertEquals((await server.reload()).outcome, "done");
      return reloads;
    })();
    reloading.catch(() => {}); // Awaited below.
    try {
      for (let run = 0; run < RUNS_DURING; run++) await assertConformant();
    } finally {
      enough = true;
      await reloading;
    }
    assert(await reloading > 1);
    await assertConformant();
  },
);
