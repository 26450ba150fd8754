/**
 * Several certificates at one listener, by the runtime's resolver of names. It asks once for each name, and
 * keeps the answer for ever. What it is answered has to be text: until then a pair is bytes outside of the
 * heap of JavaScript, and nothing that an app can replace is called with them.
 */
import { dnsNames } from "../base/dns_names.ts";
import { type KeptNames, ServerNames } from "./server_names.ts";

/** The runtime's name for the option; it has no other yet. */
const RESOLVER = Symbol.for("unstableSniResolver");

type Pair = { readonly cert: string; readonly key: string };

/** The option of `Deno.listenTls` by which a client gets the certificate with its name. */
export async function byServerName(
  pairs: readonly Pair[],
  kept: KeptNames,
): Promise<Record<symbol, unknown>> {
  const runtime = Deno as unknown as Record<PropertyKey, { resolverSymbol?: symbol } | undefined>;
  if (runtime[Reflect.get(Deno, "internal") as symbol]?.resolverSymbol !== RESOLVER) {
    throw new Error(
      `Deno ${Deno.version.deno} cannot choose among several certificates at one address: put the ` +
        `names into one, or listen on several addresses`,
    );
  }
  // Few workers need it, and it takes its time.
  const { X509Certificate } = await import("node:crypto");
  const names = new ServerNames(
    pairs.map(({ cert }) => dnsNames(new X509Certificate(cert).subjectAltName)),
  );
  const encoder = new TextEncoder();
  const stored = pairs.map(({ cert, key }) => ({
    cert: encoder.encode(cert),
    key: encoder.encode(key),
  }));
  const decoder = new TextDecoder();
  const decode = decoder.decode.bind(decoder);
  const { create } = Object;
  const resolve = (name: string) => {
    const index = names.find(name);
    const pair = index === undefined ? undefined : stored[index];
    if (pair === undefined) {
      kept.add(name, 0);
      throw new Error("No certificate has this name");
    }
    kept.add(name, pair.cert.byteLength + pair.key.byteLength);
    // Without a prototype: what it inherits would be called with it.
    const answer = create(null);
    answer.cert = decode(pair.cert);
    answer.key = decode(pair.key);
    return answer;
  };
  return { [RESOLVER]: resolve };
}
