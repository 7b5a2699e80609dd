import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type ErrorGroupSchema,
  type ErrorReportSchema,
  Severity as SeverityNumber,
} from "../../gen/drover/v1/error_report_pb.js";
import { formatId } from "../runtime/resource-id.ts";
import type { ErrorGroupRecord, ErrorReportRecord } from "./error-report-store.ts";
import { type Severity, severityRank } from "./severity.ts";

const severityNames = {
  [SeverityNumber.INFO]: "info",
  [SeverityNumber.WARNING]: "warning",
  [SeverityNumber.MINOR]: "minor",
  [SeverityNumber.MAJOR]: "major",
  [SeverityNumber.CRITICAL]: "critical",
  [SeverityNumber.FATAL]: "fatal",
} satisfies Record<Exclude<SeverityNumber, SeverityNumber.UNSPECIFIED>, Severity>;

const numbersByRank = new Map<number, SeverityNumber>(
  Object.entries(severityNames).map(([number, name]) => [severityRank(name), Number(number)]),
);

/** Validation has refused what is unspecified or unknown before. */
export function severityFromMessage(severity: SeverityNumber): Severity {
  if (severity === SeverityNumber.UNSPECIFIED) throw new Error("an unspecified severity passed validation");
  return severityNames[severity];
}

export function severityToMessage(rank: number): SeverityNumber {
  return numbersByRank.get(rank) ?? SeverityNumber.UNSPECIFIED;
}

const INT32_MAX = 2_147_483_647n;

/** A count as the contract carries it; one too large to be carried stands at the largest. */
export function toInt32(count: bigint): number {
  return Number(count < INT32_MAX ? count : INT32_MAX);
}

export function errorReportToMessage(report: ErrorReportRecord): MessageInitShape<typeof ErrorReportSchema> {
  return {
    id: formatId("error", report.id),
    agent: report.agentName,
    agentId: formatId("agent", report.agentId),
    severity: severityToMessage(report.severityRank),
    message: report.message,
    taskId: report.taskId === null ? "" : formatId("task", report.taskId),
    fingerprint: report.fingerprint,
    occurrences: toInt32(report.occurrences),
    createdAt: timestampFromDate(report.createdAt),
    lastSeenAt: timestampFromDate(report.lastSeenAt),
    ...(report.context !== null && { context: report.context }),
  };
}

export function errorGroupToMessage(group: ErrorGroupRecord): MessageInitShape<typeof ErrorGroupSchema> {
  return {
    fingerprint: group.fingerprint,
    severity: severityToMessage(group.severityRank),
    message: group.message,
    count: toInt32(group.count),
    agentCount: toInt32(group.agentCount),
    firstSeenAt: timestampFromDate(group.firstSeenAt),
    lastSeenAt: timestampFromDate(group.lastSeenAt),
  };
}
