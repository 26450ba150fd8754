/** Certificates by ACME: against Pebble, with its troubles, and with an acme process that was taken over. */
import { existsSync } from "node:fs";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Authority, type Pair } from "../harness/certificates.ts";
import { Wire } from "../harness/http.ts";
import { assertNothingLost, loadAppFiles, loadDuring } from "../harness/load_app.ts";
import { testWith } from "../harness/needs.ts";
import { Pebble, shakeHands } from "../harness/pebble.ts";
import { freePort } from "../harness/ports.ts";
import { PLAIN_APP, Project, type ProjectOptions, REPOSITORY } from "../harness/project.ts";
import { killQuietly } from "../harness/process_log.ts";
import { runCommand, Server } from "../harness/server.ts";
import { PATIENCE_MS, until, untilTold } from "../harness/wait.ts";
import { Connection } from "../load/connection.ts";

const NEEDS = { programs: ["openssl", "pebble", "pebble-challtestsrv"] } as const;

const NAME = "app.example.test";

interface Place {
  readonly project: Project;
  /** Where HTTPS is; the plain port is the project's. */
  readonly port: number;
}

async function createPlace(options: ProjectOptions = {}): Promise<Place> {
  return { project: await Project.create(options), port: freePort() };
}

/** Has a project get its certificate from a directory. */
async function useAcme(
  { project, port }: Place,
  { directory, trust }: Pick<Pebble, "directory" | "trust">,
  names = [NAME],
): Promise<void> {
  await project.write("trust.pem", trust);
  await project.configure({
    listen: [
      { https: `127.0.0.1:${port}` },
      { http: `127.0.0.1:${project.port}`, redirect: "https" },
    ],
    acme: { names, email: "admin@example.test", directory, trust: "./trust.pem" },
  });
}

/** The number of the certificate that clients get who trust an authority, once they get one. */
async function servedBy({ port }: Place, ca: string, name = NAME): Promise<string> {
  return await until(
    "a certificate of the authority",
    async () => (await shakeHands(port, { name, ca })).serial,
    2 * PATIENCE_MS,
    100,
  );
}

const SPYING_APP = `
const { readFileSync, readdirSync } = process.getBuiltinModule("node:fs");
const tries = {
  read: (path) => Deno.readTextFileSync(path),
  readByNode: (path) => readFileSync(path, "utf8"),
  list: (path) => readdirSync(path.replace(/[^/]*$/, "")),
  write: (path) => Deno.writeTextFileSync(path, "mine"),
};
export default {
  fetch(request) {
    const path = new URL(request.url).searchParams.get("path");
    return Response.json(Object.entries(tries).map(([name, act]) => {
      try {
        return name + ": " + act(path);
      } catch {
        return name + " refused";
      }
    }));
  },
};
`;

/** What the server at a project's plain port answers. */
async function askPlain({ project }: Place, host: string, path: string) {
  using wire = new Wire(
    await Connection.open({ kind: "tcp", hostname: "127.0.0.1", port: project.port }, PATIENCE_MS),
  );
  await wire.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
  const { status, headers } = await wire.head();
  return [status, headers.get("location")];
}

testWith(
  NEEDS,
  "a name in the config, and HTTPS has a certificate that no app can read",
  async () => {
    const place = await createPlace({ files: { "app.ts": SPYING_APP } });
    await using pebble = await Pebble.start({ httpPort: place.project.port });
    await useAcme(place, pebble);
    await using server = await Server.startOn(place.project);
    await server.waitFor("certificate_issued");
    assertEquals((await server.waitFor("reload_done")).generation, 2);
    const ca = await pebble.root();
    const serial = await servedBy(place, ca);

    assertEquals(await askPlain(place, `${NAME}:80`, "/a?b"), [
      308,
      `https://${NAME}:${place.port}/a?b`,
    ]);
    assertEquals(await askPlain(place, "evil.example.test", "/"), [421, undefined]);
    assertEquals(await askPlain(place, NAME, "/.well-known/acme-challenge/0123456789abcdef"), [
      308,
      `https://${NAME}:${place.port}/.well-known/acme-challenge/0123456789abcdef`,
    ]);

    const folder = place.project.path(".holdfast/acme");
    const files = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assertEquals(files, ["account.json", "certificate.pem", "issued.json"]);
    const modes = [folder, ...files.map((file) => `${folder}/${file}`)]
      .map((path) => Deno.statSync(path).mode! & 0o777);
    assertEquals(modes, [0o700, 0o600, 0o600, 0o600]);
    for (const file of files) {
      const text = await getByName(place, ca, `/?path=${folder}/${file}`);
      assertEquals(JSON.parse(text), [
        ...["read refused", "readByNode refused", "list refused", "write refused"],
      ]);
    }

    const { acme, listeners } = await server.status();
    assertEquals([listeners.length, acme?.listen], [1, [`127.0.0.1:${place.project.port}`]]);
    assertEquals([acme?.names, acme?.selfSigned, acme?.trouble], [[NAME], false, undefined]);
    const { stdout } = await runCommand(place.project, "status");
    assertStringIncludes(stdout, `for ${NAME}`);

    // Another process takes its place, and has what it needs.
    killQuietly(acme!.process!.pid);
    await untilTold("another process", async () => {
      const { acme: now } = await server.status();
      return now?.process && now.process.pid !== acme!.process!.pid && now.notAfter;
    });
    assertEquals(await servedBy(place, ca), serial);
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await servedBy(place, ca), serial);
    server.signal("SIGUSR2");
    await server.waitFor("serving", 2);
    assertEquals(await servedBy(place, ca), serial);
    assertEquals(server.eventsOf("certificate_issued").length, 1);
  },
);

/** What the app answers to one who knows it by its name. */
async function getByName({ port }: Place, ca: string, path: string): Promise<string> {
  const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
  using tls = await Deno.startTls(tcp, { hostname: NAME, caCerts: [ca] });
  await tls.write(
    new TextEncoder().encode(`GET ${path} HTTP/1.0\r\nhost: ${NAME}\r\n\r\n`),
  );
  const answer = await new Response(tls.readable).text().catch(() => "");
  return answer.split("\r\n\r\n")[1] ?? "";
}

function certificateOf({ project }: Place): string {
  return project.path(".holdfast/acme/certificate.pem");
}

testWith(NEEDS, "half of all nonces refused, and an authority that is down at first", async () => {
  const place = await createPlace();
  const authority = await Authority.create("holdfast pebble");
  const port = freePort();
  await useAcme(place, { directory: `https://localhost:${port}/dir`, trust: authority.cert });
  // Where it can be entered, root's processes have accounts of their own.
  await Deno.chmod(place.project.folder, 0o755);
  await using server = await Server.startOn(place.project);
  const { reason, hint } = await server.waitFor("certificate_failed");
  assertStringIncludes(String(reason), "Cannot reach https://localhost");
  assertStringIncludes(String(hint), "acme.directory");
  const { acme } = await server.status();
  assertEquals([acme?.selfSigned, acme?.trouble !== undefined], [true, true]);
  // What it signs itself nobody trusts.
  const { error } = await shakeHands(place.port, { name: NAME, ca: authority.cert });
  assert(error !== undefined);
  if (Deno.uid() === 0) assertEquals(Deno.statSync(certificateOf(place)).uid, acme?.process?.uid);
  const badNonces = 50;
  await using pebble = await Pebble.start(
    { httpPort: place.project.port, badNonces, port },
    authority,
  );
  await until(
    "a certificate",
    () => server.eventsOf("certificate_issued").length > 0,
    3 * PATIENCE_MS,
  );
  const ca = await pebble.root();
  await servedBy(place, ca);

  // One more name is one more certificate, with both.
  const more = "more.example.test";
  await useAcme(place, { directory: pebble.directory, trust: authority.cert }, [NAME, more]);
  assertEquals((await server.reload()).outcome, "done");
  await servedBy(place, ca, more);
  await servedBy(place, ca);
});

testWith(NEEDS, "an authority that limits is asked again when it says so, not before", async () => {
  const place = await createPlace();
  await using pebble = await Pebble.start({ httpPort: place.project.port });
  await using front = await Front.open(pebble);
  await useAcme(place, front);
  await using server = await Server.startOn(place.project);
  const { reason, nextTryMs } = await server.waitFor("certificate_failed");
  assertStringIncludes(String(reason), "too many of them, rateLimited");
  assert(Number(nextTryMs) >= 12_000 && Number(nextTryMs) <= 15_000, `${nextTryMs}`);
  const asked = front.orders;
  front.limits = false;
  await until(
    "a certificate",
    () => server.eventsOf("certificate_issued").length > 0,
    3 * PATIENCE_MS,
  );
  assertEquals([asked, front.orders], [1, 2]);
  assertEquals(server.eventsOf("certificate_failed").length, 1);
});

/** Stands before an authority, and limits its orders. */
class Front implements AsyncDisposable {
  readonly #server: Deno.HttpServer;
  readonly directory: string;
  readonly trust: string;
  limits = true;
  orders = 0;

  private constructor(pebble: Pebble, authority: Authority, { cert, key }: Pair) {
    const port = freePort();
    this.directory = `https://localhost:${port}/dir`;
    this.trust = authority.cert;
    this.#server = Deno.serve({ port, cert, key, onListen: () => {} }, async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/order-plz") {
        this.orders++;
        if (this.limits) return limited();
      }
      return await pebble.forward(request);
    });
  }

  static async open(pebble: Pebble): Promise<Front> {
    await using authority = await Authority.create("holdfast front");
    return new Front(pebble, authority, await authority.issue());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

function limited(): Response {
  const type = "urn:ietf:params:acme:error:rateLimited";
  return Response.json({ type, detail: "too many of them" }, {
    status: 429,
    headers: { "retry-after": "12", "content-type": "application/problem+json" },
  });
}

testWith(NEEDS, "renewals under load lose nothing, and leave connections alone", async () => {
  const place = await createPlace({
    files: await loadAppFiles(),
    config: {
      workers: 2,
      reload: { readyDeadlineMs: 60_000, idleGraceMs: 1_000, drainDeadlineMs: 120_000 },
    },
  });
  const name = "localhost";
  await using pebble = await Pebble.start({ httpPort: place.project.port, lifeSeconds: 45 });
  await useAcme(place, pebble, [name]);
  await using server = await Server.startOn(place.project);
  await server.waitFor("reload_done");
  const ca = await pebble.root();
  const first = await servedBy(place, ca, name);
  const serials = new Set([first]);
  const report = await loadDuring(server, async () => {
    await until(
      "two renewals",
      async () => {
        serials.add(await servedBy(place, ca, name));
        return serials.size >= 3;
      },
      8 * PATIENCE_MS,
      500,
    );
  }, { port: place.port, ca, name });
  assertNothingLost(report);
  assert(report.total.ok > 1_000, `only ${report.total.ok} requests`);
  const { drains } = await server.status();
  assertEquals(drains.cut, 0);
});

const HOSTILE = [`${REPOSITORY}/tests/doubles/hostile_acme_supervisor.ts`];

/** Has the hostile acme process do something. */
async function act({ project }: Place, code: string): Promise<void> {
  const path = project.path(".holdfast/acme/act.js");
  await Deno.writeTextFile(`${path}.new`, code);
  await Deno.rename(`${path}.new`, path);
  await until("the end of an act", () => !existsSync(path));
}

testWith(
  { programs: ["openssl"] },
  "an acme process that was taken over spoils no certificate that serves, and reloads seldom",
  async () => {
    await using authority = await Authority.create();
    const place = await createPlace({ config: { reload: { idleGraceMs: 100 } } });
    await useAcme(place, { directory: "https://127.0.0.1:1/dir", trust: authority.cert });
    const one = await authority.issue("ec", NAME);
    const two = await authority.issue("ec", NAME);
    const other = await authority.issue("ec", NAME);
    const text = ({ cert, key }: Pair) => cert + key;
    // What an honest one would have left there.
    await place.project.write(".holdfast/acme/certificate.pem", text(one));
    await using server = await Server.startOn(place.project, { entry: HOSTILE });
    const serial = await servedBy(place, authority.cert);
    const replaced = (pair: string) =>
      `Deno.writeTextFileSync(path, ${JSON.stringify(pair)}); tell(STATE);`;

    // Control: a pair that fits is taken, and what has become of the app meanwhile is not.
    await place.project.write("app.ts", PLAIN_APP.replace("one", "two"));
    await act(place, replaced(text(two)));
    await server.waitFor("reload_done");
    const taken = await servedBy(place, authority.cert);
    assert(taken !== serial);
    assertEquals(await getByName(place, authority.cert, "/"), "one /");

    // Rubbish, and a key of another certificate: refused, and the one before serves on.
    await act(place, replaced("rubbish"));
    await server.waitFor("reload_refused");
    await act(place, replaced(two.cert + other.key));
    await server.waitFor("reload_refused", 2);
    assertEquals(await servedBy(place, authority.cert), taken);

    // By now it has had what it may have: nothing that it says leads to another reload.
    await act(place, replaced(text(one)));
    await act(place, "for (let i = 0; i < 15; i++) tell(STATE);");
    // More than it may say, and what is none of its messages.
    await act(place, "for (let i = 0; i < 10_000; i++) tell(STATE);");
    assertEquals((await server.waitFor("worker_lost")).role, "acme");
    await untilTold("another one", async () => (await server.status()).acme?.process);
    await act(place, `tell({ ...STATE, file: "/etc/passwd" });`);
    await server.waitFor("worker_lost", 2);
    assertEquals(await servedBy(place, authority.cert), taken);
    assertEquals(
      ["reload_done", "reload_refused"].map((event) => server.eventsOf(event).length),
      [1, 2],
    );
    const { state, generations } = await server.status();
    assertEquals([state, generations.length], ["serving", 1]);

    // A reload of the operator's is refused as well, and it says why.
    await act(place, `Deno.writeTextFileSync(path, "rubbish");`);
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertStringIncludes(String(reason), "certificate");
    assertEquals(await servedBy(place, authority.cert), taken);
  },
);

testWith(
  { programs: ["openssl"] },
  "an acme process that was taken over dials nobody but its authority, and makes no link",
  async () => {
    await using authority = await Authority.create();
    const place = await createPlace();
    await useAcme(place, { directory: "https://127.0.0.1:1/dir", trust: authority.cert });
    const { cert, key } = await authority.issue("ec", NAME);
    await place.project.write(".holdfast/acme/certificate.pem", cert + key);
    await using server = await Server.startOn(place.project, { entry: HOSTILE });
    for (
      const code of [
        `await Deno.connect({ hostname: "127.0.0.1", port: ${place.port} });`,
        `Deno.symlinkSync("/etc/passwd", path + ".link");`,
        `Deno.readTextFileSync(${JSON.stringify(place.project.configFile)});`,
        `Deno.readTextFileSync(path.replace("acme/certificate.pem", "lock"));`,
        `Deno.writeTextFileSync(path.replace("acme/", ""), "mine");`,
        `new Deno.Command("/bin/true").outputSync();`,
      ]
    ) {
      const before = server.eventsOf("worker_output").length;
      await act(place, code);
      await server.waitFor("worker_output", before + 1);
      const { text } = server.eventsOf("worker_output").at(-1)!;
      assertMatch(String(text), /^did not: .*(denied|Requires|permission|No such file)/i, code);
    }
  },
);
