/** Connections that keep a worker from everything else are ended, and no others. */
import { assert, assertEquals } from "@std/assert";
import { Authority } from "../harness/certificates.ts";
import { beHonest, besiege, type Place } from "../harness/hostile_clients.ts";
import { HTTP2 } from "../harness/hostile_kinds.ts";
import { concat } from "../harness/http.ts";
import { testWith } from "../harness/needs.ts";
import { Server } from "../harness/server.ts";
import { limitedWhen } from "../harness/slow_clients.ts";
import { createTlsProject } from "../harness/tls.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";

/** Each frame is right by itself. */
const FLOODS = [
  ...["PING, no answer read", "SETTINGS, no answer read", "empty DATA"],
  ...["WINDOW_UPDATE", "PRIORITY", "unknown frames"],
];
const EACH = 1;
const UPLOAD = new Uint8Array(8_000_000);

/** Reads whole or piece by piece; for `/busy` it computes, so that nothing else has its turn. */
const APP = `
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/busy") for (const end = Date.now() + 400; Date.now() < end;);
    if (pathname === "/whole" || pathname === "/") {
      return new Response(String((await request.arrayBuffer()).byteLength));
    }
    let bytes = 0;
    for await (const piece of request.body ?? []) bytes += piece.length;
    return new Response(String(bytes));
  },
};
`;

async function startServer(authority: Authority, http: Record<string, unknown> = {}) {
  const { project, port } = await createTlsProject(await authority.issue(), {
    files: { "app.ts": APP },
    config: { http },
  });
  const https = { https: `127.0.0.1:${port}`, cert: "./tls/cert.pem", key: "./tls/key.pem" };
  await project.configure({ listen: [`127.0.0.1:${project.port}`, https] });
  const server = await Server.startOn(project);
  const tls: Place = { port, ca: authority.cert };
  return { server, plain: { port: project.port } as Place, tls };
}

/** Uploads by each protocol and in each way; what the app has got of each. */
async function upload({ plain, tls }: { plain: Place; tls: Place }): Promise<string[]> {
  using http1 = Deno.createHttpClient({ caCerts: [tls.ca!], http2: false });
  using http2 = Deno.createHttpClient({ caCerts: [tls.ca!], http1: false });
  return await Promise.all(["whole", "pieces"].flatMap((path) =>
    [
      { url: `http://127.0.0.1:${plain.port}/${path}`, client: http1 },
      { url: `https://127.0.0.1:${tls.port}/${path}`, client: http1 },
      { url: `https://127.0.0.1:${tls.port}/${path}`, client: http2 },
    ].map(async ({ url, client }) =>
      await fetch(url, { client, method: "POST", body: UPLOAD }).then(
        (answer) => answer.text(),
        ({ message, cause }) => `${url}: ${message}: ${cause}`,
      )
    )
  ));
}

/** As fast as a worker reads them. */
function flood(place: Place, end: AbortSignal) {
  const times = 10;
  return Promise.all(FLOODS.map((kind) => {
    const { then, ...hostile } = HTTP2[kind]!;
    const more = (count: number) =>
      concat(Array.from({ length: times }, (_, at) => then!(times * count + at)));
    return besiege(place, { ...hostile, then: more, everyMs: 1 }, EACH, end);
  }));
}

for (const over of ["plain", "tls"] as const) {
  testWith(
    { programs: ["openssl"] },
    `who floods a worker with frames over ${over} is cut, and no other client loses anything`,
    async () => {
      await using authority = await Authority.create();
      const places = await startServer(authority);
      await using server = places.server;
      const [worker] = await server.workers();
      const enough = new AbortController();
      const end = AbortSignal.any([enough.signal, AbortSignal.timeout(PATIENCE_MS)]);
      const flooding = flood({ ...places[over], alpn: "h2" }, end);
      const honest = [places.plain, places.tls].flatMap((place) => [
        beHonest(place, "new", end),
        beHonest(place, "kept", end),
      ]);
      try {
        const uploading = upload(places);
        await limitedWhen(server, ({ flood = 0 }) => flood >= 3);
        assertEquals(await uploading, Array(6).fill(String(UPLOAD.length)));
      } finally {
        enough.abort();
      }
      const stayed = (await flooding).flat();
      assert(stayed.filter(({ endedMs }) => endedMs !== undefined).length >= 1);
      assertEquals((await Promise.all(honest)).flatMap(({ failed }) => failed), []);
      assertEquals(await server.workers(), [worker]);
    },
  );
}

testWith(
  { programs: ["openssl"] },
  "a client that floods again is refused for a while",
  async () => {
    await using authority = await Authority.create();
    const { server: started, plain, tls } = await startServer(authority, { penaltyExempt: [] });
    await using server = started;
    const end = AbortSignal.timeout(PATIENCE_MS);
    const enough = new AbortController();
    const flooding = flood({ ...tls, alpn: "h2" }, AbortSignal.any([end, enough.signal]));
    try {
      await limitedWhen(server, ({ flood = 0 }) => flood >= 3);
    } finally {
      enough.abort();
      await flooding;
    }
    await until("a client of that address to be refused", async () => {
      const refused = await fetch(`http://127.0.0.1:${plain.port}/`).then(
        async (answer) => (await answer.body?.cancel(), false),
        () => true,
      );
      return refused;
    });
    await limitedWhen(server, ({ maxPenaltyMs = 0 }) => maxPenaltyMs >= 1);
  },
);

testWith({ programs: ["openssl"] }, "an app that computes for long costs no client", async () => {
  await using authority = await Authority.create();
  const places = await startServer(authority);
  await using server = places.server;
  const enough = new AbortController();
  const computing = (async () => {
    let count = 0;
    for (; !enough.signal.aborted; count++) {
      await (await fetch(`http://127.0.0.1:${places.plain.port}/busy`)).body?.cancel();
    }
    return count;
  })();
  try {
    for (let round = 0; round < 3; round++) {
      assertEquals(await upload(places), Array(6).fill(String(UPLOAD.length)));
    }
  } finally {
    enough.abort();
  }
  assert(await computing > 3);
  const [worker] = (await server.status()).generations[0]!.workers;
  assertEquals(worker!.process?.limited?.flood, undefined);
});
