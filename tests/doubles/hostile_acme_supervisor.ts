/**
 * `holdfast start` with one change: in the place of the acme process runs one that does what it finds in
 * the file `act.js` of its folder. All else is real.
 */
import type { SpawnRequest } from "../../lib/supervisor/spawner_message.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { hostileSource, runAltered } from "./altered_supervisor.ts";
import { hostileProgram } from "./hostile_programs.ts";

const PROGRAM = hostileProgram(`
for (const phase of ["introduced", "configured", "equipped", "loading", "ready", "opening"]) {
  await STEPS[phase]();
}
await say({ type: "accepting", engine: "node" });
setInterval(() => void say(PULSE), 1000);
hear("drain").then(() => Deno.exit(0));
const { certificate: path } = configured.roleConfig;
const [, feed] = handles;
let lane;
const tell = (state) => {
  lane ??= new net.Socket({ handle: handles.at(-1), readable: true, writable: true });
  lane.on("error", () => {});
  lane.write(frame(state));
};
const STATE = { notAfter: 4102444800, selfSigned: false };
const AsyncFunction = (async () => {}).constructor;
const folder = path.slice(0, path.lastIndexOf("/"));
for (;;) {
  await sleep(50);
  let code;
  try {
    code = Deno.readTextFileSync(folder + "/act.js");
    Deno.removeSync(folder + "/act.js");
  } catch {
    continue;
  }
  try {
    await new AsyncFunction("path", "tell", "STATE", "handles", code)(path, tell, STATE, handles);
    print("did it\\n");
  } catch (error) {
    print("did not: " + error.message + "\\n");
  }
}
`);

/** By what it is known that something is the acme process. */
const MARK = "// hostile acme";

function withProgram(request: SpawnRequest): SpawnRequest {
  const { source } = request;
  return source.includes(MARK) ? { ...request, source: hostileSource(request, source) } : request;
}

await runAltered({
  loadPrograms: async (...rest) => ({
    ...await realSystem.loadPrograms(...rest),
    acme: `${MARK}\n${PROGRAM}`,
  }),
}, withProgram);
