/**
 * The signals that control a supervisor. They are handled from the first moment of a start, long before
 * there is a supervisor: by default HUP, USR1 and USR2 end a process.
 * This file imports nothing, so that nothing has to be loaded before it.
 */

const CONTROL_SIGNALS = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGINT"] as const;

/** A signal that controls the supervisor. */
export type ControlSignal = (typeof CONTROL_SIGNALS)[number];

/** Signals that wait; the same signal again changes nothing. */
const waiting = new Set<ControlSignal>();

let take: (signal: ControlSignal) => void = (signal) => waiting.add(signal);
let listening = false;

/** Handles the signals from now on, and keeps them until {@link handleSignals}. */
export function holdSignals(): void {
  if (listening) return;
  listening = true;
  for (const signal of CONTROL_SIGNALS) Deno.addSignalListener(signal, () => take(signal));
}

/**
 * Passes all signals, received so far or later, to `receive`.
 *
 * @returns a function that makes further signals have no effect. They stay handled: a last TERM, just
 *   before the process exits, must not end it by a signal
 */
export function handleSignals(receive: (signal: ControlSignal) => void): () => void {
  holdSignals();
  take = receive;
  for (const signal of waiting) receive(signal);
  waiting.clear();
  return () => {
    take = () => {};
  };
}
