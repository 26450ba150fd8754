/** Limits of what a peer may send. The peer chooses every number that is checked against these. */

/** The longest frame that a supervisor reads from a worker, in bytes of payload. */
export const MAX_EVENT_BYTES = 16 * 1024;

/** How many connections a worker may ask the supervisor to end at once. */
export const MAX_GIVEN_UP = 256;

/** The longest frame that a worker reads from its supervisor: its policy may list many paths. */
export const MAX_COMMAND_BYTES = 1024 * 1024;

/** How many messages a worker may send at once. */
export const EVENT_BURST = 32;

/** How many messages a second a worker may send in the long run; a pulse is one a second. */
export const EVENTS_PER_SECOND = 8;

/** How long a frame may stay half sent. */
export const FRAME_DEADLINE_MS = 5_000;

/** How often a worker sends its figures. */
export const PULSE_INTERVAL_MS = 1_000;

/** The longest reason for a failed start that a worker may give, in UTF-16 code units. */
export const MAX_REASON_LENGTH = 1_000;

/** Between a reason and what to do about it. */
export const HINT_MARK = "\nhint: ";
