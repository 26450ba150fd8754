/** The whole audit: every attempt in every mode, under one project's real config. */
import type { Config } from "../config/config.ts";
import { keepDescriptors } from "../os/descriptor.ts";
import { landlockAbi } from "../os/landlock.ts";
import { type Wall, workerWall } from "../sandbox/wall.ts";
import { workerArguments, workerEnvironment } from "../sandbox/worker_command.ts";
import { bundle, findCaches } from "../supervisor/prepare.ts";
import { realSystem, type System } from "../supervisor/system.ts";
import { requireWall } from "../supervisor/require_wall.ts";
import type { SpawnRequest } from "../supervisor/spawner_message.ts";
import type { Attempt } from "./attempt.ts";
import { ATTEMPTS } from "./attempts/catalogue.ts";
import { Auditor } from "./auditor.ts";
import { type Mode, MODES } from "./mode.ts";
import { type RealPlaces, Scene, suspectConfig } from "./scene.ts";
import type { Result } from "./verdict.ts";

export interface AuditOptions {
  readonly configFile: string;
  /** Also what uses up the machine. */
  readonly stress?: boolean;
  /** What the config is loaded with. */
  readonly system?: Pick<System, "loadConfig" | "findDenoDir" | "prepareApp">;
  /** Which attempts; the default is all. */
  readonly attempts?: readonly Attempt[];
  /** Which modes; the default is all. */
  readonly modes?: readonly Mode[];
  /** Told of each result as it comes. */
  readonly onResult?: (result: Result) => void;
  /** Changes the wall before it is built, for tests of the audit itself. */
  readonly alterWall?: (wall: Wall) => Wall;
  /** Changes the arguments of the suspects, for tests of the audit itself. */
  readonly alterArguments?: (args: string[]) => string[];
}

/**
 * Runs it.
 *
 * @throws {HoldfastError} if the config is refused, or the machine lacks the kernel's wall
 */
export async function audit(options: AuditOptions): Promise<Result[]> {
  const { configFile, stress = false, attempts = ATTEMPTS, modes = MODES, onResult } = options;
  const { system = realSystem } = options;
  keepDescriptors();
  const real = await system.loadConfig(configFile);
  const denoDir = await system.findDenoDir(real);
  const { app: modules } = await system.prepareApp(real, denoDir);
  const abi = landlockAbi();
  requireWall(abi);
  const source = await bundleSuspect();
  /** Makes the attempts in one mode after the other. */
  async function run(lane: readonly Mode[]): Promise<Result[]> {
    const results: Result[] = [];
    for (const mode of lane) {
      await using scene = await Scene.set(real.account);
      const config = suspectConfig(real, scene, freePorts());
      const facts = {
        ...{ arch: Deno.build.arch, abi, denoProgram: Deno.execPath(), modules },
        caches: findCaches(denoDir),
        forbidden: scene.path("outside/secret.txt"),
      };
      const dialling = workerWall(config, facts);
      const wall = (options.alterWall ?? ((same) => same))(dialling);
      const request = suspectRequest(config, mode, { denoDir, source });
      const args = (options.alterArguments ?? ((same) => same))([...request.args]);
      await using auditor = await Auditor.open({
        ...{ mode, config, scene, wall, dialling, stress },
        places: placesOf(config, denoDir),
        request: { ...request, args },
      });
      for (const attempt of attempts) {
        const result = await auditor.make(attempt);
        results.push(result);
        onResult?.(result);
      }
    }
    return results;
  }
  // Two at a time: an attempt is mostly a wait for what comes of it.
  const lanes = [0, 1].map((lane) => modes.filter((_, index) => index % 2 === lane));
  return (await Promise.all(lanes.map(run))).flat();
}

async function bundleSuspect(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_audit_" });
  try {
    return await bundle(folder, "lib/audit/suspect_worker.ts");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function placesOf(config: Config, denoDir: string): RealPlaces {
  return {
    configFile: config.file,
    module: config.app.module,
    project: config.app.project,
    denoDir,
    denoProgram: Deno.execPath(),
    runtime: config.runtime,
  };
}

/** How the suspect is spawned: as a worker of this config is, or with every permission. */
function suspectRequest(
  config: Config,
  mode: Mode,
  { denoDir, source }: { denoDir: string; source: string },
): SpawnRequest {
  const args = workerArguments(config);
  return {
    program: Deno.execPath(),
    args: mode.deno ? args : wide(args),
    env: workerEnvironment(config, Deno.env.toObject(), denoDir),
    cwd: config.app.project,
    source,
    account: config.account && { uid: config.account.uid, gid: config.account.gid },
  };
}

function wide(args: readonly string[]): string[] {
  const [run, ...others] = args.filter((arg) => !/^--(allow|deny|ignore)-/.test(arg));
  return [run!, "--allow-all", ...others, "wide"];
}

function freePorts(): number[] {
  const listeners = [1, 2].map(() => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  return listeners.map((listener) => {
    listener.close();
    return listener.addr.port;
  });
}
