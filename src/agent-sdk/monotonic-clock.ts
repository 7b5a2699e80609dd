/**
 * Milliseconds on the system's monotonic clock, from an arbitrary beginning. All threads of a process read the same
 * clock, which `performance.now()` does not offer: each thread counts that from its own start.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
