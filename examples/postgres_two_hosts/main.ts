/** A counter in PostgreSQL: the same app runs on two hosts, and both count together. */
import { Hono } from "hono";
import postgres from "postgres";

const sql = postgres(Deno.env.get("DATABASE_URL")!, { max: 5 });

/** Several hosts and workers may do so at once. */
export async function open(): Promise<void> {
  await sql.begin(async (sql) => {
    await sql`SELECT pg_advisory_xact_lock(1)`;
    await sql`CREATE TABLE IF NOT EXISTS visits (page text PRIMARY KEY, count bigint NOT NULL)`;
  });
}

export async function close(): Promise<void> {
  await sql.end();
}

const app = new Hono();

app.get("/", async (c) => {
  const [row] = await sql`
    INSERT INTO visits (page, count) VALUES ('/', 1)
    ON CONFLICT (page) DO UPDATE SET count = visits.count + 1
    RETURNING count`;
  return c.text(`Visit ${row!.count}, answered by ${Deno.env.get("HOST_NAME")}`);
});

export default app;
