/** What a wrong value of `listen` was meant to be. */
import { parseListen, parseListenPort } from "./address.ts";
import { Refusal } from "./problem.ts";

const CERTIFIED = ["https", "tls", "ssl", "cert", "key", "certs", "certificate", "privateKey"];

/** Keys that say what an object is meant to be. */
const NAMING = [...CERTIFIED, "http", "redirect", "proxyProtocol", "mode", "socket"];

/** How an entry of `listen` is written that was given in another form. */
export function listenEntry(value: unknown): string {
  const port = portOf(value);
  if (port !== undefined) return everywhere(port);
  if (typeof value === "object" && value !== null) {
    if (NAMING.some((name) => Object.hasOwn(value, name))) return listenObject(value);
    const { port, host, hostname = host, path, unix = path } = value as Record<string, unknown>;
    const number = portOf(port);
    if (number !== undefined && typeof hostname === "string") {
      return asText(`${hostname}:${number}`);
    }
    if (number !== undefined) return everywhere(number);
    if (typeof unix === "string") return `"unix:${unix}"`;
    return Array.isArray(value) ? listenEntry(value[0]) : listenObject(value);
  }
  return typeof value === "string" ? asText(value) : '"127.0.0.1:8080"';
}

/** How an object in `listen` is written that has other keys, or too few. */
export function listenObject(value: object): string {
  const given = value as Record<string, unknown>;
  const has = (...names: string[]) => names.some((name) => Object.hasOwn(given, name));
  if (has("http") && has("https")) return `two entries: ${https(given)} and ${redirect(given)}`;
  if (has(...CERTIFIED)) return https(given);
  if (has("proxyProtocol")) {
    const more = has("redirect") ? { redirect: "https" } : {};
    return spelled({ http: placeOf(given, "http", 80), ...more, proxyProtocol: true });
  }
  if (has("redirect")) return redirect(given);
  if (has("unix", "socket", "path", "mode")) {
    const path = [given.unix, given.socket, given.path].find((each) => typeof each === "string");
    return spelled({ unix: path ?? "./app.sock", mode: "0660" });
  }
  if (has("http")) return `${JSON.stringify(placeOf(given, "http", 80))}, or ${redirect(given)}`;
  const [first] = Object.values(given).filter((each) => /^(string|number)$/.test(typeof each));
  return listenEntry(first);
}

function https(given: Readonly<Record<string, unknown>>): string {
  const text = (name: string, other: string) =>
    typeof given[name] === "string" ? given[name] : other;
  const pair = { cert: text("cert", "./fullchain.pem"), key: text("key", "./privkey.pem") };
  const https = placeOf(given, "https", 443);
  return spelled(Array.isArray(given.certs) ? { https, certs: [pair] } : { https, ...pair });
}

function redirect(given: Readonly<Record<string, unknown>>): string {
  return spelled({ http: placeOf(given, "http", 80), redirect: "https" });
}

/** Where it is to listen, as far as that is said; else everywhere, at the usual port. */
function placeOf(given: Readonly<Record<string, unknown>>, name: string, usual: number): string {
  const { [name]: own, tls, ssl, tcp, address, port } = given;
  for (const each of [own, tls, ssl, tcp, address, port]) {
    const number = portOf(each);
    if (number !== undefined) return `0.0.0.0:${number}`;
    if (typeof each === "string" && !(parseListenPort(each) instanceof Refusal)) return each;
  }
  return `0.0.0.0:${usual}`;
}

/** With spaces, as people write it. */
function spelled(entry: Readonly<Record<string, unknown>>): string {
  const pairs = Object.entries(entry).map(([name, value]) =>
    `${JSON.stringify(name)}: ${
      Array.isArray(value) ? `[${value.map(spelled).join(", ")}]` : JSON.stringify(value)
    }`
  );
  return `{ ${pairs.join(", ")} }`;
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
