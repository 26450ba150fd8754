/** A module that throws, in several versions. */

/** In it the line that throws is another one than in what it is compiled to. */
export const PRICE = (version: string) => `
interface Order { readonly sum: number; readonly price: number }

type Checked = (order: Order) => number;

export const VERSION = "${version}";
export const check: Checked = ({ sum, price }: Order): number => {
  if (sum + price * 1.2 > 0) throw new Error("too much of " + VERSION);
  return sum;
};
`;
