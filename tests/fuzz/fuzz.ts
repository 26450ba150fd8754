/** Changes what is in a corpus at random, and gives it to what reads such bytes. A seed repeats a run. */
import { join } from "node:path";
import { pick, randomFrom } from "../doubles/random.ts";
import type { Target } from "./targets.ts";

const CORPUS = join(import.meta.dirname!, "corpus");

/** The longest input: limits on length are further away than chance comes. */
const MAX_BYTES = 8_192;

/** An input for which something did not hold. */
export class Found extends Error {
  readonly input: Uint8Array;

  constructor(target: Target, input: Uint8Array, cause: unknown) {
    super(
      `${target.name}: ${cause} for ${JSON.stringify(new TextDecoder("latin1").decode(input))}`,
      {
        cause,
      },
    );
    this.input = input;
  }
}

/** The files of a target's corpus, in the order of their names. */
export function corpusOf({ name }: Target): Uint8Array[] {
  const folder = join(CORPUS, name);
  const names = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
  return names.map((each) => Deno.readFileSync(join(folder, each)));
}

/**
 * Tries the corpus as it is, and changed.
 *
 * @param goOn asked before each input, with how many there were
 * @returns how many inputs there were
 * @throws {Found} at the first for which something does not hold
 */
export function fuzz(target: Target, seed: number, goOn: (tried: number) => boolean): number {
  const random = randomFrom(seed);
  const seeds = corpusOf(target);
  let tried = 0;
  const tryOne = (input: Uint8Array) => {
    tried++;
    try {
      target.run(input, random);
    } catch (error) {
      throw new Found(target, input, error);
    }
  };
  for (const each of seeds) tryOne(each);
  while (goOn(tried)) tryOne(changed(random, seeds, target.words));
  return tried;
}

function changed(
  random: () => number,
  seeds: readonly Uint8Array[],
  words: Target["words"],
): Uint8Array {
  let bytes = [...pick(random, seeds)];
  const place = () => Math.floor(random() * (bytes.length + 1));
  for (let left = 1 + Math.floor(random() * 6); left > 0; left--) {
    const [from, to] = [place(), place()].sort((a, b) => a - b) as [number, number];
    switch (Math.floor(random() * 7)) {
      case 0:
        bytes[from] = Math.floor(random() * 256);
        break;
      case 1:
        bytes[from] = (bytes[from] ?? 0) ^ (1 << Math.floor(random() * 8));
        break;
      case 2:
        bytes.splice(from, to - from);
        break;
      case 3:
        bytes.splice(from, 0, ...bytes.slice(from, to));
        break;
      case 4: {
        const word = pick(random, words);
        bytes.splice(from, 0, ...typeof word === "string" ? new TextEncoder().encode(word) : word);
        break;
      }
      case 5: {
        const other = pick(random, seeds);
        bytes = [...bytes.slice(0, from), ...other.subarray(Math.floor(random() * other.length))];
        break;
      }
      default:
        bytes.length = from;
    }
  }
  return Uint8Array.from(bytes.slice(0, MAX_BYTES), (byte) => byte ?? 0);
}
