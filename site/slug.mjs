/** The name of a heading in an address, as GitHub gives it: links hold on the site and in the repository. */
export function slugOf(heading) {
  return heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replace(/\s/g, "-");
}
