/** Sends the clients of plain HTTP on to HTTPS. */
import type { Fetcher } from "./app.ts";

const HTTPS_PORT = "443";

/**
 * Answers each request with its own address under https; the method and the body are to stay as they are.
 *
 * @param address of the listener with HTTPS
 */
export function redirectTo(address: string): Fetcher {
  const port = address.slice(address.lastIndexOf(":") + 1);
  return {
    fetch(request) {
      const url = new URL(request.url);
      url.protocol = "https:";
      url.port = port === HTTPS_PORT ? "" : port;
      return new Response(null, { status: 308, headers: { location: url.href } });
    },
  };
}
