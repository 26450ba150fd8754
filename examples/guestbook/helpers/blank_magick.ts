/** ImageMagick with a blank memory, narrowed to the few formats that the guestbook takes. */
import {
  ConfigurationFiles,
  type IConfigurationFiles,
  ImageMagick,
  initializeImageMagick,
} from "@imagemagick/magick-wasm";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { magick } from "./magick_module.js";

/** A small file may declare any size, and each of its pixels costs memory once it is decoded. */
export const MAX_PIXELS = 40_000_000;
export const MAX_SIDE = 16_384;

/**
 * What ImageMagick itself refuses, whatever a header says. The last line that matches decides. Its
 * coder of AVIF also knows HEIC, by a name that is not let in.
 */
const POLICY = `<policymap>
  <policy domain="delegate" rights="none" pattern="*"/>
  <policy domain="filter" rights="none" pattern="*"/>
  <policy domain="path" rights="none" pattern="@*"/>
  <policy domain="coder" rights="none" pattern="*"/>
  <policy domain="coder" rights="read|write" pattern="{JPEG,PNG,WEBP,GIF,AVIF}"/>
  <policy domain="resource" name="width" value="${MAX_SIDE}"/>
  <policy domain="resource" name="height" value="${MAX_SIDE}"/>
  <policy domain="resource" name="memory" value="384MiB"/>
  <policy domain="resource" name="map" value="0"/>
  <policy domain="resource" name="disk" value="0"/>
  <policy domain="resource" name="list-length" value="2"/>
  <policy domain="resource" name="max-profile-size" value="2MiB"/>
</policymap>`;

const CONFIGURATION: IConfigurationFiles = {
  log: ConfigurationFiles.default.log,
  policy: { fileName: "policy.xml", data: POLICY },
  *all() {
    yield this.log;
    yield this.policy;
  },
};

/** The library makes an instance only where it holds none, and has no public way to drop one. */
const INSTANCE = "_api";
/** Below this, memory of dropped instances may wait until the engine looks for garbage anyway. */
const LARGE_BYTES = 64 * 1024 * 1024;

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

/**
 * Makes a new instance and drops it at the end of the scope: after a trap its memory is in no known
 * state, and whoever took one over by a photo must not find the next visitor's.
 */
export async function startBlankMagick(): Promise<Disposable> {
  drop();
  await initializeImageMagick(magick, CONFIGURATION);
  return { [Symbol.dispose]: drop };
}

function drop(): void {
  const usedBytes = usedMemoryBytes();
  if (!Reflect.set(ImageMagick, INSTANCE, undefined)) {
    throw new Error(`Cannot drop the instance of ImageMagick: it has no setter "${INSTANCE}"`);
  }
  // The engine does not count this memory, and so would not see that the process nears its limit.
  if (usedBytes > LARGE_BYTES) collectGarbage();
}

function usedMemoryBytes(): number {
  try {
    return Reflect.get(ImageMagick, INSTANCE).HEAPU8.length;
  } catch {
    return 0; // The library throws where there is no instance.
  }
}
