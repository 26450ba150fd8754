/** How large and how slow the requests of the load modes are. The client tells the app in the query. */
export interface Shape {
  /** @default 200 */
  slowMs: number;
  /** @default 30 */
  streamChunks: number;
  /** @default 100 */
  streamEveryMs: number;
  /** @default 30 */
  uploadPieces: number;
  /** @default 8192 */
  uploadPieceBytes: number;
  /** @default 100 */
  uploadEveryMs: number;
  /** @default 100 */
  eventEveryMs: number;
}

/** Streams and uploads of 3 s: longer than a reload, so that each is caught by at least one. */
export const USUAL_SHAPE: Shape = {
  slowMs: 200,
  streamChunks: 30,
  streamEveryMs: 100,
  uploadPieces: 30,
  uploadPieceBytes: 8192,
  uploadEveryMs: 100,
  eventEveryMs: 100,
};

/** The whole body that the app answers to `GET /stream?chunks=N`. */
export function streamBody(chunks: number): string {
  const filling = "x".repeat(1000);
  return Array.from({ length: chunks }, (_, index) => `chunk ${index} ${filling}\n`).join("");
}
