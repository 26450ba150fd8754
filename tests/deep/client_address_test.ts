/** Who the client is, where proxies in front say it. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { ClientAddress } from "../../lib/worker/client_address.ts";
import { parseConfig } from "../../lib/config/load.ts";
import { ConfigError } from "../../lib/config/problem.ts";
import { Wire } from "../harness/http.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const tcp = (hostname: string): Deno.NetAddr => ({ transport: "tcp", hostname, port: 4711 });

/** Who the client is and how it came, by headers of a request from `peer`. */
function read(
  peer: Deno.Addr,
  headers: Record<string, string>,
  trusted = ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "unix"],
  header = "x-forwarded-for",
): string {
  const addresses = new ClientAddress({ trusted, header });
  if (!addresses.trusts(peer)) return "untrusted";
  const { client, scheme } = addresses.factsOf(peer, (name) => headers[name] ?? null);
  const { hostname, port } = client as Deno.NetAddr;
  return [hostname ?? client.transport, ...port ? [port] : [], scheme ?? []].flat().join(" ");
}

const LISTS: [what: string, list: string, client: string][] = [
  ["one client", "192.0.2.7", "192.0.2.7"],
  ["what the client made up comes first", "6.6.6.6, 192.0.2.7", "192.0.2.7"],
  ["proxies that are trusted are passed", "6.6.6.6, 192.0.2.7, 10.1.1.1,10.2.2.2", "192.0.2.7"],
  ["all are trusted: the first", "10.3.3.3, 10.1.1.1", "10.3.3.3"],
  ["a trusted one as IPv6 spells it", "192.0.2.7, ::ffff:10.1.1.1", "192.0.2.7"],
  ["with a port", "192.0.2.7:8080", "192.0.2.7 8080"],
  ["IPv6", "2001:db8::7", "2001:db8::7"],
  ["IPv6 with a port", "[2001:db8::7]:443", "2001:db8::7 443"],
  ["a trusted IPv6", "2001:db8::7, fd12::1", "2001:db8::7"],
  ["no list", "", "10.0.0.1 4711"],
  ["no address: whoever said it", "192.0.2.7, unknown", "10.0.0.1 4711"],
  ["no address further on: who said that", "unknown, 10.9.9.9", "10.9.9.9"],
  ["a name", "evil.example", "10.0.0.1 4711"],
  ["a zone", "fe80::1%eth0", "10.0.0.1 4711"],
  ["a number above a byte", "192.0.2.300", "10.0.0.1 4711"],
  ["empty entries", ",,", "10.0.0.1 4711"],
  ["an empty last entry", "192.0.2.7,", "10.0.0.1 4711"],
];

for (const [what, list, client] of LISTS) {
  Deno.test(`address list: ${what}`, () => {
    assertEquals(read(tcp("10.0.0.1"), { "x-forwarded-for": list }), client);
  });
}

const FORWARDED: [what: string, text: string, client: string][] = [
  ["one client", "for=192.0.2.7", "192.0.2.7"],
  [
    "in quotes, with a port, and a scheme",
    'For="[2001:db8::7]:443";proto=https',
    "2001:db8::7 443 https",
  ],
  [
    "several proxies",
    'for=6.6.6.6, for=192.0.2.7;proto=http;by=10.1.1.1, for="10.1.1.1";proto=https',
    "192.0.2.7 https",
  ],
  ["a comma in quotes is no other proxy", 'for=192.0.2.7;host="a,for=6.6.6.6"', "192.0.2.7"],
  ["a hidden client", "for=_hidden, for=10.2.2.2", "10.2.2.2"],
  ["unknown", "for=unknown", "10.0.0.1 4711"],
  ["quotes that do not end", 'for="192.0.2.7', "10.0.0.1 4711"],
  ["no parameter", "192.0.2.7", "10.0.0.1 4711"],
  ["without for", "proto=https;host=example.com", "10.0.0.1 4711 https"],
];

for (const [what, text, client] of FORWARDED) {
  Deno.test(`Forwarded: ${what}`, () => {
    const read7239 = read(tcp("10.0.0.1"), { forwarded: text }, undefined, "forwarded");
    assertEquals(read7239, client);
  });
}

Deno.test("only a trusted peer is believed, a Unix socket's only where it is named", () => {
  const headers = { "x-forwarded-for": "192.0.2.7" };
  assertEquals(read(tcp("192.0.2.9"), headers), "untrusted");
  assertEquals(read(tcp("::ffff:10.0.0.1"), headers), "192.0.2.7");
  assertEquals(read({ transport: "unix", path: "/s" }, headers), "192.0.2.7");
  assertEquals(read({ transport: "unix", path: "/s" }, headers, ["10.0.0.0/8"]), "untrusted");
  assertEquals(
    read(tcp("10.0.0.1"), { "cf-connecting-ip": "192.0.2.7" }, undefined, "cf-connecting-ip"),
    "192.0.2.7",
  );
});

Deno.test("the scheme is what the nearest proxy says", () => {
  const said = (schemes: string) =>
    read(tcp("10.0.0.1"), { "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": schemes });
  assertEquals(
    ["https", "HTTPS", "https, http", "http, https", "ftp", ""].map(said),
    ["https", "https", "http", "https", "", ""].map((scheme) => `192.0.2.7 ${scheme}`.trim()),
  );
});

Deno.test("a long list costs no more than what is read of it", () => {
  const list = "6.6.6.6, ".repeat(7_000) + "192.0.2.7";
  assertEquals(read(tcp("10.0.0.1"), { "x-forwarded-for": list }), "192.0.2.7");
  const text = 'for=6.6.6.6;by="\\\\", '.repeat(2_500) + "for=192.0.2.7";
  assertEquals(read(tcp("10.0.0.1"), { forwarded: text }, undefined, "forwarded"), "192.0.2.7");
});

const REFUSED: [entry: string, code: string][] = [
  ["0.0.0.0/0", "proxy_anybody"],
  ["::/0", "proxy_anybody"],
  ["10.0.0.0/33", "proxy_invalid"],
  ["10.0.0.0/8/8", "proxy_invalid"],
  ["fd00::/129", "proxy_invalid"],
  ["proxy.internal", "proxy_invalid"],
  ["fe80::1%eth0", "proxy_invalid"],
];

for (const [entry, code] of REFUSED) {
  Deno.test(`trustedProxies: ${entry} is refused`, () => {
    const config = { app: "./a.ts", listen: ["127.0.0.1:1"], trustedProxies: [entry] };
    try {
      parseConfig(JSON.stringify(config), "f");
    } catch (error) {
      return assertEquals((error as ConfigError).problems.map((each) => each.code), [code]);
    }
    assert(false, "accepted");
  });
}

const TELLING_APP = `export default {
  fetch: (request, { remoteAddr }) =>
    new Response((remoteAddr.hostname ?? remoteAddr.path ?? "?") + " " + new URL(request.url).protocol),
};`;

for (const engine of ["native", "node"] as const) {
  Deno.test(`${engine}: app and access log have the client's address behind a trusted proxy, and the proxy's else`, async () => {
    await using server = await Server.start({
      files: { "app.ts": TELLING_APP },
      config: { engine, trustedProxies: ["127.0.0.1"], log: { folder: "./logs", access: "json" } },
    });
    const ask = async (...headers: [string, string][]) =>
      await (await fetch(server.project.origin, { headers })).text();
    // All on one connection: it is the proxy's, and its requests are of many clients.
    assertEquals(await ask(["x-forwarded-for", "6.6.6.6, 192.0.2.1"]), "192.0.2.1 http:");
    assertEquals(
      await ask(["x-forwarded-for", "192.0.2.2"], ["x-forwarded-proto", "https"]),
      "192.0.2.2 https:",
    );
    assertEquals(await ask(), "127.0.0.1 http:");
    const file = join(server.project.folder, "logs/access.log");
    const lines = await until("three records", () => {
      const text = Deno.readTextFileSync(file);
      return text.trim().split("\n").length === 3 && text;
    });
    for (const address of ["192.0.2.1", "192.0.2.2", "127.0.0.1"]) {
      assertStringIncludes(lines, `"remote":"${address}"`);
    }
    await server.project.configure({ trustedProxies: ["192.0.2.0/24"] });
    assertEquals((await server.reload()).outcome, "done");
    // On a connection of its own: the old worker has those of before for a while.
    const asked = async (place: number | string) => {
      using wire = await Wire.open(place);
      return (await wire.ask("/", { headers: { "X-Forwarded-For": "192.0.2.1" } })).text;
    };
    assertEquals(await asked(server.project.port), "127.0.0.1 http:");
    const listen = [`127.0.0.1:${server.project.port}`, "unix:./http.sock"];
    await server.project.configure({ listen, trustedProxies: ["unix"] });
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await asked(server.project.port), "127.0.0.1 http:");
    assertEquals(await asked(server.project.path("http.sock")), "192.0.2.1 http:");
  });
}
