/** A project that is served by HTTPS, and clients that trust one authority. */
import type { Pair } from "./certificates.ts";
import { freePort } from "./ports.ts";
import { Project, type ProjectOptions } from "./project.ts";
import { PATIENCE_MS } from "./wait.ts";

export interface TlsProject {
  readonly project: Project;
  /** Where HTTPS is. */
  readonly port: number;
  /** Where clients are sent on from. */
  readonly plainPort: number;
}

/** Makes one. Its plain listener is where a server of the harness looks for the end. */
export async function createTlsProject(
  pair: Pair,
  options: ProjectOptions = {},
): Promise<TlsProject> {
  const project = await Project.create(options);
  const port = freePort();
  await writePair(project, pair);
  await project.configure({
    listen: [
      { https: `127.0.0.1:${port}`, cert: "./tls/cert.pem", key: "./tls/key.pem" },
      { http: `127.0.0.1:${project.port}`, redirect: "https" },
    ],
  });
  return { project, port, plainPort: project.port };
}

/** Puts a certificate and its key where the config of such a project names them. */
export async function writePair(project: Project, { cert, key }: Pair): Promise<void> {
  await project.write("tls/cert.pem", cert);
  await project.write("tls/key.pem", key);
  await Deno.chmod(project.path("tls/key.pem"), 0o600);
}

/** What a client that trusts an authority reads at an address. */
export async function getOver(
  ca: string,
  url: string,
  options: Deno.CreateHttpClientOptions = {},
): Promise<{ status: number; text: string; location: string | null }> {
  using client = Deno.createHttpClient({ caCerts: [ca], poolMaxIdlePerHost: 0, ...options });
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(url, { client, signal, redirect: "manual" });
  const { status, headers } = answer;
  return { status, text: await answer.text(), location: headers.get("location") };
}
