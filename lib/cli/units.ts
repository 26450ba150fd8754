/** Times and sizes as a person reads them. */

const UNITS: readonly [number, string][] = [[86_400, "d"], [3_600, "h"], [60, "m"], [1, "s"]];

/** An age: `4s`, `3m 4s`, `2h 3m`, `1d 2h`. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const first = UNITS.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0s";
  return UNITS.slice(first, first + 2).map(([size, name], index) => {
    const limit = index === 0 ? Infinity : UNITS[first]![0] / size;
    return `${Math.floor(seconds / size) % limit}${name}`;
  }).join(" ");
}

/** A time as it is written on a command line, such as `90s`, `10m`, `2h` or `1d`, in milliseconds. */
export function parseAge(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const [size] = UNITS.find(([, name]) => name === unit) ?? [];
  return size === undefined ? undefined : Number(number) * size * 1000;
}

/** From here on in GiB: it takes no more columns then. */
const MANY_MIB = 1000;

/** A size in memory: `53 MiB`, `1.5 GiB`. */
export function formatMemory(bytes: number): string {
  const mib = Math.round(bytes / 2 ** 20);
  return mib < MANY_MIB ? `${mib} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
