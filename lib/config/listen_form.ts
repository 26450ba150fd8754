/** What a wrong value of `listen` was meant to be. */
import { parseListen } from "./address.ts";
import { Refusal } from "./problem.ts";

/** How an entry of `listen` is written that was given in another form. */
export function listenEntry(value: unknown): string {
  const port = portOf(value);
  if (port !== undefined) return everywhere(port);
  if (typeof value === "object" && value !== null) {
    const { port, host, hostname = host, path, unix = path } = value as Record<string, unknown>;
    const number = portOf(port);
    if (number !== undefined && typeof hostname === "string") {
      return asText(`${hostname}:${number}`);
    }
    if (number !== undefined) return everywhere(number);
    if (typeof unix === "string") return `"unix:${unix}"`;
  }
  return typeof value === "string" ? asText(value) : '"127.0.0.1:8080"';
}

/** The hint for a value of `listen` that is no list. */
export function listenHint(value: unknown): string {
  return `write a list: [${listenEntry(value)}]`;
}

function asText(text: string): string {
  const { hostname, port, protocol } = URL.parse(text) ?? {};
  const spelled = /^https?:$/.test(protocol ?? "")
    ? `${hostname}:${port || (protocol === "https:" ? "443" : "80")}`
    : text.startsWith("/") || text.startsWith("./")
    ? `unix:${text}`
    : text.includes(":")
    ? text
    : `${text}:8080`;
  return JSON.stringify(parseListen(spelled) instanceof Refusal ? "127.0.0.1:8080" : spelled);
}

function everywhere(port: string): string {
  return `"127.0.0.1:${port}"`;
}

/** Of `8080`, `"8080"`, `":8080"` and `"*:8080"`. */
function portOf(value: unknown): string | undefined {
  if (typeof value !== "number" && typeof value !== "string") return undefined;
  const [, port] = /^(?:\*?:)?(\d{1,5})$/.exec(String(value)) ?? [];
  const isPort = port !== undefined && Number(port) > 0 && Number(port) <= 65_535;
  return isPort ? String(Number(port)) : undefined;
}
