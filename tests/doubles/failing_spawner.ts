/** A spawner thread that is sent what it cannot take: it prints what the supervisor hears of it. */
import { startSpawner } from "../../lib/supervisor/spawner.ts";
import type { ToSpawner } from "../../lib/supervisor/spawner_message.ts";

const spawner = startSpawner();
const heard = Promise.withResolvers<void>();
spawner.subscribe(1, (event) => {
  // deno-lint-ignore no-console
  console.log(JSON.stringify(event));
  heard.resolve();
});
await spawner.confine(undefined);
spawner.post({ type: "hand_over", worker: 1 } as unknown as ToSpawner);
await heard.promise;
spawner.close();
