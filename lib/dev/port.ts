/** On which port pages are served in development. */
import { HoldfastError } from "../base/error.ts";

const DEFAULT_PORT = 8000;

/** Ports below take a right that a developer does not have. */
const FIRST_PORT = 1024;

/** How many ports are tried. */
const TRIES = 20;

/**
 * The port of the first address that has one: the variable PORT, then the config.
 *
 * @param listen of a config, as it says it
 */
export function wantedPort(listen: unknown, variable: string | undefined): number {
  const texts = (Array.isArray(listen) ? listen : []).flatMap((each: unknown) => {
    const address = typeof each === "object" && each !== null
      ? Object.entries(each).find(([key]) => key === "http" || key === "https")?.[1]
      : each;
    return typeof address === "string" ? [address] : [];
  });
  const ports = [variable ? `:${variable}` : "", ...texts].map((text) =>
    Number(/^(?!unix:|systemd).*:(\d{1,5})$/.exec(`${text}`)?.[1])
  );
  return ports.find((port) => port >= FIRST_PORT && port <= 65_535) ?? DEFAULT_PORT;
}

/** @param isFree asks the kernel */
export function freePortFrom(wanted: number, isFree: (port: number) => boolean = canBind): number {
  for (let port = wanted; port < wanted + TRIES && port <= 65_535; port++) {
    if (isFree(port)) return port;
  }
  throw new HoldfastError(`No port from ${wanted} to ${wanted + TRIES - 1} is free`, {
    ...{ kind: "environment", code: "port_taken" },
    hint: "Set PORT to a port that is free",
  });
}

function canBind(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse || error instanceof Deno.errors.PermissionDenied) {
      return false;
    }
    throw error;
  }
}
