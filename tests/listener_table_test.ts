/** Who closes which listener, and when: the table, with listeners of the test's own and with real ones. */
import { DEFAULT_HTTP } from "../lib/base/http_limits.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { BoundAddress, Config } from "../lib/config/config.ts";
import { closeDescriptor } from "../lib/os/descriptor.ts";
import { socketPair } from "../lib/os/socket.ts";
import { listeningName } from "../lib/os/socket_name.ts";
import { readOptions } from "../lib/os/socket_options.ts";
import { bindListener, type Listener } from "../lib/supervisor/listener.ts";
import { type ListenerChange, ListenerTable } from "../lib/supervisor/listener_table.ts";
import type { Passed } from "../lib/supervisor/service_environment.ts";
import { ServiceManager, storedName } from "../lib/supervisor/service_manager.ts";
import { FakeListener } from "./doubles/fake_world.ts";
import { freePort } from "./harness/ports.ts";
import { untilRefused } from "./harness/wait.ts";
import "./harness/libraries.ts";

// The C library is loaded by the first call and stays, which is no leak of a test.
socketPair().forEach(closeDescriptor);
listeningName(-1);
readOptions(-1);

function tcp(port: number): Extract<BoundAddress, { kind: "tcp" }> {
  return { kind: "tcp", text: `127.0.0.1:${port}`, host: "127.0.0.1", port };
}

const [ONE, TWO, THREE] = [tcp(1), tcp(2), tcp(3)];

class NumberedListener extends FakeListener {
  file?: NonNullable<Listener["file"]>;

  constructor(text: string, readonly number: number) {
    super(text);
  }

  override close(): void {
    assert(!this.closed, `${this.text} is closed twice`);
    super.close();
  }

  /** Somebody removes its file. */
  lose(): void {
    this.file = { path: "/nowhere/at/all", made: "1:2:3" };
  }
}

/** A table whose listeners are fakes, unless they were left by another program. */
class World implements Disposable {
  readonly bound: NumberedListener[] = [];
  /** What the service manager was told about its store. */
  readonly said: string[] = [];
  readonly manager: ServiceManager;
  readonly table: ListenerTable;

  constructor(
    options: {
      readonly inherited?: readonly { address: BoundAddress; fd: number }[];
      readonly passed?: readonly Passed[];
      readonly stored?: readonly string[];
    } = {},
  ) {
    const { inherited = [], passed = [], stored = [] } = options;
    this.manager = new ServiceManager({ socket: "/x", passed, stored }, (_, text) => {
      this.said.push(text.split("\n").filter((line) => /^FD(STORE|NAME)/.test(line)).join(" "));
    });
    this.table = new ListenerTable(({ text }) => {
      if (this.bound.some((each) => each.text === text && !each.closed && !each.file)) {
        return Promise.reject(new Error(`${text} is taken`));
      }
      const listener: NumberedListener = new NumberedListener(text, this.bound.length);
      this.bound.push(listener);
      return Promise.resolve(listener);
    });
    this.table.open(this.manager, [...inherited]);
  }

  /** The change of a config that listens there, and has its figures there. */
  async ask(app: readonly BoundAddress[], metrics?: BoundAddress): Promise<ListenerChange> {
    const change: ListenerChange = new Map();
    if (metrics) await this.table.acquire(metrics, "metrics", change);
    for (const address of app) await this.table.acquire(address, "app", change);
    return change;
  }

  async commit(app: readonly BoundAddress[], metrics?: BoundAddress): Promise<void> {
    this.table.commit(await this.ask(app, metrics));
  }

  /** Which of those that were bound here are closed. */
  get closed(): number[] {
    return this.bound.flatMap(({ closed, number }) => closed ? [number] : []);
  }

  get app(): string[] {
    return this.table.app.map(({ text }) => text);
  }

  [Symbol.dispose](): void {
    this.table.close();
    this.manager.close();
    assertEquals(this.bound.filter(({ closed }) => !closed), []);
  }
}

function stored(address: BoundAddress): string {
  return `FDSTORE=1 FDNAME=${storedName(address.text)}`;
}

function dropped(address: BoundAddress): string {
  return `FDSTOREREMOVE=1 FDNAME=${storedName(address.text)}`;
}

/** A descriptor that listens, as another program leaves it. */
async function left(): Promise<{ address: BoundAddress; fd: number; connect(): Promise<void> }> {
  const address = tcp(freePort());
  const listener = await bindListener(address);
  const fd = listener.duplicate();
  listener.close();
  return {
    ...{ address, fd },
    connect: async () =>
      (await Deno.connect({ hostname: address.host, port: address.port })).close(),
  };
}

Deno.test("a listener is held over changes that ask for it, and closed by the first that does not", async () => {
  using world = new World();
  await world.commit([ONE, TWO]);
  const [one] = world.table.app;
  await world.commit([ONE, THREE]);
  assertEquals([world.app, world.closed], [[ONE.text, THREE.text], [1]]);
  assertEquals(world.table.app[0], one);
  assertEquals(world.said, [stored(ONE), stored(TWO), dropped(TWO), stored(THREE)]);
});

Deno.test("a change that is abandoned closes what it has bound, and nothing else", async () => {
  using world = new World();
  await world.commit([ONE], TWO);
  const change = await world.ask([TWO, THREE]);
  assertEquals([world.app, world.closed], [[ONE.text], []]);
  world.table.abandon(change);
  assertEquals([world.app, world.closed, world.bound[2]!.text], [[ONE.text], [2], THREE.text]);
  assertEquals(world.said, [stored(ONE)]);
});

Deno.test("an address may move between the app and the metrics, without being bound anew", async () => {
  using world = new World();
  await world.commit([ONE], TWO);
  await world.commit([TWO], ONE);
  assertEquals([world.app, world.closed, world.bound.length], [[TWO.text], [], 2]);
});

Deno.test("the address of the metrics is not taken for one of the same config's app", async () => {
  using world = new World();
  await world.commit([], ONE);
  await assertRejects(() => world.ask([ONE], ONE), Error, "taken");
  assertEquals([world.closed, world.app], [[], []]);
});

Deno.test("one whose file is gone is bound anew, closed by the commit, and stored anew", async () => {
  using world = new World();
  await world.commit([ONE]);
  world.bound[0]!.lose();
  world.table.abandon(await world.ask([ONE]));
  assertEquals(world.closed, [1]);
  await world.commit([ONE]);
  assertEquals([world.closed, world.app], [[0, 1], [ONE.text]]);
  assertEquals(world.said, [stored(ONE), dropped(ONE), stored(ONE)]);
});

Deno.test("what an upgrade has left stays open when the first candidate fails, that of the metrics too", async () => {
  const [app, metrics, other] = [await left(), await left(), await left()];
  {
    using world = new World({
      inherited: [app, metrics, other],
      stored: [storedName(app.address.text)],
    });
    world.table.abandon(await world.ask([app.address, ONE], metrics.address));
    assertEquals(world.closed, [0]);
    for (const each of [app, metrics, other]) await each.connect();
    await world.commit([app.address], metrics.address);
    assertEquals(world.app, [app.address.text]);
    for (const each of [app, metrics]) await each.connect();
    await untilRefused(() => other.connect());
    // What is in the store already is not given again.
    assertEquals(world.said, []);
    const { listeners, ...rest } = world.table.handOver();
    assertEquals(
      listeners.map(({ address }) => address.text).sort(),
      [app.address.text, metrics.address.text].sort(),
    );
    assertEquals(rest, { stored: [storedName(app.address.text)], passed: [] });
  }
  await untilRefused(() => metrics.connect());
});

Deno.test("the store lets go of a listener that was lost before an upgrade, and gets the new one", async () => {
  using world = new World({ stored: [storedName(ONE.text)] });
  assertEquals(world.said, [dropped(ONE)]);
  await world.commit([ONE]);
  assertEquals(world.said.slice(1), [stored(ONE)]);
});

Deno.test("what comes back of the store is taken by the config that asks, and the rest is let go", async () => {
  const [kept, twice, gone] = [await left(), await left(), await left()];
  using world = new World({
    passed: [
      { fd: kept.fd, name: storedName(kept.address.text) },
      { fd: twice.fd, name: storedName(kept.address.text) },
      { fd: gone.fd, name: storedName(gone.address.text) },
    ],
  });
  await untilRefused(() => twice.connect());
  world.table.abandon(await world.ask([kept.address]));
  for (const each of [kept, gone]) await each.connect();
  await world.commit([kept.address]);
  await kept.connect();
  await untilRefused(() => gone.connect());
  assertEquals([world.bound, world.said], [[], [dropped(gone.address)]]);
});

Deno.test("sockets of a unit are listened on by name, never stored, and stay open until the end", async () => {
  const [http, local] = [await left(), await left()];
  {
    using world = new World({
      passed: [{ fd: http.fd, name: "http" }, { fd: local.fd, name: "local" }],
    });
    const { listen } = world.table.resolve(
      {
        listen: [
          { kind: "systemd", text: "systemd:local", name: "local" },
          { kind: "systemd", text: "systemd", name: undefined },
          ONE,
        ],
        http: DEFAULT_HTTP,
      } as unknown as Config,
    );
    const texts = [local, http].map(({ address }) => address.text);
    assertEquals(listen.map(({ text }) => text), [...texts, ONE.text]);
    assertEquals(world.app, []);
    await world.commit([http.address, local.address]);
    await world.commit([http.address]);
    assertEquals(world.app, [http.address.text]);
    for (const each of [http, local]) await each.connect();
    await world.commit([local.address]);
    assertEquals([world.app, world.said], [[local.address.text], []]);
    const { listeners, passed } = world.table.handOver();
    assertEquals([listeners, passed.length], [[], 2]);
  }
  for (const each of [http, local]) {
    await untilRefused(() => each.connect());
  }
});
