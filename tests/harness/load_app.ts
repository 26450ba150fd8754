/** The app of the load tests in a project of its own, and reloads of it under load. */
import { isAllOk, type LoadReport, runLoad } from "../load/client.ts";
import { Project, REPOSITORY } from "./project.ts";
import { Server } from "./server.ts";

const { imports } = JSON.parse(Deno.readTextFileSync(`${REPOSITORY}/deno.json`));

/** Serves the load app. */
export async function startLoadApp(config: Readonly<Record<string, unknown>>): Promise<Server> {
  return await Server.startOn(await Project.create({ files: await loadAppFiles(), config }));
}

/** What a project with the load app has. */
export async function loadAppFiles(): Promise<Record<string, string>> {
  return {
    "app.ts": await Deno.readTextFile(`${REPOSITORY}/tests/load/app.ts`),
    "version.ts": versionFile("1"),
    "deno.json": JSON.stringify({ imports: { hono: imports.hono } }),
  };
}

/** The code of a generation, by its name. */
export function versionFile(name: string): string {
  return `export const GENERATION = ${JSON.stringify(name)};\n`;
}

/**
 * Runs every mode of load for as long as `work` takes, and gives the account.
 *
 * @param tls where the load goes by HTTPS, by which name, and whom it trusts
 */
export async function loadDuring(
  server: Server,
  work: () => Promise<void>,
  tls?: { readonly port: number; readonly ca: string; readonly name?: string },
): Promise<LoadReport> {
  const enough = new AbortController();
  const load = runLoad({
    target: `${tls?.name ?? "127.0.0.1"}:${tls?.port ?? server.project.port}`,
    ca: tls?.ca,
    durationMs: 600_000,
    clients: 2,
    requestDeadlineMs: 30_000,
    signal: enough.signal,
  });
  load.catch(() => {}); // Awaited below.
  try {
    await work();
  } finally {
    enough.abort();
    await load;
  }
  return await load;
}

/** Fails if one request was not answered whole and right. */
export function assertNothingLost(report: LoadReport): void {
  if (isAllOk(report)) return;
  throw new Error(JSON.stringify({ total: report.total, samples: report.samples }, undefined, 1));
}
