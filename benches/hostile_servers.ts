/** The servers that hostile clients are put to, each with times of five seconds where it has any. */
import { BareServer } from "../tests/harness/bare_server.ts";
import type { Pair } from "../tests/harness/certificates.ts";
import { HOSTILE_APP } from "../tests/harness/hostile_kinds.ts";
import { freePort } from "../tests/harness/ports.ts";
import { Server } from "../tests/harness/server.ts";
import { createTlsProject } from "../tests/harness/tls.ts";
import { until } from "../tests/harness/wait.ts";

export const LIMIT_S = 5;

export interface Ports {
  readonly plain: number;
  readonly tls: number;
}

/** A server that runs, by both ways, until it is disposed of. */
export type Running = Ports & AsyncDisposable;

const nginx = (ports: Ports, backend: number, folder: string) => `
daemon off;
pid ${folder}/pid;
error_log stderr crit;
worker_processes 1;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi; uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  client_header_timeout ${LIMIT_S}s; client_body_timeout ${LIMIT_S}s; send_timeout ${LIMIT_S}s;
  keepalive_timeout ${LIMIT_S}s; client_max_body_size 1000000;
  server {
    listen 127.0.0.1:${ports.plain};
    listen 127.0.0.1:${ports.tls} ssl http2;
    ssl_certificate ${folder}/cert.pem; ssl_certificate_key ${folder}/key.pem;
    location / { proxy_pass http://127.0.0.1:${backend}; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}`;

const caddy = (ports: Ports, backend: number, folder: string) => `
{
	admin off
	auto_https off
	servers {
		timeouts {
			read_header ${LIMIT_S}s
			read_body ${LIMIT_S}s
			write ${LIMIT_S}s
			idle ${LIMIT_S}s
		}
	}
}
(app) {
	request_body {
		max_size 1MB
	}
	reverse_proxy 127.0.0.1:${backend}
}
http://127.0.0.1:${ports.plain} {
	import app
}
https://127.0.0.1:${ports.tls} {
	tls ${folder}/cert.pem ${folder}/key.pem
	import app
}
`;

/** Starts one in front of a bare server with the app. */
async function startProxy(name: "nginx" | "caddy", pair: Pair): Promise<Running> {
  await using stack = new AsyncDisposableStack();
  const backend = stack.use(await BareServer.start({ app: HOSTILE_APP }));
  const folder = await Deno.makeTempDir({ prefix: `holdfast_bench_${name}_` });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  await Deno.chmod(folder, 0o755);
  await Deno.writeTextFile(`${folder}/cert.pem`, pair.cert);
  await Deno.writeTextFile(`${folder}/key.pem`, pair.key);
  const ports = { plain: freePort(), tls: freePort() };
  const text = name === "nginx" ? nginx : caddy;
  await Deno.writeTextFile(`${folder}/config`, text(ports, backend.port, folder));
  const args = name === "nginx"
    ? ["-e", "stderr", "-p", folder, "-c", `${folder}/config`]
    : ["run", "--adapter", "caddyfile", "--config", `${folder}/config`];
  const child = new Deno.Command(name, {
    args,
    stdout: "null",
    stderr: "null",
    env: { XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
  }).spawn();
  stack.defer(async () => {
    child.kill("SIGTERM");
    await child.status;
  });
  await untilListening(ports);
  const kept = stack.move();
  return { ...ports, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function untilListening({ plain, tls }: Ports): Promise<void> {
  for (const port of [plain, tls]) {
    await until("a listener", () =>
      Deno.connect({ hostname: "127.0.0.1", port }).then(
        (it) => (it.close(), true),
        () => false,
      ));
  }
}

async function startBare(pair: Pair): Promise<Running> {
  await using stack = new AsyncDisposableStack();
  const plain = stack.use(await BareServer.start({ app: HOSTILE_APP }));
  const tls = stack.use(await BareServer.start({ app: HOSTILE_APP, pair }));
  const kept = stack.move();
  return {
    plain: plain.port,
    tls: tls.port,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function startHoldfast(pair: Pair): Promise<Running> {
  const ms = LIMIT_S * 1_000;
  const { project, port } = await createTlsProject(pair, {
    files: { "app.ts": HOSTILE_APP },
    config: {
      http: {
        ...{ headerTimeoutMs: ms, bodyTimeoutMs: ms, sendTimeoutMs: ms, keepAliveTimeoutMs: ms },
        maxBodyBytes: 1_000_000,
      },
    },
  });
  const https = { https: `127.0.0.1:${port}`, cert: "./tls/cert.pem", key: "./tls/key.pem" };
  await project.configure({ listen: [`127.0.0.1:${project.port}`, https] });
  const server = await Server.startOn(project);
  return {
    plain: project.port,
    tls: port,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** Each by its name. */
export const SERVERS: Record<string, (pair: Pair) => Promise<Running>> = {
  "Deno.serve": startBare,
  "nginx": (pair) => startProxy("nginx", pair),
  "Caddy": (pair) => startProxy("caddy", pair),
  "Holdfast": startHoldfast,
};
