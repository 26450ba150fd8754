/** A project that is served by HTTPS, and clients that trust one authority. */
import { once } from "node:events";
import { connect } from "node:tls";
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

/** Puts one of several where a config names it by its number. */
export async function writeNumbered(
  project: Project,
  pairs: readonly Pair[],
): Promise<{ cert: string; key: string }[]> {
  const places: { cert: string; key: string }[] = [];
  for (const [index, { cert, key }] of pairs.entries()) {
    const place = { cert: `./tls/${index}.cert.pem`, key: `./tls/${index}.key.pem` };
    await project.write(place.cert, cert);
    await project.write(place.key, key);
    await Deno.chmod(project.path(place.key), 0o600);
    places.push(place);
  }
  return places;
}

/**
 * The names of the certificate that a client is shown, which asks for a name or for none; nothing where
 * the server ends the handshake.
 */
export async function shownTo(
  port: number,
  servername: string | undefined,
): Promise<string | undefined> {
  const socket = connect({
    ...{ host: "127.0.0.1", port, ...servername !== undefined && { servername } },
    rejectUnauthorized: false,
  });
  try {
    await once(socket, "secureConnect", { signal: AbortSignal.timeout(PATIENCE_MS) });
    // A server of TLS 1.3 may refuse after that.
    return socket.getPeerCertificate().subjectaltname;
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    return undefined;
  } finally {
    socket.destroy();
  }
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
