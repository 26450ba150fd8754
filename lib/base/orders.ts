/**
 * The signals by which a supervisor is told what to do. They are listened to from the first moment of a
 * start, long before there is a supervisor: HUP, USR1 and USR2 end a process that does not
 * listen.
 * Imports nothing, so that nothing has to be loaded before it.
 */

const ORDERS = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGINT"] as const;

/** A signal that is an order. */
export type Order = (typeof ORDERS)[number];

/** What one that waits counts for: the same order again says nothing new. */
const waiting = new Set<Order>();

let take: (order: Order) => void = (order) => waiting.add(order);
let listening = false;

/** Listens from now on, and keeps what comes until {@link takeOrders}. */
export function holdOrders(): void {
  if (listening) return;
  listening = true;
  for (const order of ORDERS) Deno.addSignalListener(order, () => take(order));
}

/**
 * Gives each order that has come and that comes to `receive`.
 *
 * @returns has what comes from then on mean nothing. It is listened to still: a last TERM, just before
 *   the process exits, is not to end it by a signal
 */
export function takeOrders(receive: (order: Order) => void): () => void {
  holdOrders();
  take = receive;
  for (const order of waiting) receive(order);
  waiting.clear();
  return () => {
    take = () => {};
  };
}
