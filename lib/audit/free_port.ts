/**
 * Ports for what an audit binds itself. Those that the kernel picks, where 0 is asked for, it also
 * gives to any connection: one that is closed again may be taken before it is used.
 */
const FIRST_PORT = 10_000;
const HOST = "127.0.0.1";

/** The least port that the kernel gives to connections (ip(7), `ip_local_port_range`). */
function firstEphemeralPort(): number {
  const text = Deno.readTextFileSync("/proc/sys/net/ipv4/ip_local_port_range");
  return Number(text.trim().split(/\s+/)[0]);
}

/** A port of this machine that is not in use. */
export function freePort(): number {
  const count = firstEphemeralPort() - FIRST_PORT;
  while (true) {
    // Where no port is left below the others, the kernel's choice has to do.
    const wanted = count > 0 ? FIRST_PORT + Math.floor(Math.random() * count) : 0;
    try {
      using listener = Deno.listen({ hostname: HOST, port: wanted });
      return listener.addr.port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
