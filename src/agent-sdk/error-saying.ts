import { Severity } from "../../gen/drover/v1/error_report_pb.js";
import type { Saying } from "./session-requests.ts";
import type { ErrorReport, ErrorSeverity } from "./work-task.ts";

const severities = {
  info: Severity.INFO,
  warning: Severity.WARNING,
  minor: Severity.MINOR,
  major: Severity.MAJOR,
  critical: Severity.CRITICAL,
  fatal: Severity.FATAL,
} as const satisfies Record<ErrorSeverity, Severity>;

/** An error report as a message; `requestId` makes its repeats harmless. */
export function errorSaying({ severity, message, context, taskId }: ErrorReport, requestId: string): Saying {
  return {
    case: "error",
    value: {
      severity: severities[severity],
      message,
      requestId,
      ...(context === undefined ? {} : { context }),
      ...(taskId === undefined ? {} : { taskId }),
    },
  };
}
