/**
 * Makes a portable executable: a header, which is a shell script, and after it the deno program that
 * runs this and a tar of the app's image, its config, its files and Holdfast's own programs.
 */
import { basename, join } from "node:path";
import { VERSION } from "../base/version.ts";
import { loadConfig } from "../config/load.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import {
  FACTS_FILE,
  UNPACKED_FOLDERS,
  UNPACKED_FORMAT,
  UnpackedFacts,
} from "../supervisor/unpacked.ts";
import { collect, type Collection } from "./collect.ts";
import { nameOf, requireFileName } from "./name.ts";
import { type PackedFile, packFile, readProgram } from "./pack_file.ts";
import { BuildImage } from "./pack_image.ts";
import { bundlePrograms } from "./programs.ts";

/** What the sizes and the times of a build are. */
export interface BuildReport extends PackedFile {
  readonly output: string;
  readonly ms: number;
}

/** What is built, and where to. */
export interface BuildOptions {
  readonly configFile: string;
  readonly output: string;
  /** The name of the app; the default is that of the config, or of its folder. */
  readonly name?: string | undefined;
  /** Told what is done next. */
  readonly onStep?: (what: string) => void;
  /** Changes what is packed before it is packed, for tests of what comes of that. */
  readonly alterStage?: (folder: string) => Promise<void>;
}

/**
 * Builds.
 *
 * @throws {HoldfastError} if a module is missing or broken, or if the config is refused
 */
export async function buildPortable(options: BuildOptions): Promise<BuildReport> {
  const startMs = performance.now();
  const { configFile, output, alterStage, onStep = () => {} } = options;
  requireFileName(basename(output));
  const config = await loadConfig(configFile);
  const name = await nameOf(config, options.name);
  onStep("looking at the app's code");
  await using image = await BuildImage.make(config);
  const stage = await Deno.makeTempDir({ prefix: "holdfast_compile_" });
  try {
    const collection = await collect({
      ...{ config, modules: image.modules, stage, output, places: "kept" },
    });
    await image.pack(collection.root, join(stage, UNPACKED_FOLDERS.image));
    onStep("bundling Holdfast's programs");
    await bundlePrograms(join(stage, UNPACKED_FOLDERS.holdfast));
    const program = await readProgram();
    const facts = describe(name, collection, program.hash);
    await Deno.writeTextFile(join(stage, FACTS_FILE), `${JSON.stringify(facts)}\n`);
    const links = collection.links.map(({ link, target }) => `${link}|${target}\n`);
    await Deno.writeTextFile(join(stage, "links"), links.join(""));
    await alterStage?.(stage);
    onStep("packing");
    const packed = await packFile(output, stage, program, {
      ...{ NAME: name, KIND: "app", FLAGS: "" },
      VERSIONS: `${facts.versions.app ?? "(no version)"}, Holdfast ${VERSION}, Deno ` +
        Deno.version.deno,
      MODE: config.account === undefined ? "700" : "755",
      RUNTIME: collection.runtime,
      SOCKETS: collection.sockets.join("\n"),
    });
    return { output, ...packed, ms: Math.round(performance.now() - startMs) };
  } finally {
    await Deno.remove(stage, { recursive: true });
  }
}

function describe(name: string, collection: Collection, program: string): UnpackedFacts {
  return UnpackedFacts.parse({
    format: UNPACKED_FORMAT,
    name,
    versions: { app: collection.version, holdfast: VERSION, deno: Deno.version.deno },
    protocol: PROTOCOL_VERSION,
    program,
    config: collection.config,
  });
}
