/** The rules of the channel, by the names that the log has for them. */
export type ViolationCode =
  | "frame_too_long"
  | "frame_stalled"
  | "frame_not_json"
  | "bad_message"
  | "not_permitted"
  | "too_many_messages"
  | "version_mismatch"
  | "wrong_count";

/** A peer broke the protocol. It is never ignored: the peer is killed and the rule is logged. */
export class Violation extends Error {
  readonly rule: ViolationCode;

  constructor(rule: ViolationCode, detail: string) {
    super(detail);
    this.name = "Violation";
    this.rule = rule;
  }
}
