/** The subject of a comparison: makes the audit's attempts as it is told on standard input, in Deno or Node. */
import process from "node:process";
import { createInterface } from "node:readline";

// Attempts by Deno's own interfaces fail in Node, which is no answer of its permission model.
const { arch } = process;
const build = { os: "linux", arch: arch === "arm64" ? "aarch64" : "x86_64" };
(globalThis as { Deno?: unknown }).Deno ??= { build, pid: process.pid };

const [{ Order }, { runAttempt }] = await Promise.all([
  import("../lib/audit/attempt.ts"),
  import("../lib/audit/subject.ts"),
]);
for await (const line of createInterface({ input: process.stdin })) {
  const report = await runAttempt(Order.parse(JSON.parse(line)));
  process.stdout.write(`\n${JSON.stringify(report)}\n`);
}
process.exit();
