/** Certificates by ACME: what a config means, what is asked for, and what is answered on port 80. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { IncomingMessage } from "node:http";
import { CertificateKey, judge } from "../lib/acme/certificate.ts";
import { Challenges } from "../lib/acme/challenge_server.ts";
import { pem } from "../lib/acme/der.ts";
import { AcmeError, alarmAt, renewalAt, retryMs } from "../lib/acme/problem.ts";
import { Store } from "../lib/acme/store.ts";
import { acmeFiles } from "../lib/config/acme_place.ts";
import { checkConfig } from "../lib/config/check.ts";
import type { Config } from "../lib/config/config.ts";
import { loadConfig } from "../lib/config/load.ts";
import { ConfigError } from "../lib/config/problem.ts";
import { AcmeState } from "../lib/protocol/acme.ts";
import { acmeCompartment } from "../lib/sandbox/acme_compartment.ts";
import { namesOf } from "../lib/sandbox/resolver_compartment.ts";
import { workerArguments } from "../lib/sandbox/worker_command.ts";
import { makeConfig } from "./harness/config.ts";
import { testWith } from "./harness/needs.ts";
import { Project } from "./harness/project.ts";

const HTTPS = { https: "127.0.0.1:8443" };
const HTTP = { http: "127.0.0.1:8080", redirect: "https" };
const ACME = { names: ["example.com", "WWW.example.com"] };

async function load(change: Readonly<Record<string, unknown>>): Promise<Config | string[]> {
  await using project = await Project.create({ config: change });
  try {
    return await loadConfig(project.configFile);
  } catch (error) {
    assert(error instanceof ConfigError, String(error));
    return error.problems.map(({ code }) => code);
  }
}

Deno.test("names are all that a config needs, and what sends clients on is the acme process's", async () => {
  const config = await load({ listen: [HTTPS, "127.0.0.1:8000", HTTP], acme: ACME });
  assert(!Array.isArray(config), String(config));
  const { acme, listen, runtime } = config;
  assertEquals(acme?.names, ["example.com", "www.example.com"]);
  assertEquals(acme?.directory, "https://acme-v02.api.letsencrypt.org/directory");
  assertEquals(acme?.listen.map(({ text }) => text), ["127.0.0.1:8080"]);
  assertEquals(listen.map(({ text }) => text), ["127.0.0.1:8443", "127.0.0.1:8000"]);
  assertEquals(listen[0]!.tls, [acmeFiles(runtime)]);
  assertEquals(namesOf(config), ["acme-v02.api.letsencrypt.org"]);
});

Deno.test("a config with acme that cannot work is refused by what is wrong with it", async () => {
  const own = { ...HTTPS, cert: "c.pem", key: "k.pem" };
  const cases: [object, string[]][] = [
    [{ listen: [HTTPS] }, ["https_no_certificate"]],
    [{ listen: [own, HTTP], acme: ACME }, ["acme_unused"]],
    [{ listen: [HTTPS], acme: ACME }, ["acme_without_http"]],
    [{ listen: [HTTPS, { ...HTTP, proxyProtocol: true }], acme: ACME }, ["acme_behind_proxy"]],
    [{ listen: [HTTPS, { http: HTTPS.https, redirect: "https" }], acme: ACME }, [
      "listen_repeated",
    ]],
    [{ listen: [HTTPS, HTTP], acme: ACME, metrics: { listen: HTTP.http } }, ["listen_repeated"]],
    [{ listen: [HTTPS, HTTP], acme: ACME, wall: "deno" }, ["https_without_wall"]],
    [{ listen: [HTTPS, HTTP], acme: { ...ACME, trust: "./none.pem" } }, ["acme_trust"]],
    [{ listen: [HTTPS, HTTP], acme: { names: [] } }, ["value_small"]],
    ...["*.example.com", "10.0.0.1", "[::1]", "https://example.com", "a..b", "münchen.de", ""].map(
      (name): [object, string[]] => [
        { listen: [HTTPS, HTTP], acme: { names: [name] } },
        ["acme_name"],
      ],
    ),
    [{ listen: [HTTPS, HTTP], acme: { names: ["a.test", "A.test"] } }, ["entry_repeated"]],
    ...["http://ca.test/dir", "ca.test", "https://me@ca.test/dir"].map(
      (directory): [object, string[]] => [
        { listen: [HTTPS, HTTP], acme: { ...ACME, directory } },
        ["acme_directory"],
      ],
    ),
  ];
  for (const [change, codes] of cases) {
    assertEquals(await load({ ...change }), codes, JSON.stringify(change));
  }
});

/** Written out, so that a folder of another one does not pass by itself. */
const OWN = makeConfig({
  acme: { names: ["example.com"], directory: "https://ca.internal:8443/dir", listen: [] },
  runtime: "/srv/run",
});

Deno.test("the acme process has its folder and its authority, and nothing else", () => {
  const { acme } = OWN;
  const compartment = acmeCompartment(OWN, { ...acme!, trust: "/srv/ca.pem" }, "/m.ts");
  const given = workerArguments(compartment, { flags: [] }, "kernel");
  assertEquals(given.filter((flag) => /^--(allow|deny|ignore)-/.test(flag)), [
    "--allow-read=/srv/run/acme,/srv/ca.pem",
    "--ignore-read",
    "--allow-write=/srv/run/acme",
    "--allow-net=ca.internal:8443",
    "--ignore-env",
    "--deny-run",
    "--allow-ffi",
    "--deny-sys",
    "--deny-import",
  ]);
  assertEquals(compartment.account, undefined);
  assertEquals(compartment.jitless, true);
});

Deno.test("no unveil reaches what the acme process keeps, or whom it trusts", () => {
  const facts = {
    ...{ denoDir: "/var/cache/deno", denoProgram: "/opt/deno/bin/deno", holdfast: "/opt/holdfast" },
    ...{ modules: ["/srv/app/main.ts"], settings: [] },
  };
  const places = { homes: [], libraries: [] };
  const system = { uid: 0, readLink: () => undefined, exists: () => true, places };
  const check = (path: string, rights: string) =>
    checkConfig(
      {
        ...OWN,
        acme: { ...OWN.acme!, trust: "/srv/trust/ca.pem" },
        unveil: [{ path, rights, exists: true, folder: true }],
      },
      facts,
      system,
    ).map(({ code }) => code);
  assertEquals(check("/srv/run/acme", "r"), ["unveil_over_runtime"]);
  assertEquals(check("/srv/run/acme/account.json", "r"), ["unveil_over_runtime"]);
  assertEquals(check("/srv/trust", "rwc"), ["unveil_over_trust"]);
  assertEquals(check("/srv/trust", "r"), []);
});

Deno.test("clients are sent on to names of the config alone", () => {
  const challenges = new Challenges({ names: ["example.com"], httpsPort: 443 });
  const token = "0123456789abcdef";
  challenges.add(token, "proof");
  const ask = (url: string, host?: string, method = "GET") => {
    const request = { url, method, headers: { host } } as unknown as IncomingMessage;
    const { status, text, headers } = challenges.answer(request);
    return [status, headers?.location ?? text.trim()];
  };
  const at = `/.well-known/acme-challenge/${token}`;
  assertEquals(ask(at, "example.com"), [200, "proof"]);
  // The authority asks by a name that may be an alias; the token is the secret.
  assertEquals(ask(at, "other.test"), [200, "proof"]);
  assertEquals(ask(`http://example.com${at}`, "example.com"), [200, "proof"]);
  assertEquals(ask(at, "example.com", "POST"), [308, `https://example.com${at}`]);
  assertEquals(ask(`${at}0`, "other.test"), [421, "Misdirected Request"]);
  for (const host of ["example.com", "EXAMPLE.com:80", "example.com."]) {
    assertEquals(ask("/a?b=c", host), [308, "https://example.com/a?b=c"]);
  }
  for (const host of [undefined, "", "evil.test", "example.com.evil.test", "evil.test:443#"]) {
    assertEquals(ask("/", host), [421, "Misdirected Request"]);
  }
  assertEquals(ask("//evil.test/", "example.com"), [308, "https://example.com//evil.test/"]);
  assertEquals(ask("@evil.test/", "example.com"), [308, "https://example.com/"]);
  assertEquals(ask("*", "example.com"), [308, "https://example.com/"]);
  challenges.clear();
  assertEquals(ask(at, "other.test"), [421, "Misdirected Request"]);
  const elsewhere = new Challenges({ names: ["example.com"], httpsPort: 8443 });
  const request = { url: "/", headers: { host: "example.com" } } as unknown as IncomingMessage;
  assertEquals(elsewhere.answer(request).headers, { location: "https://example.com:8443/" });
});

Deno.test("failed tries wait longer and longer, and as long as the authority says", () => {
  const down = new AcmeError("It is down");
  const refused = new AcmeError("No", { type: "unauthorized" });
  const limited = new AcmeError("No", { type: "rateLimited", retryAfterMs: 3_600_000 });
  const waits = (error: AcmeError) =>
    [1, 2, 3, 4, 50].map((tries) => retryMs(error, tries, 0) / 1000);
  assertEquals(waits(down), [10, 30, 90, 270, 21_600]);
  assertEquals(waits(refused), [300, 900, 2_700, 8_100, 21_600]);
  assertEquals(waits(limited), [3_600, 3_600, 3_600, 3_600, 21_600]);
  const longer = new AcmeError("No", { type: "rateLimited", retryAfterMs: 1e12 });
  assertEquals(retryMs(longer, 1, 0), 86_400_000);
  assertEquals(retryMs(down, 1, 1), 12_000);
});

Deno.test("a renewal is due at two thirds of the life, an alarm 14 days before the end", () => {
  const day = 86_400_000;
  const life = { notBefore: 0, notAfter: 90 * day };
  assertEquals([renewalAt(life, 0) / day, renewalAt(life, 1) / day], [60, 61.5]);
  assertEquals(alarmAt(life) / day, 76);
  // One that never lives for 14 days is no reason for alarm from its beginning on.
  assert(
    alarmAt({ notBefore: 0, notAfter: 6 * day }) > renewalAt({ ...life, notAfter: 6 * day }, 1),
  );
});

Deno.test("of what the acme process says nothing is taken that is none of it", () => {
  const state = { notAfter: 1, selfSigned: false };
  assertEquals(AcmeState.safeParse(state).success, true); // control
  for (
    const lie of [
      { ...state, notAfter: 1e18 },
      { ...state, file: "/etc/passwd" },
      { ...state, event: { type: "issued", certificate: "mine" } },
      { ...state, event: { type: "failed", reason: "a".repeat(1_001), hint: "", nextTryMs: 1 } },
      { ...state, event: { type: "reload" } },
    ]
  ) assertEquals(AcmeState.safeParse(lie).success, false, JSON.stringify(lie));
});

async function openssl(args: string[], input: string): Promise<string> {
  const child = new Deno.Command("openssl", {
    ...{ args, stdin: "piped", stdout: "piped", stderr: "piped" },
  }).spawn();
  await new Blob([input]).stream().pipeTo(child.stdin);
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

testWith(
  { programs: ["openssl"] },
  "others read the requests and certificates that it makes as they are meant",
  async () => {
    const names = ["example.com", "www.example.com"];
    const key = await CertificateKey.create();
    const request = pem("CERTIFICATE REQUEST", await key.request(names));
    const read = await openssl(["req", "-verify", "-noout", "-text"], request);
    assert(read.includes("verify OK"), read);
    assert(read.includes("DNS:example.com, DNS:www.example.com"), read);
    const certificate = await key.selfSigned(names);
    const text = await openssl(["x509", "-noout", "-text", "-checkend", "86400"], certificate);
    assert(text.includes("DNS:example.com, DNS:www.example.com"), text);
    assert(text.includes("Certificate will not expire"), text);
    const facts = judge(certificate, await key.pem(), ["example.com", "more.example.com"]);
    assertEquals([facts.selfSigned, facts.missing], [true, ["more.example.com"]]);
    const other = await (await CertificateKey.create()).pem();
    assertThrows(() => judge(certificate, other, names), Error, "of this key");
  },
);

Deno.test("a certificate that is no longer whole is made anew, and one of another name is kept", async () => {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_acme_" });
  try {
    const certificate = `${folder}/certificate.pem`;
    const store = (...names: string[]) =>
      new Store({ certificate, names, directory: "https://ca.test/dir" });
    const first = await store("a.test").prepare();
    const text = await Deno.readTextFile(certificate);
    assertEquals([first.selfSigned, await store("a.test").isCurrent()], [true, false]);
    await store("a.test").prepare();
    assertEquals(await Deno.readTextFile(certificate), text);
    await Deno.writeTextFile(certificate, text.slice(0, 200));
    await store("a.test").prepare();
    const fresh = await Deno.readTextFile(certificate);
    assert(fresh !== text && fresh.includes("PRIVATE KEY"));
    // Nobody has vouched for it, so one for other names may take its place.
    assertEquals((await store("b.test").prepare()).missing, []);
    assertEquals(Deno.statSync(certificate).mode! & 0o777, 0o600);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
