/** Reads all that the kept releases run, and compares it with what was put there. */
import { imagesIn, openImage } from "../supervisor/image_store.ts";
import { packagesChanged, packagesIn, sameContents } from "../supervisor/package_sets.ts";
import { Releases } from "../supervisor/releases.ts";

/** What was found of one. */
export interface Verified {
  readonly release: number;
  /** What is not as it was; nothing if all is. */
  readonly fault?: string;
}

/**
 * Verifies each release that is kept in a runtime folder.
 *
 * @returns by the number of the release
 */
export async function verifyReleases(runtime: string): Promise<Record<string, Verified>> {
  const images = imagesIn(runtime);
  const kept = new Releases(images);
  const found: Record<string, Verified> = {};
  for (const { release } of kept.list(0)) {
    const { plan, config } = kept.find(release)!;
    try {
      for (const set of new Set(plan.processes.map(({ packages }) => packages))) {
        if (set !== "" && !await sameContents(images, set)) {
          throw packagesChanged(packagesIn(images, set));
        }
      }
      await openImage(config, plan, images);
      found[release] = { release };
    } catch (error) {
      found[release] = { release, fault: (error as Error).message };
    }
  }
  return found;
}
