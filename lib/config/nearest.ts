/** What somebody meant who has mistyped a name. */
import leven from "leven";

/** The known name that is nearest to a text, if it can have been meant. */
export function nearestName(text: string, known: readonly string[]): string | undefined {
  const given = text.toLowerCase();
  const spelled = known.map((name) => ({ name, small: name.toLowerCase() }));
  const begun = spelled.find(({ small }) => given.length > 2 && small.startsWith(given));
  if (begun !== undefined) return begun.name;
  const near = spelled.map(({ name, small }) => ({ name, small, off: leven(given, small) }))
    .sort((a, b) => a.off - b.off)
    .find(({ small, off }) => off <= mistakesIn(small) || lettersOf(small) === lettersOf(given));
  return near?.name;
}

/** Of a short name every other letter may be another: it is another name then. */
function mistakesIn({ length }: string): number {
  return length <= 3 ? 1 : length <= 8 ? 2 : 3;
}

/** Two letters may have changed places. */
function lettersOf(name: string): string {
  return [...name].sort().join("");
}
