/** The PROXY protocol: its headers, and who the client is on connections that begin with one. */
import { assert, assertEquals } from "@std/assert";
import { parseProxyHeader } from "../lib/worker/proxy_header.ts";
import { randomFrom } from "./doubles/random.ts";
import { concat, formatRequest } from "./harness/http.ts";
import { checkProxied, LONGEST_V1, text, v2, WHOLE } from "./harness/proxied.ts";

const INVALID: readonly [what: string, header: Uint8Array][] = [
  ["a request", formatRequest("/")],
  ["TLS", Uint8Array.of(22, 3, 1, 2, 0)],
  ["v1 in small letters", text("proxy TCP4 192.0.2.7 10.0.0.1 4711 80\r\n")],
  ["v1 without its end", text(`PROXY TCP4 ${"1".repeat(200)}`)],
  ["v1 of 108 bytes", text(LONGEST_V1.replace("\r\n", "0\r\n"))],
  ["v1 with a bare LF", text("PROXY UNKNOWN\n")],
  ["v1 of another family", text("PROXY TCP5 192.0.2.7 10.0.0.1 4711 80\r\n")],
  ["v1 with IPv6 as IPv4", text("PROXY TCP4 2001:db8::1 ::1 5 6\r\n")],
  ["v1 with a zone", text("PROXY TCP6 fe80::1%1 ::1 5 6\r\n")],
  ["v1 with two spaces", text("PROXY TCP4  192.0.2.7 10.0.0.1 4711 80\r\n")],
  ["v1 with a space at its end", text("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80 \r\n")],
  ["v1 with a port above all", text("PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n")],
  ["v1 with a port that begins with 0", text("PROXY TCP4 192.0.2.7 10.0.0.1 080 80\r\n")],
  ["v1 without a port", text("PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n")],
  ["v2 of another version", v2({ command: 0x11 })],
  ["v2 of another command", v2({ command: 0x22 })],
  ["v2 of another family", v2({ family: 0x41 })],
  ["v2 of another transport", v2({ family: 0x13 })],
  ["v2 whose addresses are cut off", v2({ length: 11 })],
  ["v2 IPv6 with the addresses of IPv4", v2({ family: 0x21 })],
  ["v2 too long", v2({ length: 4_097 })],
  ["v2 of 64 KiB", v2({ length: 65_535 })],
  ["v2 with half an addition", v2({ tlvs: [1, 0] })],
  ["v2 with an addition beyond its end", v2({ tlvs: [1, 0, 9, 1] })],
];

for (const [what, header, wanted] of WHOLE) {
  Deno.test(`a PROXY header: ${what}`, () => {
    const request = formatRequest("/");
    const parsed = parseProxyHeader(concat([header, request]));
    assert(parsed.kind === "whole", JSON.stringify(parsed));
    const { length, client } = parsed;
    assertEquals(length, header.length);
    assertEquals(client === undefined ? "-" : `${client.hostname} ${client.port}`, wanted);
    // As it comes byte by byte: it asks for more, and never for what is the request's.
    for (let end = 0; end < header.length; end++) {
      const part = parseProxyHeader(header.subarray(0, end));
      assert(part.kind === "partial", `${end}: ${JSON.stringify(part)}`);
      assert(part.least > end && part.least <= header.length, `${end}: ${part.least}`);
    }
  });
}

Deno.test("a PROXY header says whether the client came over TLS, where it says so itself", () => {
  const secureBy = (tlvs: number[], more = {}) => {
    const parsed = parseProxyHeader(v2({ tlvs, ...more }));
    assert(parsed.kind === "whole", JSON.stringify(parsed));
    return parsed.secure;
  };
  const ssl = (client: number) => [0x20, 0, 5, client, 0, 0, 0, 0];
  assertEquals(secureBy([...ssl(1)]), true);
  assertEquals(secureBy([1, 0, 2, 104, 50, ...ssl(7)]), true);
  for (const not of [[], ssl(0), ssl(6), [0x20, 0, 0], [0x21, 0, 1, 1]]) {
    assertEquals(secureBy(not), false, not.join());
  }
  assertEquals(secureBy(ssl(1), { command: 0x20 }), false);
});

for (const [what, header] of INVALID) {
  Deno.test(`no PROXY header: ${what}`, () => {
    assertEquals(parseProxyHeader(header).kind, "invalid");
  });
}

Deno.test("whatever comes in the place of a PROXY header is judged, and bounded", () => {
  const random = randomFrom(20261129);
  const seeds = [...WHOLE, ...INVALID].map(([, header]) => header);
  for (let round = 0; round < 20_000; round++) {
    const bytes = seeds[Math.floor(random() * seeds.length)]!.slice();
    for (let change = Math.floor(random() * 4); change > 0; change--) {
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    }
    const parsed = parseProxyHeader(bytes.subarray(0, Math.floor(random() * (bytes.length + 1))));
    if (parsed.kind === "partial") assert(parsed.least <= 4_112);
    if (parsed.kind === "whole") assert(parsed.length <= bytes.length);
  }
});

Deno.test("the client is who the PROXY header says, and none is served without", async () => {
  await checkProxied("native");
});
