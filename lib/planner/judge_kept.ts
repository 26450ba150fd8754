/** Judges a config that is brought back: its image is kept, and what its paths lead to is of now. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../base/error.ts";
import { resolveAccount } from "../config/account.ts";
import type { CheckFacts } from "../config/check.ts";
import type { Config } from "../config/config.ts";
import { ConfigError, Refusal } from "../config/problem.ts";
import { projectsOf, settingsOf } from "../config/project.ts";
import type { PackedImage } from "../protocol/packed_image.ts";
import type { Plan } from "../protocol/plan.ts";
import { modulesIn } from "../supervisor/image_store.ts";
import { checkTls } from "./check_tls.ts";
import { filesOfEnvironment } from "./known_origins.ts";
import {
  type ImageRequest,
  lookAtMachine,
  requireGoodConfig,
  type Warning,
  warningsOf,
} from "./make_image.ts";
import { checkModes } from "./strict_modes.ts";

/**
 * Judges it by what the image was made of: the files of the modules that it names.
 *
 * @throws {HoldfastError} if the config is refused
 */
export async function judgeKept(
  { config, images, denoDir, facts, packed }: ImageRequest & { readonly packed?: PackedImage },
  plan: Plan,
): Promise<{ plan: Plan; warnings: Warning[] }> {
  await requireSameAccount(config);
  const tls = await checkTls(config);
  const machine = await lookAtMachine(facts);
  const known: CheckFacts = packed
    ? { ...facts, denoDir: packed.folder, modules: packed.guarded, settings: [] }
    : {
      ...{ ...facts, denoDir, modules: filesIn(join(images, plan.digest)) },
      settings: [...settingsOf(projectsOf(config)), ...filesOfEnvironment()],
    };
  requireGoodConfig(config, known, machine.check);
  const modes = packed ? { problems: [], warnings: [] } : checkModes(config, known, machine.modes);
  if (modes.problems.length > 0) throw new ConfigError(config.file, modes.problems);
  return { plan, warnings: warningsOf(config, modes.warnings, machine.check, tls) };
}

/** The files of an image's modules, as it lists them. */
function filesIn(image: string): string[] {
  const modules = modulesIn(Deno.readTextFileSync(join(image, "modules")));
  return [...modules.keys()].filter((url) => url.startsWith("file:"))
    .map((url) => fileURLToPath(url));
}

/** The name of an account may be another one's by now. */
async function requireSameAccount({ account, file }: Config): Promise<void> {
  if (account === undefined) return;
  const now = await resolveAccount(account.user, String(account.gid));
  if (!(now instanceof Refusal) && now.uid === account.uid) return;
  const found = now instanceof Refusal ? now.message : `it is uid ${now.uid}`;
  throw new HoldfastError(`The user ${account.user} was uid ${account.uid}: ${found}`, {
    kind: "config",
    code: "account_changed",
    hint: `Give it that id again, or reload with the user of now in ${file}`,
  });
}
