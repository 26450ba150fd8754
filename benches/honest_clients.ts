/** Honest clients of a bench, in a process of their own: PORT CLIENTS SECONDS [CA FILE]; prints what they noticed. */
import { beHonest, type Noticed } from "../tests/harness/hostile_clients.ts";

const [port, clients, seconds, ca] = Deno.args;
const place = { port: Number(port), ca: ca === undefined ? undefined : Deno.readTextFileSync(ca) };
const end = AbortSignal.timeout(Number(seconds) * 1_000);
const all: Noticed[] = await Promise.all(
  Array.from(
    { length: Number(clients) },
    (_, index) => beHonest(place, index % 2 === 0 ? "new" : "kept", end),
  ),
);
const ms = all.flatMap((each) => each.ms).sort((a, b) => a - b);
const figures = {
  answered: ms.length,
  failed: all.flatMap((each) => each.failed).length,
  p99: ms[Math.floor(ms.length * 0.99)] ?? Infinity,
};
// deno-lint-ignore no-console
console.log(JSON.stringify(figures));
