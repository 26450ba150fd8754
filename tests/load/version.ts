/** Tests rewrite this file in their own copy of the folder, to see new code being served. */
export const GENERATION = "1";
