/**
 * Lets a few requests at a time become WebSockets. Where many do at once, the runtime may find the end
 * of a connection's HTTP before it finds the WebSocket on it, and closes that.
 */

/** Eight hundred at once lost none by four at a time, and some by sixteen. */
const MOST = 4;

/** How long a request counts of which the app has not made a WebSocket: it may look into a database first. */
const UNDECIDED_MS = 50;

/** How long one counts that has not opened: its client may be gone. */
const OPENING_MS = 2_000;

/** A request that counts. */
interface Pass {
  counts: boolean;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export class UpgradeGate {
  /** Whether the app makes any: until then no request is looked at. */
  used = false;
  readonly #passes = new WeakMap<Request, Pass>();
  readonly #waiting: (() => void)[] = [];
  #count = 0;

  /** Has the app answer a request that may become one, when it is its turn. */
  async answer<Answer extends Response>(
    request: Request,
    ask: () => Answer | Promise<Answer>,
  ): Promise<Answer> {
    if (this.#count >= MOST) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const pass: Pass = { counts: false, timer: undefined };
    this.#passes.set(request, pass);
    this.#start(pass, UNDECIDED_MS);
    try {
      const answer = await ask();
      if (answer.status !== 101) this.#end(pass);
      return answer;
    } catch (error) {
      this.#end(pass);
      throw error;
    }
  }

  /** The app makes a WebSocket of it. */
  begin(request: Request): void {
    this.used = true;
    const pass = this.#passes.get(request) ?? { counts: false, timer: undefined };
    this.#passes.set(request, pass);
    this.#start(pass, OPENING_MS);
  }

  /** It is one. */
  opened(request: Request): void {
    const pass = this.#passes.get(request);
    if (pass) this.#end(pass);
  }

  #start(pass: Pass, ms: number): void {
    if (!pass.counts) this.#count++;
    pass.counts = true;
    clearTimeout(pass.timer);
    pass.timer = setTimeout(() => this.#end(pass), ms);
  }

  #end(pass: Pass): void {
    clearTimeout(pass.timer);
    if (!pass.counts) return;
    pass.counts = false;
    this.#count--;
    if (this.#count < MOST) this.#waiting.shift()?.();
  }
}
