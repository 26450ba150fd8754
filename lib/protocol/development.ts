/** What `holdfast dev` tells the workers that it has started; no other worker is told. */

/** Under which name the program of such a worker finds it. */
export const DEVELOPMENT_KEY = "holdfast.development";

/** Where pages hear of reloads. */
export interface DevelopmentPage {
  /** The URL of the script that each page is given. */
  readonly script: string;
  /** The URL of the events that the script hears. */
  readonly events: string;
}
