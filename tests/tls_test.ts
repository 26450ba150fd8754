/** HTTPS in the worker, on a listener that the supervisor lends it. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Config, ListenAddress } from "../lib/config/config.ts";
import { resolveActivated } from "../lib/supervisor/activated_socket.ts";
import { dnsNames } from "../lib/base/dns_names.ts";
import { ServerNames } from "../lib/worker/server_names.ts";
import { readTlsFiles, tlsPairs } from "../lib/supervisor/tls_files.ts";
import { Authority } from "./harness/certificates.ts";
import { concat, formatRequest, Wire } from "./harness/http.ts";
import { testWith } from "./harness/needs.ts";
import { Server } from "./harness/server.ts";
import { createTlsProject, getOver, shownTo, writeNumbered, writePair } from "./harness/tls.ts";
import { PATIENCE_MS } from "./harness/wait.ts";
import { Connection } from "./load/connection.ts";

Deno.test("sockets that systemd passes are served as the entry of listen says that names them", () => {
  const tls = [{ cert: "/srv/tls/cert.pem", key: "/srv/tls/key.pem" }];
  const web = { kind: "tcp", text: "0.0.0.0:443", host: "0.0.0.0", port: 443 } as const;
  const plain = { kind: "tcp", text: "0.0.0.0:80", host: "0.0.0.0", port: 80 } as const;
  const rows = [
    { address: web, passed: { fd: 3, name: "web" } },
    { address: plain, passed: { fd: 4, name: "plain" } },
  ];
  const listen: ListenAddress[] = [
    { kind: "systemd", text: "systemd:web", name: "web", tls },
    { kind: "systemd", text: "systemd:plain", name: "plain", redirect: true },
  ];
  const resolved = JSON.parse(JSON.stringify(resolveActivated(listen, rows)));
  assertEquals(resolved, [{ ...web, tls }, { ...plain, redirect: true }]);
});

Deno.test("HTTPS is refused on a Unix socket, whoever has passed it, and for more than a worker takes at once", async () => {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_tls_" });
  const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  await Deno.writeTextFile(cert, "cert");
  await Deno.writeTextFile(key, "key");
  const tcp = {
    kind: "tcp",
    text: "0.0.0.0:443",
    host: "0.0.0.0",
    port: 443,
    tls: [{ cert, key }],
  };
  const unix = { kind: "unix", text: "unix:/run/a", path: "/run/a", mode: 0, tls: [{ cert, key }] };
  const configOf = (...listen: object[]) => ({ listen }) as unknown as Config;
  try {
    const good = configOf(tcp, { ...tcp, tls: undefined });
    await readTlsFiles(good);
    assertEquals(tlsPairs(good), [[{ cert: "cert", key: "key" }]]);
    await assertRejects(() => readTlsFiles(configOf(unix)), Error, "it is a Unix socket");
    await Deno.writeTextFile(cert, "c".repeat(540_000));
    await assertRejects(() => readTlsFiles(configOf(tcp)), Error, "at most 524288 fit");
    await Deno.remove(key);
    await assertRejects(() => readTlsFiles(configOf(tcp)), Error, "cannot read it");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("of several certificates a client gets the one with the name that it asks for, or the first", () => {
  const names = new ServerNames([
    dnsNames("DNS:a.test, IP Address:127.0.0.1, DNS:*.a.test"),
    dnsNames("DNS:B.test, DNS:www.a.test, DNS:a.test"),
    dnsNames(undefined),
  ]);
  const rows = [
    ...[["", 0], ["a.test", 0], ["b.test", 1], ["B.TEST", 1], ["x.a.test", 0]],
    ...[["www.a.test", 1], ["x.y.a.test", 0], [".a.test", 0], ["*.b.test", 0], ["127.0.0.1", 0]],
  ] as [string, number][];
  for (const [name, index] of rows) assertEquals(names.find(name), index, name);
  const unknown = Array.from({ length: 2_000 }, (_, index) => names.find(`${index}.unknown`));
  assertEquals(unknown.slice(0, 900).every((index) => index === 0), true);
  assertEquals(unknown.at(-1), undefined);
  for (const [name, index] of rows.slice(0, 6)) assertEquals(names.find(name), index, name);
});

const NEEDS = { programs: ["openssl"] } as const;

/** Says what it is told of a request, and what it may listen on and dial. */
const APP = `
const tries = {
  listen: () => Deno.listen({ hostname: "127.0.0.1", port: 1 }),
  listenAnywhere: () => Deno.listen({ port: 0 }),
  dial: () => Deno.connect({ hostname: "127.0.0.1", port: 1 }),
  ask: async () => {
    const { state } = await Deno.permissions.request({ name: "net", host: "127.0.0.1:1" });
    if (state !== "granted") throw new Deno.errors.NotCapable(state);
  },
};
export default {
  async fetch(request, info) {
    const { pathname, protocol } = new URL(request.url);
    if (pathname === "/echo") return new Response(request.body);
    if (pathname !== "/tries") return new Response(protocol + " " + info.remoteAddr.hostname);
    const results = {};
    for (const [name, attempt] of Object.entries(tries)) {
      results[name] = await Promise.resolve().then(attempt).then(() => "done", ({ name }) => name);
    }
    return Response.json(results);
  },
};
`;

testWith(
  NEEDS,
  "HTTPS is served by HTTP/1.1 and HTTP/2, and the app may not listen or dial",
  async () => {
    await using authority = await Authority.create();
    const { project, port, plainPort } = await createTlsProject(await authority.issue(), {
      files: { "app.ts": APP },
    });
    await using server = await Server.startOn(project);
    const origin = `https://localhost:${port}`;
    for (const version of ["http1", "http2"] as const) {
      const only = { http1: version === "http1", http2: version === "http2" };
      const { text } = await getOver(authority.cert, `${origin}/`, only);
      assertEquals(text, "https: 127.0.0.1", version);
    }
    for (const offered of ["h2", "http/1.1"]) {
      const caCerts = [authority.cert];
      const options = { hostname: "localhost", port, caCerts, alpnProtocols: [offered] };
      using connection = await Deno.connectTls(options);
      assertEquals((await connection.handshake()).alpnProtocol, offered);
    }
    const { text } = await getOver(authority.cert, `${origin}/tries`);
    const { listen, listenAnywhere, dial, ask } = JSON.parse(text);
    assertEquals([listen, listenAnywhere, dial, ask], Array(4).fill("NotCapable"));
    assertEquals(server.eventsOf("call_denied"), []);
    const sent = await getOver(authority.cert, `http://localhost:${plainPort}/a%20b?c=1`);
    assertEquals([sent.status, sent.location], [308, `${origin}/a%20b?c=1`]);
  },
);

testWith(
  NEEDS,
  "a reload takes a new certificate, and leaves open connections as they are",
  async () => {
    await using before = await Authority.create("before");
    await using after = await Authority.create("after");
    const { project, port } = await createTlsProject(await before.issue(), {
      files: { "app.ts": APP },
    });
    await using server = await Server.startOn(project);
    const origin = `https://localhost:${port}`;
    const target = { kind: "tcp", hostname: "localhost", port, ca: before.cert } as const;
    using wire = new Wire(await Connection.open(target, PATIENCE_MS));
    await wire.write(
      formatRequest("/echo", { method: "POST", headers: { "content-length": "2" } }),
    );
    await wire.write("a");
    const body = wire.body(await wire.head());
    const first = await body.next();
    await writePair(project, await after.issue("rsa"));
    assertEquals((await server.reload()).outcome, "done");
    assertEquals((await getOver(after.cert, `${origin}/`)).status, 200);
    await assertRejects(() => getOver(before.cert, `${origin}/`), TypeError);
    await wire.write("b");
    const rest = await Array.fromAsync(body);
    assertEquals(new TextDecoder().decode(concat([first.value!, ...rest])), "ab");
    assertEquals((await server.waitFor("generation_ended")).outcome, "drained");
  },
);

testWith(
  NEEDS,
  "a pair that does not fit, and a key within reach, are refused; the old one serves on",
  async () => {
    await using authority = await Authority.create();
    const pair = await authority.issue();
    const { project, port } = await createTlsProject(pair, { files: { "app.ts": APP } });
    await using server = await Server.startOn(project);
    const refused = async (why: RegExp) => {
      const { outcome, reason } = await server.reload();
      assertEquals(outcome, "refused");
      assertMatch(reason!, why);
      assertEquals((await getOver(authority.cert, `https://localhost:${port}/`)).status, 200);
    };
    await project.write("tls/key.pem", (await authority.issue()).key);
    await Deno.chmod(project.path("tls/key.pem"), 0o600);
    await refused(/listen\[0\]\.key: ".*key\.pem" is not the private key of the certificate/);
    await project.write("tls/cert.pem", "nothing");
    await refused(/listen\[0\]\.cert: ".*cert\.pem" is no certificate in PEM/);
    await writePair(project, pair);
    await project.configure({ unveil: { "./tls": "r" } });
    await refused(/"\.?.*tls" with "r" reaches a file of a certificate or its key/);
    await project.configure({ unveil: {} });
    await Deno.chmod(project.path("tls/key.pem"), 0o604);
    await refused(/a private key, may be read by everybody .*chmod o-r/);
    await Deno.chmod(project.path("tls/key.pem"), 0o600);
    assertEquals((await server.reload()).outcome, "done");
  },
);

testWith(
  NEEDS,
  "several certificates are served at one address, each by its names; a reload adds and takes them",
  async () => {
    await using authority = await Authority.create();
    const [first, second] = [
      await authority.issue("ec"),
      await authority.issue("rsa", "b.test", "*.b.test"),
    ];
    const { project, port } = await createTlsProject(first, { files: { "app.ts": APP } });
    const listen = (certs: object[]) =>
      project.configure({
        listen: [{ https: `127.0.0.1:${port}`, certs }, `127.0.0.1:${project.port}`],
      });
    const places = await writeNumbered(project, [first, second]);
    await listen(places);
    await using server = await Server.startOn(project);
    const shown = async (name?: string) => (await shownTo(port, name))?.includes("b.test");
    for (const name of ["b.test", "B.test", "x.b.test"]) {
      assertEquals(await shown(name), true, name);
    }
    for (const name of ["localhost", undefined, "unknown.test", "y.x.b.test"]) {
      assertEquals(await shown(name), false, name);
    }
    for (const version of ["http1", "http2"] as const) {
      const only = { http1: version === "http1", http2: version === "http2" };
      const { text } = await getOver(authority.cert, `https://localhost:${port}/`, only);
      assertEquals(text, "https: 127.0.0.1", version);
    }
    await listen(places.slice(0, 1));
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await shown("b.test"), false);
    await listen(places);
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await shown("b.test"), true);
    await writeNumbered(project, [first, { ...second, key: first.key }]);
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertMatch(reason!, /listen\[0\]\.certs\[1\]\.key: ".*1\.key\.pem" is not the private key/);
    assertEquals(await shown("b.test"), true);
  },
);
