/**
 * The resolver: it looks names up for the supervisor, which reads no name server's answers itself. By
 * the C library, as a worker does it: also by /etc/hosts.
 */
import { lookup } from "node:dns/promises";
import net from "node:net";
import * as z from "zod/mini";
import type { Handed } from "../child/hand_over.ts";
import type { Equipment, Service } from "../child/life.ts";
import { encodeFrame, FrameReader } from "../protocol/frame.ts";
import { MAX_COMMAND_BYTES } from "../protocol/limits.ts";
import { Resolve, Resolved } from "../protocol/resolve.ts";

/** How many addresses of a name are told. */
const MAX_ADDRESSES = 512;

/** Makes the service. */
export function createResolver({ configure, handOvers }: Equipment): Service {
  const { role } = configure.roleConfig;
  if (role !== "resolver") throw new Error(`A resolver was told to be a ${role}`);
  let [accepted, answered, inFlight] = [0, 0, 0];
  const take = ({ message, handle }: Handed) => {
    if (message.type !== "feed") throw new Error(`Was handed a ${message.type}`);
    const socket = new net.Socket({ handle, readable: true, writable: true } as never);
    const frames = new FrameReader(MAX_COMMAND_BYTES);
    accepted++;
    socket.on("error", () => {});
    socket.on("data", (chunk: Uint8Array) => {
      for (const value of frames.push(chunk)) {
        const { id, name } = z.parse(Resolve, value);
        inFlight++;
        void resolve(name).then((addresses) => {
          inFlight--;
          answered++;
          socket.write(encodeFrame({ id, addresses } satisfies z.infer<typeof Resolved>));
        });
      }
    });
  };
  return {
    load: () => Promise.resolve(),
    start: () => {
      handOvers.subscribe(take);
      return "none";
    },
    figures: () => ({ accepted, connections: accepted, inFlight, answered }),
    drain: () => Promise.resolve({ answered: 0, cut: 0 }),
    close: () => Promise.resolve(),
  };
}

/** One that cannot be looked up has no addresses: whoever dials hears of it from its own look-up. */
async function resolve(name: string): Promise<string[]> {
  try {
    const found = await lookup(name, { all: true });
    return found.map(({ address }) => address).slice(0, MAX_ADDRESSES);
  } catch {
    return [];
  }
}
