/** What slow and greedy clients are allowed; tests/deep/limits_test.ts has each limit on each engine. */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_HTTP_LIMITS } from "../lib/base/http_limits.ts";
import { clientKey } from "../lib/worker/limits_address.ts";
import { Pace } from "../lib/worker/pace.ts";
import { Penalties } from "../lib/worker/penalties.ts";
import { formatRequest, Wire } from "./harness/http.ts";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

const APP = `
export default {
  fetch: async (request) => new Response(String((await request.arrayBuffer()).byteLength)),
};
`;

Deno.test("who is slow or greedy is cut, it is told, and others are served", async () => {
  await using server = await Server.start({
    files: { "app.ts": APP },
    config: { http: { headerTimeoutMs: 500, bodyTimeoutMs: 500, maxBodyBytes: 1_000 } },
  });
  const { port } = server.project;
  using silent = await Wire.open(port);
  using half = await Wire.open(port);
  await half.write("GET / HTTP/1.1\r\nhost: a\r\nx-a: ");
  using late = await Wire.open(port);
  await late.write(formatRequest("/", { method: "POST", headers: { "content-length": "1000" } }));
  using greedy = await Wire.open(port);
  await greedy.write(formatRequest("/", { method: "POST", headers: { "content-length": "1001" } }));
  assertEquals((await greedy.answer()).status, 413);
  for (const wire of [silent, half, late]) assert(await wire.ended() !== "more");
  assertEquals(await (await server.get("/", { method: "POST", body: "honest" })).text(), "6");
  const wanted = { headerTimeoutMs: 2, bodyTimeoutMs: 1, maxBodyBytes: 1 };
  await until("each to be counted", async () => {
    const limited = (await server.status()).generations[0]?.workers[0]?.process?.limited;
    return JSON.stringify(Object.entries(limited ?? {}).sort()) ===
      JSON.stringify(Object.entries(wanted).sort());
  });
  await server.waitFor("clients_limited");
});

Deno.test("an IPv6 client is its /64, and a mapped address is IPv4", () => {
  const keys: Record<string, string | undefined> = {
    "192.0.2.7": "192.0.2.7",
    "::ffff:192.0.2.7": "192.0.2.7",
    "::ffff:c000:207": "192.0.2.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:DB8:1:2::9": "2001:db8:1:2::/64",
    "2001:db8::1": "2001:db8:0:0::/64",
    "::1": "0:0:0:0::/64",
    "fe80::1%eth0": "fe80:0:0:0::/64",
    "64:ff9b::192.0.2.7": "64:ff9b:0:0::/64",
    "": undefined,
    "x": undefined,
  };
  for (const [address, key] of Object.entries(keys)) assertEquals(clientKey(address), key, address);
});

Deno.test("a client's time is used up by waiting, and earned by bytes", () => {
  const pace = new Pace(
    { ...DEFAULT_HTTP_LIMITS, bodyTimeoutMs: 10_000, minBytesPerSecond: 100 },
    "bodyTimeoutMs",
  );
  const now = performance.now();
  assertEquals(pace.exceeded(now + 1e9), undefined, "nobody is waited for");
  pace.wait();
  assertEquals(pace.exceeded(now + 9_000), undefined);
  assertEquals(pace.exceeded(now + 11_000), "bodyTimeoutMs");
  pace.forgive(5_000, now + 11_000);
  assertEquals(pace.exceeded(now + 14_000), undefined, "not all of it was the client's");
  assertEquals(pace.exceeded(now + 16_000), "bodyTimeoutMs");
  pace.pass(1_000);
  pace.wait();
  assertEquals(pace.exceeded(performance.now() + 9_000), undefined, "never more than at first");
  const long = new Pace(DEFAULT_HTTP_LIMITS, "sendTimeoutMs", 1_000_000);
  long.wait();
  assertEquals(long.exceeded(performance.now() + 9_000_000), undefined);
  assertEquals(long.exceeded(performance.now() + 11_000_000), "sendTimeoutMs");
  const any = new Pace(
    { ...DEFAULT_HTTP_LIMITS, bodyTimeoutMs: 0, minBytesPerSecond: 0 },
    "bodyTimeoutMs",
  );
  any.wait();
  assertEquals(any.exceeded(now + 1e9), undefined);
});

Deno.test("a penalty grows with what a client does, fades, and ends at its most", () => {
  let nowMs = 1_000;
  const penalties = new Penalties(60_000, ["192.0.2.0/24", "2001:db8:9::/48"], () => nowMs);
  const cut = (client: string, times: number) => {
    for (let left = times; left > 0; left--) penalties.add(client, "bodyTimeoutMs");
  };
  cut("198.51.100.1", 7);
  assertEquals(penalties.leftMs("198.51.100.1"), 0, "chance brings that about");
  cut("198.51.100.1", 3);
  assertEquals(penalties.leftMs("198.51.100.1"), 5_000);
  assertEquals(penalties.leftMs("198.51.100.2"), 0);
  nowMs += 5_000;
  assertEquals(penalties.leftMs("198.51.100.1"), 0);
  cut("::ffff:198.51.100.1", 1_000);
  assertEquals(penalties.leftMs("198.51.100.1"), 60_000);
  nowMs += 75_000;
  assertEquals(penalties.leftMs("198.51.100.1"), 0);
  cut("2001:db8::1", 10);
  assertEquals(penalties.leftMs("2001:db8::2"), 5_000, "of the same /64");
  for (const exempt of ["192.0.2.1", "2001:db8:9::1"]) {
    cut(exempt, 1_000);
    assertEquals(penalties.leftMs(exempt), 0);
  }
  // What does not hold a worker up, and what happens to everybody.
  for (const kind of ["keepAliveTimeoutMs", "maxConnectionsPerAddress", "maxRequests"] as const) {
    for (let left = 1_000; left > 0; left--) penalties.add("198.51.100.3", kind);
  }
  assertEquals(penalties.leftMs("198.51.100.3"), 0);
  const never = new Penalties(0, [], () => nowMs);
  for (let left = 1_000; left > 0; left--) never.add("198.51.100.1", "bodyTimeoutMs");
  assertEquals(never.leftMs("198.51.100.1"), 0);
});

Deno.test("penalties of many clients are bounded, and the latest ones count", () => {
  const penalties = new Penalties(60_000, [], () => 0);
  const clients = Array.from({ length: 5_000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
  for (const client of clients) {
    for (let left = 10; left > 0; left--) penalties.add(client, "bodyTimeoutMs");
  }
  const refused = clients.filter((client) => penalties.leftMs(client) > 0);
  assertEquals(refused, clients.slice(-refused.length));
  assert(refused.length < 5_000);
});
