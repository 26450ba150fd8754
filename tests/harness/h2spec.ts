/** The conformance tests of HTTP/2, by h2spec. */
import { PATIENCE_MS } from "./wait.ts";

export interface H2specResult {
  readonly tests: number;
  /** Those that failed: the part of the standard, and what was done. */
  readonly failed: string[];
}

/** Puts all of its cases to a server. */
export async function runH2spec(port: number, over: "h2c" | "tls"): Promise<H2specResult> {
  const report = await Deno.makeTempFile({ prefix: "holdfast_h2spec_" });
  try {
    const { stderr, stdout } = await new Deno.Command("h2spec", {
      args: [
        ...["--host", "127.0.0.1", "--port", String(port), "--timeout", "5"],
        ...over === "tls" ? ["--tls", "--insecure"] : [],
        ...["--junit-report", report],
      ],
      signal: AbortSignal.timeout(4 * PATIENCE_MS),
    }).output();
    const result = readReport(await Deno.readTextFile(report));
    if (result.tests > 0) return result;
    throw new Error(new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(report);
  }
}

function readReport(xml: string): H2specResult {
  const cases = [
    ...xml.matchAll(/<testcase package="([^"]*)" classname="([^"]*)"[^>]*>(.*?)<\/testcase>/gs),
  ];
  const failed = cases.filter(([, , , inner]) =>
    inner!.includes("<failure") || inner!.includes("<error")
  )
    .map(([, part, what]) => `${part}: ${unescape(what!)}`);
  return { tests: cases.length, failed };
}

function unescape(text: string): string {
  return text.replaceAll("&#34;", '"').replaceAll("&#39;", "'").replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}
