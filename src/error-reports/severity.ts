/** How bad an error is, from the least to the worst. */
export const severities = ["info", "warning", "minor", "major", "critical", "fatal"] as const;
/** One of `severities`. */
export type Severity = (typeof severities)[number];

/** Below zero when `a` is less bad than `b`, zero when equal, above zero when worse; sorts the least first. */
export function compareSeverity(a: Severity, b: Severity): number {
  return severities.indexOf(a) - severities.indexOf(b);
}
