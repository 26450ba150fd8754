/** Where the load goes to. */
export type Target =
  | {
    kind: "tcp";
    hostname: string;
    port: number;
    /** The authority that is trusted, in PEM: the load goes over TLS then. */
    ca?: string | undefined;
  }
  | { kind: "unix"; path: string };

/** Reads `host:port`, `[::1]:port` or `unix:/path`. */
export function parseTarget(text: string): Target {
  if (text.startsWith("unix:")) return { kind: "unix", path: text.slice("unix:".length) };
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const hostname = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (hostname === undefined || port < 1 || port > 65_535) {
    throw new RangeError(
      `Cannot use target ${JSON.stringify(text)}: want host:port or unix:/path`,
    );
  }
  return { kind: "tcp", hostname, port };
}

/** The same over TLS, where an authority is given. */
export function withTrust(target: Target, ca: string | undefined): Target {
  return target.kind === "unix" ? target : { ...target, ca };
}

/** The target as the Host header names it. */
export function hostOf(target: Target): string {
  return target.kind === "unix" ? "localhost" : `${target.hostname}:${target.port}`;
}
