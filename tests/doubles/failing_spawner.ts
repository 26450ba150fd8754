/** A spawner thread that is sent what it cannot take: it prints what the supervisor hears of it. */
import { DEFAULT_OUTPUT_LIMITS } from "../../lib/base/output_limits.ts";
import { startSpawner } from "../../lib/supervisor/spawner.ts";

const spawner = startSpawner();
const heard = Promise.withResolvers<void>();
spawner.spawn({
  ...{ program: "/bin/true", args: undefined as never, env: {}, cwd: "/", account: undefined },
  ...{ wall: undefined, source: "", image: undefined, output: DEFAULT_OUTPUT_LIMITS },
}, (event) => {
  // deno-lint-ignore no-console
  console.log(JSON.stringify(event));
  heard.resolve();
});
await heard.promise;
spawner.close();
