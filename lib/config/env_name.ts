import { quote, Refusal } from "./problem.ts";

// An app can also *set* a listed variable in its own process, and libraries and the runtime read some at
// any time. So a name is refused whatever the operator's value is.
const REFUSED: readonly (readonly [RegExp, string])[] = [
  [/^(LD_|DYLD_|GLIBC_|MALLOC_|GCONV_PATH$|LOCPATH$)/, "the dynamic linker and libc use it"],
  [/^(DENO_|JSR_|NPM_CONFIG_|RUST_)/i, "Deno itself uses it, and it may undo the wall"],
  // NODE_ENV only tells the app something; the others load code, trust roots or open channels.
  [
    /^NODE_(?!ENV$)/,
    "Deno's Node layer uses it: some load code, change trust or adopt descriptors",
  ],
  [/^OTEL_/, "Deno would send traces to an address that `net` does not allow"],
  // Measured with Deno 2.9.6: with --allow-net=example.com and HTTP_PROXY set, even by the app itself,
  // fetch("http://example.com/") connects to the proxy, which no permission names.
  [/_PROXY$/i, "fetch would connect to the proxy whatever `net` says"],
  [/^SSLKEYLOGFILE$/, "TLS session keys would be written to the file it names"],
  [/^SSL_CERT_(FILE|DIR)$/, "it changes which servers TLS trusts"],
  [/^(HOSTALIASES|LOCALDOMAIN|RES_OPTIONS)$/, "it changes what a host name resolves to"],
  [/^(LISTEN_|WATCHDOG_|NOTIFY_SOCKET$|HOLDFAST_)/, "it is for Holdfast and systemd only"],
];

/** The name of a variable that may be passed to the app, or why it may not. */
export function parseEnvName(name: string): string | Refusal {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    return new Refusal(
      "env_name_invalid",
      `${quote(name)} is not a name of a variable`,
      "write only names, without values or wildcards; the values come from Holdfast's environment",
    );
  }
  const reason = REFUSED.find(([pattern]) => pattern.test(name))?.[1];
  if (reason === undefined) return name;
  return new Refusal(
    "env_name_refused",
    `${quote(name)} controls the runtime: ${reason}`,
    "leave it out, or give the app its setting under another name",
  );
}
