/**
 * Free ports, for tests that run side by side. A port that is bound at 0 and closed again may be
 * taken by the next connection of anybody before it is used: it comes from the ephemeral range. These
 * come from below it, and each test process has a block of its own.
 */

/** The first port of the first block. */
const FIRST_PORT = 10_000;

/** How many ports a block has. The first one holds the block. */
const BLOCK_SIZE = 64;

const HOST = "127.0.0.1";

/** Held as long as this process, or this thread of it, lives; the kernel gives it back. */
const block = claimBlock();
let next = 1;

/** A port that nobody uses, and that no other test process is given. */
export function freePort(): number {
  for (let tries = 1; tries < BLOCK_SIZE; tries++) {
    const port = block + next;
    next = next % (BLOCK_SIZE - 1) + 1;
    if (isFree(port)) return port;
  }
  throw new Error(`All ports from ${block + 1} to ${block + BLOCK_SIZE - 1} are in use`);
}

function claimBlock(): number {
  const blocks = Math.floor((firstEphemeralPort() - FIRST_PORT) / BLOCK_SIZE);
  for (let index = 0; index < blocks; index++) {
    // Not all from the same one on: those that are held are tried in vain.
    const port = FIRST_PORT + (index + Deno.pid) % blocks * BLOCK_SIZE;
    try {
      Deno.listen({ hostname: HOST, port }).unref();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new Error("Every block of ports is held");
}

/** ip(7), `ip_local_port_range` */
function firstEphemeralPort(): number {
  const text = Deno.readTextFileSync("/proc/sys/net/ipv4/ip_local_port_range");
  return Number(text.trim().split(/\s+/)[0]);
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "0.0.0.0", port }).close();
    return true;
  } catch {
    return false;
  }
}
