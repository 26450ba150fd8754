/** Whatever hostile clients do, no honest one fails, no worker ends, and nothing is left when they have gone. */
import { assert, assertEquals } from "@std/assert";
import { Authority } from "../harness/certificates.ts";
import {
  beHonest,
  besiege,
  type Place,
  recordHello,
  renegotiate,
  shakeHands,
} from "../harness/hostile_clients.ts";
import {
  beforeTls,
  GREEDY,
  HOSTILE_APP,
  HTTP2,
  type Kinds,
  MALFORMED,
  SLOW,
} from "../harness/hostile_kinds.ts";
import { testWith } from "../harness/needs.ts";
import { countSockets } from "../harness/process.ts";
import { Server } from "../harness/server.ts";
import { createTlsProject } from "../harness/tls.ts";
import { until } from "../harness/wait.ts";

const CLIENTS = 3;
const HONEST = 8;
/** How long it goes on; longer than the limits where it is they that end it. */
const SIEGE_MS = { slow: 8_000, busy: 3_000 };
const LIMIT_MS = 5_000;

/** How many kinds that keep a machine busy attack at the same time. */
const AT_ONCE = 6;

/** The only worker, what it has open when nobody is there, and where it is. */
interface Besieged {
  readonly server: Server;
  readonly worker: number;
  readonly plain: Place;
  readonly tls: Place;
  readonly ca: string;
}

/** Runs attacks at the same time, and honest clients meanwhile; then looks at what is left. */
async function assertUnharmed(
  { server, worker, plain, tls }: Besieged,
  attacks: readonly ((end: AbortSignal) => Promise<unknown>)[],
  what: string,
  siegeMs: number,
): Promise<void> {
  const before = countSockets(worker);
  const enough = new AbortController();
  const end = AbortSignal.any([enough.signal, AbortSignal.timeout(siegeMs)]);
  const honest = Array.from({ length: HONEST }, (_, index) => {
    return beHonest(index % 2 === 0 ? plain : tls, index % 4 < 2 ? "new" : "kept", end);
  });
  try {
    await Promise.all(attacks.map((attack) => attack(end)));
  } finally {
    enough.abort();
  }
  const noticed = await Promise.all(honest);
  assertEquals(noticed.flatMap(({ failed }) => failed), [], `${what}\n${server.log.slice(-1500)}`);
  assert(noticed.every(({ ms }) => ms.length > 0), `${what}: an honest client had no answer`);
  await until(`the sockets of before ${what}`, () => countSockets(worker) <= before);
  assertEquals(await server.workers(), [worker]);
  assertEquals(server.eventsOf("worker_exited"), []);
}

async function startBesieged(authority: Authority) {
  const { project, port } = await createTlsProject(await authority.issue(), {
    files: { "app.ts": HOSTILE_APP },
    config: {
      http: {
        ...{ headerTimeoutMs: LIMIT_MS, bodyTimeoutMs: LIMIT_MS, sendTimeoutMs: LIMIT_MS },
        ...{ keepAliveTimeoutMs: LIMIT_MS, minBytesPerSecond: 1_000, maxBodyBytes: 1_000_000 },
      },
    },
  });
  const https = { https: `127.0.0.1:${port}`, cert: "./tls/cert.pem", key: "./tls/key.pem" };
  await project.configure({ listen: [`127.0.0.1:${project.port}`, https] });
  const server = await Server.startOn(project);
  const [worker] = await server.workers();
  const ca = authority.cert;
  const plain: Place = { port: project.port };
  const tls: Place = { port, ca };
  return { server, worker: worker!, plain, tls, ca };
}

const GROUPS: Record<string, { kinds: Kinds; over: "plain" | "tls" | "h2" }> = {
  "slow, plain": { kinds: SLOW, over: "plain" },
  "slow, over TLS": { kinds: SLOW, over: "tls" },
  "greedy": { kinds: GREEDY, over: "plain" },
  "malformed": { kinds: MALFORMED, over: "plain" },
  "of HTTP/2": { kinds: HTTP2, over: "h2" },
};

for (const [group, { kinds, over }] of Object.entries(GROUPS)) {
  testWith(
    { programs: ["openssl"] },
    `no honest client notices hostile ones: ${group}`,
    async () => {
      await using authority = await Authority.create();
      const besieged = await startBesieged(authority);
      await using _server = besieged.server;
      const { plain, tls } = besieged;
      const place: Place = over === "plain" ? plain : over === "tls" ? tls : { ...tls, alpn: "h2" };
      const smuggled: string[] = [];
      const attacks = Object.entries(kinds).map(([what, hostile]) => async (end: AbortSignal) => {
        const stayed = await besiege(place, hostile, CLIENTS, end);
        if (!hostile.smuggles) return;
        smuggled.push(...stayed.filter(({ answers }) => answers.length > 1).map(() => what));
      });
      const slow = kinds === SLOW;
      const most = slow ? attacks.length : AT_ONCE;
      for (let from = 0; from < attacks.length; from += most) {
        const some = attacks.slice(from, from + most);
        await assertUnharmed(besieged, some, group, slow ? SIEGE_MS.slow : SIEGE_MS.busy);
      }
      assertEquals(smuggled, []);
    },
  );
}

testWith({ programs: ["openssl"] }, "no honest client notices hostile ones: of TLS", async () => {
  await using authority = await Authority.create();
  const besieged = await startBesieged(authority);
  await using _server = besieged.server;
  const { tls, ca } = besieged;
  const hello = await recordHello();
  await assertUnharmed(
    besieged,
    [
      ...Object.values(beforeTls(hello)).map((hostile) => (end: AbortSignal) =>
        besiege(tls, hostile, CLIENTS, end)
      ),
      (end) => shakeHands(tls, ca, () => "localhost", end),
      (end) => shakeHands(tls, ca, (count) => `${count}.example`, end),
      (end) => renegotiate(tls, end),
    ],
    "of TLS",
    SIEGE_MS.slow,
  );
});
