/** Addresses as a config spells them, and their one canonical spelling. Pure. */

const IPV4 = /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/;

/** The parts of `host:port`, the host in small letters; `undefined` for a text that is not of that form. */
export function splitHostPort(
  text: string,
): { readonly host: string; readonly port: string | undefined } | undefined {
  const match = /^(\[[^\[\]]*\]|[^\[\]:]*)(?::([^:]*))?$/.exec(text);
  return match === null ? undefined : { host: match[1]!.toLowerCase(), port: match[2] };
}

/** An IP literal as everybody spells it, an IPv6 one in its brackets; `undefined` for what is none. */
export function canonicalIp(host: string): string | undefined {
  if (IPV4.test(host)) return host;
  const url = `http://${host}/`;
  return /^\[[0-9a-f:.]+\]$/.test(host) && URL.canParse(url) ? new URL(url).hostname : undefined;
}

/** The canonical spelling of an address of a config that was not refused. */
export function canonicalAddress(text: string): string {
  const { host, port } = splitHostPort(text) ?? { host: text, port: undefined };
  return [canonicalIp(host) ?? host, ...port === undefined ? [] : [port]].join(":");
}
