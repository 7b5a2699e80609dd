import type { ErrorReport } from "../../../../gen/drover/v1/error_report_pb.js";
import { count, shortId } from "../../format.ts";
import { Badge } from "../../parts/badge.tsx";
import { JsonView } from "../../parts/json-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { href } from "../../router.ts";
import { severityWords, wordOf } from "../../words.ts";

interface ErrorRowsProps {
  readonly errors: readonly ErrorReport[];
  readonly withAgent?: boolean;
  readonly withTask?: boolean;
  /** Whether the newest one's circumstances are shown at once. */
  readonly openFirst?: boolean;
}

/** Errors, each with its circumstances. */
export function ErrorRows({ errors, withAgent = false, withTask = true, openFirst = false }: ErrorRowsProps) {
  return (
    <ul class="error-rows">
      {errors.map((error, index) => (
        <li key={error.id} data-tone={wordOf(severityWords, error.severity).tone}>
          <div class="error-head">
            <Badge word={wordOf(severityWords, error.severity)} />
            {withAgent && <a href={href(["agents", error.agent])}>{error.agent}</a>}
            {withTask && error.taskId !== "" && (
              <a href={href(["tasks", error.taskId])}>task …{shortId(error.taskId)}</a>
            )}
            {error.occurrences > 1 && <span class="faint">× {count(error.occurrences)}</span>}
            <span class="faint right">
              <TimeAgo time={error.lastSeenAt ?? error.createdAt} />
            </span>
          </div>
          <p class="error-message">{error.message}</p>
          {error.context !== undefined && Object.keys(error.context).length > 0 && (
            <details open={openFirst && index === 0}>
              <summary>Context</summary>
              <JsonView value={error.context} />
            </details>
          )}
        </li>
      ))}
    </ul>
  );
}
