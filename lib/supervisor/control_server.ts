/** The control socket: answers what commands ask. Its folder keeps everybody else out. */
import net from "node:net";
import * as z from "zod/mini";
import { keepServing } from "../base/keep_accepting.ts";
import { log } from "../base/log.ts";
import {
  type Answer,
  Ask,
  MAX_ASK_BYTES,
  type Release,
  type ReloadResult,
  type Status,
} from "../protocol/control.ts";
import { encodeFrame, FrameReader } from "../protocol/frame.ts";
import { identityOf } from "./listener.ts";
import type { ListenerHandle } from "./listener_handle.ts";

// Of itself zod/mini has no words for what is wrong.
z.config(z.locales.en());

/** How many clients may be connected at once; each is a descriptor of the supervisor. */
const MAX_CLIENTS = 32;

/** How long a client may take to ask. */
const ASK_DEADLINE_MS = 5_000;

/** Answers each kind of question. */
export type ControlHandlers = {
  readonly [Type in Ask["type"]]: (ask: Ask) => Answer | Promise<Answer>;
};

/** What is asked of the supervisor. */
export interface Commanded {
  status(): Status;
  reload(mayWiden?: boolean): Promise<ReloadResult>;
  rollback(release?: number): Promise<ReloadResult>;
  releases(): Release[];
  upgrade(): Promise<string>;
  reopen(): Promise<Answer>;
  stop(): Promise<void>;
}

/** The answers of a supervisor. */
export function controlHandlers(supervisor: Commanded): ControlHandlers {
  return {
    status: () => ({ type: "status", status: supervisor.status() }),
    reload: async ({ widen }) => ({ type: "reloaded", result: await supervisor.reload(widen) }),
    rollback: async ({ release }) => ({
      type: "reloaded",
      result: await supervisor.rollback(release),
    }),
    releases: () => ({ type: "releases", releases: supervisor.releases() }),
    upgrade: async () => ({ type: "upgrade_refused", reason: await supervisor.upgrade() }),
    reopen: () => supervisor.reopen(),
    stop: async () => {
      await supervisor.stop();
      return { type: "stopped" };
    },
  };
}

export interface ControlServer {
  /** A descriptor of its own of the listening socket, for whoever takes it over. */
  duplicate(): number;
  /** What tells its socket's file from a later one at its path. */
  readonly made: string | undefined;
  /** Stops answering and removes the socket. */
  close(): void;
}

/**
 * Listens on `path`, which must be in a folder that nobody else may enter.
 *
 * @param fd listens there already, and is the server's own from here on
 */
export async function openControl(
  path: string,
  handlers: ControlHandlers,
  fd?: number,
): Promise<ControlServer> {
  const make = () => {
    const server = net.createServer((socket) => serveClient(socket, handlers));
    server.maxConnections = MAX_CLIENTS;
    return server;
  };
  const server = make();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    if (fd === undefined) server.listen(path, resolve);
    else server.listen({ fd }, resolve);
  });
  await Deno.chmod(path, 0o600);
  const made = identityOf(path);
  // What `node:net` has behind it, as listener_handle.ts uses it.
  const { _handle } = server as unknown as { _handle: ListenerHandle };
  const rest = keepServing(server, make);
  return {
    made,
    duplicate: () => _handle.fdForIpc(),
    close: () => {
      rest();
      const found = identityOf(path);
      // Closing removes whatever lies at the path: where that is another's, ours stays open, and
      // without a name nobody can reach it.
      if (found !== undefined && found !== made) return void server.unref();
      server.close();
      // Whoever did not bind it does not remove it either.
      if (fd !== undefined && found !== undefined) Deno.removeSync(path);
    },
  };
}

/** One question, one answer, then the connection ends. */
function serveClient(socket: net.Socket, handlers: ControlHandlers): void {
  const frames = new FrameReader(MAX_ASK_BYTES);
  let asked = false;
  // One deadline for the whole question, however slowly it drips in.
  const deadline = setTimeout(() => socket.destroy(), ASK_DEADLINE_MS);
  socket.on("close", () => clearTimeout(deadline));
  socket.on("error", () => {});
  socket.on("data", (chunk: Uint8Array) => {
    try {
      for (const value of frames.push(chunk)) {
        if (asked) throw new Error("More than one question");
        asked = true;
        clearTimeout(deadline);
        const ask = Ask.safeParse(value);
        if (!ask.success) throw new Error(z.prettifyError(ask.error));
        void answer(socket, () => handlers[ask.data.type](ask.data));
      }
    } catch (error) {
      end(socket, { type: "refused", reason: (error as Error).message });
    }
  });
}

async function answer(socket: net.Socket, handler: () => Answer | Promise<Answer>): Promise<void> {
  try {
    end(socket, await handler());
  } catch (error) {
    log.error("control_failed", { reason: (error as Error).message });
    end(socket, { type: "refused", reason: (error as Error).message });
  }
}

function end(socket: net.Socket, answer: Answer): void {
  if (socket.destroyed) return;
  socket.write(encodeFrame(answer));
  // Not only our half: a client that never hangs up would keep its place for ever.
  socket.destroySoon();
}
