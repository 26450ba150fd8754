/**
 * The signals that control a supervisor. They are handled from the first moment of a start, long before
 * there is a supervisor: by default HUP, USR1 and USR2 end a process.
 * This file imports nothing, so that nothing has to be loaded before it.
 */

const ORDERS = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGINT"] as const;

/** A signal that controls the supervisor. */
export type Order = (typeof ORDERS)[number];

/** Signals that wait; the same signal again changes nothing. */
const waiting = new Set<Order>();

let take: (order: Order) => void = (order) => waiting.add(order);
let listening = false;

/** Handles the signals from now on, and keeps them until {@link takeOrders}. */
export function holdOrders(): void {
  if (listening) return;
  listening = true;
  for (const order of ORDERS) Deno.addSignalListener(order, () => take(order));
}

/**
 * Passes all signals, received so far or later, to `receive`.
 *
 * @returns a function that makes further signals have no effect. They stay handled: a last TERM, just
 *   before the process exits, must not end it by a signal
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
