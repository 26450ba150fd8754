/**
 * The version of the messages between supervisor and worker. A worker says it in its first message;
 * a mismatch is a refusal that names both, since the two may come from different releases.
 */
export const PROTOCOL_VERSION = 7;
