/**
 * Processes that are started before it is known what is to run: while a config is planned, with what the
 * config before it asks for. Each waits with its runtime and Holdfast's own program loaded, and is given
 * nothing. It becomes a process of the candidate only if that asks for the very same; else it is ended,
 * and nobody has heard of it.
 */
import type { Commanded } from "../sandbox/worker_command.ts";
import { bestEffort } from "./best_effort.ts";
import type { SpawnerEvent } from "./child_event.ts";
import type { ChildHandle, Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";

/** How often one that does not end is killed again, in ms. */
const KILL_AGAIN_MS = 1_000;

/** Whether two requests are for the same process, whatever its app is. */
export function isSameProcess(one: SpawnRequest, other: SpawnRequest): boolean {
  return one.source === other.source && textOf(one) === textOf(other);
}

function textOf({ image: _image, source: _source, env, ...request }: SpawnRequest): string {
  const plain = (_: string, value: unknown) => typeof value === "bigint" ? `${value}` : value;
  return JSON.stringify([request, Object.entries(env).sort()], plain);
}

/** By this it is known that what lies at a path is another's by now: a process is confined to it. */
function stampsOf({ program, cwd, wall }: SpawnRequest): string {
  const paths = [program, cwd ?? "", ...wall?.landlock.paths.map(({ path }) => path) ?? []];
  return paths.map((path) => {
    try {
      const { dev, ino, mode, uid, gid } = Deno.statSync(path);
      return [dev, ino, mode, uid, gid].join(":");
    } catch {
      return "none";
    }
  }).join(" ");
}

/** A spawner whose process is there before it is asked for. */
class EarlySpawner implements Spawner {
  readonly #spawner: Spawner;
  readonly #request: SpawnRequest;
  readonly #stamps: string;
  readonly #child: ChildHandle;
  readonly #ended = Promise.withResolvers<void>();
  #given = false;
  /** What was told of it, while nobody has asked for it. */
  #told: SpawnerEvent[] = [];
  #tell = (event: SpawnerEvent): void => void this.#told.push(event);

  /** @param spawner its own from here on */
  constructor(spawner: Spawner, request: SpawnRequest) {
    this.#spawner = spawner;
    this.#request = request;
    this.#stamps = stampsOf(request);
    this.#child = spawner.spawn(request, (event) => {
      this.#tell(event);
      if (event.type === "exited") this.#ended.resolve();
    });
  }

  /** Whether its process is what is asked for, and as good as one that is started now. */
  fits(request: SpawnRequest): boolean {
    return this.#told.every(({ type }) => type === "spawned" || type === "message") &&
      isSameProcess(this.#request, request) && this.#stamps === stampsOf(request);
  }

  /** Gives its process away; to be called if it fits. */
  spawn(_: SpawnRequest, receive: (event: SpawnerEvent) => void): ChildHandle {
    this.#given = true;
    // Not before who asked has it.
    queueMicrotask(() => {
      this.#told.splice(0).forEach(receive);
      this.#tell = receive;
    });
    return this.#child;
  }

  /** Ends a process that was not given away, and waits until it is gone. Never fails. */
  async end(): Promise<void> {
    if (this.#given) return;
    const kill = () => bestEffort("signal", () => this.#child.signal("SIGKILL"));
    kill();
    const again = setInterval(kill, KILL_AGAIN_MS);
    await this.#ended.promise;
    clearInterval(again);
    bestEffort("close the spawner", () => this.#spawner.close());
  }

  close(): void {
    if (this.#given) this.#spawner.close();
    else void this.end();
  }
}

/** What a process is, and what starts it. */
export interface EarlyStart {
  readonly who: Commanded;
  readonly request: SpawnRequest;
  readonly startSpawner: () => Spawner;
}

/** The early ones of a candidate. */
export class EarlySpawners {
  readonly #all: { readonly who: Commanded; readonly spawner: EarlySpawner }[] = [];
  readonly #left = new Set<EarlySpawner>();

  #begun = false;

  /**
   * Starts some, once. Never fails: what cannot be started now is started in its time.
   *
   * @returns how many there are
   */
  start(wanted: readonly EarlyStart[]): number {
    const now = this.#begun ? [] : wanted;
    this.#begun = true;
    for (const { who, request, startSpawner } of now) {
      try {
        const spawner = new EarlySpawner(startSpawner(), request);
        this.#all.push({ who, spawner });
        this.#left.add(spawner);
      } catch {
        // It says why when it is started in its time.
      }
    }
    return this.#all.length;
  }

  /** One that is what is asked for; nothing where there is none. */
  take(who: Commanded, request: SpawnRequest): Spawner | undefined {
    const own = this.#all.find((each) =>
      each.who === who && this.#left.has(each.spawner) && each.spawner.fits(request)
    );
    if (own !== undefined) this.#left.delete(own.spawner);
    return own?.spawner;
  }

  /** Ends those that nobody has taken, and waits until they are gone. Never fails. */
  async endLeft(): Promise<void> {
    this.#begun = true;
    await Promise.all([...this.#left].map((each) => each.end()));
  }

  /** The same with those that were taken, and were not asked for a process. */
  async end(): Promise<void> {
    this.#begun = true;
    await Promise.all(this.#all.map(({ spawner }) => spawner.end()));
  }
}
