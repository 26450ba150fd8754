/** What a scanner of TLS finds at a server, by sslyze. */
import { PATIENCE_MS } from "./wait.ts";

/** The parts of its report that are read; each is there only if that scan came to its end. */
interface Report {
  readonly server_scan_results: readonly {
    readonly scan_status: string;
    readonly scan_result: Readonly<Record<string, { status: string; result: unknown }>>;
  }[];
}

interface Suites {
  readonly is_tls_version_supported: boolean;
  readonly accepted_cipher_suites: readonly { readonly cipher_suite: { readonly name: string } }[];
}

/** What is there of each version, and each property by its name in the report. */
export interface TlsScan {
  readonly suites: Readonly<Record<string, string[]>>;
  readonly curves: string[];
  readonly properties: Readonly<Record<string, unknown>>;
  /** Where it falls short of Mozilla's "intermediate" rules. */
  readonly shortcomings: string[];
}

const VERSIONS = ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3"];

/** How often it has tried, which says nothing. */
const ATTEMPTS = /_resumptions_count$/;

/** Scans a server of this machine for all that sslyze knows. */
export async function scanTls(port: number): Promise<TlsScan> {
  const file = await Deno.makeTempFile({ prefix: "holdfast_sslyze_" });
  try {
    const { stdout } = await new Deno.Command("sslyze", {
      args: [
        ...["--mozilla_config=intermediate", "--certinfo", "--sslv2", "--sslv3", "--tlsv1"],
        ...["--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--compression", "--openssl_ccs", "--fallback"],
        ...["--heartbleed", "--robot", "--reneg", "--elliptic_curves", "--ems", "--early_data"],
        ...["--resum", `--json_out=${file}`, `127.0.0.1:${port}`],
      ],
      signal: AbortSignal.timeout(4 * PATIENCE_MS),
    }).output();
    return readReport(
      JSON.parse(await Deno.readTextFile(file)),
      new TextDecoder().decode(stdout),
    );
  } finally {
    await Deno.remove(file);
  }
}

function readReport({ server_scan_results: [server] }: Report, text: string): TlsScan {
  if (server?.scan_status !== "COMPLETED") throw new Error(`The scan failed: ${text}`);
  const resultOf = <T>(name: string): T => {
    const { status, result } = server.scan_result[name]!;
    if (status !== "COMPLETED") throw new Error(`The scan of ${name} is ${status}`);
    return result as T;
  };
  const suites = Object.fromEntries(VERSIONS.map((version) => {
    const { accepted_cipher_suites: accepted } = resultOf<Suites>(`${version}_cipher_suites`);
    return [version, accepted.map(({ cipher_suite }) => cipher_suite.name).sort()];
  }));
  const { supported_curves } = resultOf<{ supported_curves: { name: string }[] }>(
    "elliptic_curves",
  );
  const properties = Object.assign(
    {},
    ...[
      "tls_compression",
      "tls_1_3_early_data",
      "openssl_ccs_injection",
      "tls_fallback_scsv",
      "heartbleed",
      "robot",
      "session_renegotiation",
      "tls_extended_master_secret",
      "session_resumption",
    ].map((name) => resultOf<object>(name)),
  );
  for (const name of Object.keys(properties)) if (ATTEMPTS.test(name)) delete properties[name];
  const shortcomings = text.split("\n").flatMap((line) => /^ +\* (\w+: .*)$/.exec(line)?.[1] ?? []);
  return {
    suites,
    curves: supported_curves.map(({ name }) => name).sort(),
    properties,
    shortcomings,
  };
}
