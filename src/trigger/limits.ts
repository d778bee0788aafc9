/** Largest request body, in bytes. */
export const MAX_BODY_BYTES = 10 * 1024 * 1024;
/** Stdout held back until the outcome of the run is known, in bytes; from here on it is streamed. */
export const MAX_HELD_BYTES = 1024 * 1024;
/** Stdout shown in the answer of a run that did not succeed, in bytes. */
export const MAX_ERROR_OUTPUT_BYTES = 64 * 1024;
/** Bodies, waiting events and answers held for callers at a time, in bytes; beyond that no more bodies are taken. */
export const MAX_IN_FLIGHT_BYTES = 128 * 1024 * 1024;
