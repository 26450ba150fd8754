/**
 * The metrics process, as the supervisor has it: it alone speaks HTTP about the supervisor, behind a
 * wall and with nothing granted. It is told the status every second, and nothing waits for it.
 */
import type { Status } from "../protocol/control.ts";
import { bestEffort } from "./best_effort.ts";
import type { Listener } from "./listener.ts";
import { OwnService, type OwnServiceOptions } from "./own_service.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** How often it is told. */
const FEED_INTERVAL_MS = 1_000;

export class MetricsService extends OwnService {
  readonly listener: Listener;
  readonly #status: () => Status;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param listener of the table of listeners, which closes it */
  constructor(options: OwnServiceOptions, listener: Listener, status: () => Status) {
    super(options, { role: "metrics", listeners: [listener.text] }, [listener]);
    this.listener = listener;
    this.#status = status;
  }

  override async start(signal: AbortSignal): Promise<void> {
    await super.start(signal);
    this.#timer = setInterval(() => this.#tell(), FEED_INTERVAL_MS);
  }

  protected override serve(process: WorkerProcess): void {
    bestEffort("feed the metrics process", () => this.openFeed(process));
    this.#tell();
  }

  override async close(): Promise<void> {
    clearInterval(this.#timer);
    await super.close();
  }

  /** One that has not read the last status gets none: the next one says it all. */
  #tell(): void {
    if (this.feed?.writableLength === 0) this.say(this.#status());
  }
}
