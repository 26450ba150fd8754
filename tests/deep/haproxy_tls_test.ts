/** The sample in which HAProxy ends TLS and says by the PROXY protocol who the client is. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { ConfigSchema } from "../../lib/config/schema.ts";
import { Balancer, type Edit, editSample } from "../harness/balancer.ts";
import { Authority } from "../harness/certificates.ts";
import { assertNothingLost, loadAppFiles, loadDuring, versionFile } from "../harness/load_app.ts";
import { testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { getOver } from "../harness/tls.ts";
import { sleep, until } from "../harness/wait.ts";

const NEEDS = { programs: ["haproxy", "openssl"] } as const;
const RELOADS = 6;
const PAUSE_MS = 250;

/** The app of the load, which also says who asks. */
const MAIN = `
import app from "./app.ts";

export default {
  fetch(request, info) {
    const { pathname, protocol } = new URL(request.url);
    if (pathname !== "/who") return app.fetch(request, info);
    const forwarded = request.headers.get("x-forwarded-for");
    return Response.json([protocol, info.remoteAddr.hostname, forwarded]);
  },
};
`;

Deno.test("HAProxy with TLS lets go of an idle connection before the default grace ends, and of a busy one after the drain", async () => {
  const { reload } = ConfigSchema.parse({ app: "./app.ts", listen: ["127.0.0.1:8000"] });
  const text = await editSample("haproxy_tls", []);
  const secondsOf = (wanted: RegExp) => Number(wanted.exec(text)![1]);
  assert(secondsOf(/pool-purge-delay (\d+)s/) * 1_000 < reload.idleGraceMs);
  assert(secondsOf(/timeout server (\d+)s/) * 1_000 > reload.drainDeadlineMs);
});

for (const upstream of ["a Unix socket", "TCP"] as const) {
  testWith(
    NEEDS,
    `HAProxy ends TLS in front of the app on ${upstream}: the clients' addresses are right, and reloads lose nothing`,
    async () => {
      await using authority = await Authority.create();
      const { cert, key } = await authority.issue();
      const project = await Project.create({
        files: { ...await loadAppFiles(), "main.ts": MAIN },
        config: { app: "./main.ts", readiness: "/ready" },
      });
      await Deno.chmod(project.folder, 0o755);
      const isUnix = upstream === "a Unix socket";
      const at = isUnix ? { unix: "./app.sock", mode: "0666" } : {
        http: `127.0.0.1:${project.port}`,
      };
      await project.configure({ listen: [{ ...at, proxyProtocol: true }] });
      await project.write("certs/site.pem", cert + key);
      await using server = await Server.startOn(project);
      const [port, plainPort] = [freePort(), freePort()];
      const edits: Edit[] = [
        ["bind :80", `bind 127.0.0.1:${plainPort}`],
        ["bind :443", `bind 127.0.0.1:${port}`],
        ["/etc/haproxy/certs/", join(project.folder, "certs/")],
        ...isUnix ? [["unix@/run/app/app.sock", `unix@${project.path("app.sock")}`] as const] : [
          ["    server one unix@/run/app/app.sock\n", ""] as const,
          ["#server one 127.0.0.1:8000", `server one 127.0.0.1:${project.port}`] as const,
        ],
      ];
      await using balancer = await Balancer.start("haproxy_tls", edits, port);
      const { code, stdout, stderr } = await balancer.check();
      assertEquals(code, 0, stdout + stderr);
      const url = `https://localhost:${port}`;
      await until(
        "the app behind it",
        () => getOver(authority.cert, `${url}/who`).then(({ status }) => status === 200),
      );
      for (const version of ["http1", "http2"] as const) {
        using client = Deno.createHttpClient({
          ...{ caCerts: [authority.cert], localAddress: "127.0.0.99" },
          ...{ http1: version === "http1", http2: version === "http2" },
        });
        const headers = { "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "http" };
        const who = await (await fetch(`${url}/who`, { client, headers })).json();
        assertEquals(who, ["https:", "127.0.0.99", null], version);
      }
      const { status, location } = await getOver(authority.cert, `http://localhost:${plainPort}/a`);
      assertEquals([status, location], [308, `https://localhost:${plainPort}/a`]);
      const report = await loadDuring(server, async () => {
        for (let reload = 1; reload <= RELOADS; reload++) {
          await sleep(PAUSE_MS);
          await project.write("version.ts", versionFile(`reload_${reload}`));
          assertEquals((await server.reload()).outcome, "done");
        }
        await sleep(PAUSE_MS);
      }, { port, ca: authority.cert });
      assertNothingLost(report);
      assert(Object.keys(report.total.generations).length > RELOADS, JSON.stringify(report.total));
      assert(!/is DOWN/.test(balancer.log), balancer.log);
      // deno-lint-ignore no-console
      console.log(`HAProxy with TLS, ${upstream}: ${report.total.sent} requests, none lost`);
    },
  );
}
