/** How bad an error is, from the least to the worst. */
export const severities = ["info", "warning", "minor", "major", "critical", "fatal"] as const;
/** One of `severities`. */
export type Severity = (typeof severities)[number];

/** From 1 for the least to 6 for the worst: what the database stores, so that the worst is the largest. */
export function severityRank(severity: Severity): number {
  return severities.indexOf(severity) + 1;
}
