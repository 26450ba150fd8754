/** Whether `inner` is `outer` or lies below it, by whole names. Both absolute and normalised. */
export function covers(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(outer === "/" ? "/" : `${outer}/`);
}
