/** Apps with a database: PostgreSQL over TCP and over its socket; and apps with native addons in helpers. */
import { ADDONS, databaseApps } from "../apps/databases.ts";
import { nameOf, testApps, tryApp } from "../harness/apps.ts";
import { testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { POSTGRES, Postgres } from "../harness/postgres.ts";

for (const name of Object.keys(databaseApps(0, ""))) {
  testWith(
    POSTGRES,
    nameOf(name, databaseApps(5432, "/run/postgresql/.s.PGSQL.5432")[name]!),
    async () => {
      const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_postgres_" }));
      await Deno.chmod(folder, 0o755);
      const port = freePort();
      await using _database = await Postgres.start(folder, ["app", "root"], {}, port);
      await tryApp(databaseApps(port, Postgres.socketIn(folder, port))[name]!);
    },
  );
}

testApps(ADDONS);
