/**
 * HAProxy, on its sample, in front of two hosts, each a network namespace with a real Holdfast. The
 * hosts reload in turn, lose workers and are stopped whole while clients go on.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { pick, randomFrom } from "../doubles/random.ts";
import { CLIENTS, Scene } from "../harness/balanced_hosts.ts";
import { sleep } from "../harness/wait.ts";
import { isAllOk, type ModeName } from "../load/client.ts";
import { testWith } from "../harness/needs.ts";

const NEEDS = { programs: ["haproxy", "ip", "curl"], root: true } as const;

const ROUNDS = 5;
const KILLS = 6;
const PAUSE_MS = 700;

/** Answered with one write, and safe to ask again: HAProxy does, when a worker dies on them. */
const SHORT: readonly ModeName[] = [
  "close",
  "keep_alive_0",
  "keep_alive_20",
  "keep_alive_500",
  "slow",
];
/** In flight for long, and changing something or half answered: these end with their worker. */
const LONG: readonly ModeName[] = ["stream", "upload", "upload_chunked", "sse"];

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

testWith(NEEDS, "two hosts behind HAProxy reload in turn, and nothing is lost", async () => {
  await using scene = await Scene.start();
  const report = await scene.loadWhile([...SHORT, ...LONG], async () => {
    for (let round = 0; round < ROUNDS; round++) {
      for (const site of scene.sites) {
        await site.reload();
        await sleep(PAUSE_MS / 2);
      }
    }
  });
  assert(isAllOk(report), scene.tell(report));
  const generations = Object.keys(report.total.generations);
  for (const name of ["one_", "two_"]) {
    assert(generations.filter((each) => each.startsWith(name)).length >= ROUNDS, `${generations}`);
  }
  print(`${report.total.sent} requests over ${2 * ROUNDS} reloads on two hosts, none lost`);
});

testWith(
  NEEDS,
  "a worker killed behind HAProxy takes with it what it had in flight, and nothing else",
  async () => {
    await using scene = await Scene.start();
    const random = randomFrom(20261124);
    const report = await scene.loadWhile([...SHORT, ...LONG], async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        await pick(random, scene.sites).killWorker();
        await sleep(PAUSE_MS * random());
      }
    });
    const { total, modes } = report;
    assertEquals(total.refused + total.raced, 0, scene.tell(report));
    for (const name of SHORT) assertEquals(modes[name]!.ok, modes[name]!.sent, scene.tell(report));
    const broken = total.sent - total.ok;
    // Each client has one request in flight, and a worker that dies can only break those it had.
    assert(broken <= KILLS * LONG.length * CLIENTS, scene.tell(report));
    assert(broken > 0, "the kills broke nothing, so they were none");
    print(
      `${total.sent} requests over ${KILLS} kills: ${broken} in flight on the killed were lost`,
    );
  },
);

testWith(
  NEEDS,
  "a whole host behind HAProxy is stopped and started, and nothing is lost",
  async () => {
    await using scene = await Scene.start();
    const [, two] = scene.sites;
    const report = await scene.loadWhile([...SHORT, ...LONG], async () => {
      const stopped = two.stop();
      // It is seen going while it still serves.
      await scene.sees("two", "DOWN", 1);
      assertMatch(scene.balancer.log, /Server app\/two is DOWN, reason: Layer7 .*code: 503/);
      await stopped;
      await two.start();
      await scene.sees("two", "UP", 1);
      await two.reload();
    });
    assert(isAllOk(report), scene.tell(report));
    assert("two_1" in report.total.generations, "the host that came back got nothing to do");
    print(`${report.total.sent} requests while a host went and came back, none lost`);
  },
);
