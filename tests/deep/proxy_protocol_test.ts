/** The PROXY protocol on the other engine and for an app's own server, and as HAProxy writes it. */
import { assertEquals } from "@std/assert";
import { testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { Project } from "../harness/project.ts";
import { checkProxied, SERVED } from "../harness/proxied.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

for (const served of ["node", "an app's own server"] as const) {
  Deno.test(`the client is who the PROXY header says, and none is served without (${served})`, async () => {
    await checkProxied(served);
  });
}

testWith(
  { programs: ["haproxy"] },
  "HAProxy says who the client is, in both versions",
  async () => {
    for (
      const version of ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id"]
    ) {
      for (const served of Object.keys(SERVED) as (keyof typeof SERVED)[]) {
        const { app, engine } = SERVED[served];
        const project = await Project.create({ files: { "app.ts": app }, config: { engine } });
        await project.configure({
          listen: [{ http: `127.0.0.1:${project.port}`, proxyProtocol: true }],
        });
        await using _server = await Server.startOn(project);
        const front = freePort();
        await project.write(
          "haproxy.cfg",
          `defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend web
  bind 127.0.0.1:${front}
  unique-id-format %{+X}o%Ts%rt
  default_backend app
backend app
  option httpchk GET /
  server one 127.0.0.1:${project.port} ${version} check inter 500 fall 50 check-send-proxy
`,
        );
        const haproxy = new Deno.Command("haproxy", {
          args: ["-db", "-f", project.path("haproxy.cfg")],
          stdout: "null",
          stderr: "null",
        }).spawn();
        try {
          // Another address of this machine, so that it is not HAProxy's own.
          const client = Deno.createHttpClient({ localAddress: "127.0.0.99" });
          const ask = async (body: string) => {
            const answer = await fetch(`http://127.0.0.1:${front}/`, {
              method: "POST",
              body,
              client,
            });
            return answer.status === 200 ? await answer.text() : void await answer.body?.cancel();
          };
          const first = await until("HAProxy to serve", () => ask("abc").catch(() => undefined));
          assertEquals(first, "127.0.0.99 3", `${version}, ${served}`);
          assertEquals(
            await ask("x".repeat(200_000)),
            "127.0.0.99 200000",
            `${version}, ${served}`,
          );
          client.close();
        } finally {
          haproxy.kill("SIGTERM");
          await haproxy.status;
        }
      }
    }
  },
);
