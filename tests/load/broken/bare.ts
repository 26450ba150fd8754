/**
 * The good control: a plain `Deno.serve` without any reload. The load client must find nothing.
 *
 *     deno run --allow-net --allow-read tests/load/broken/bare.ts PORT
 */
import app from "../app.ts";
import { exitWithParent, print } from "./child.ts";

exitWithParent();
Deno.serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 0),
  onListen: ({ port }) => print(`serving ${port}`),
}, app.fetch);
Deno.addSignalListener("SIGTERM", () => Deno.exit(0));
