import type { Explanation } from "../../../gen/drover/v1/explanation_pb.js";
import { useResource } from "../live/resource.ts";
import { topics } from "../live/topics.ts";

interface ExplainProps {
  /** Name or id of what is explained. */
  readonly of: string;
  readonly read: () => Promise<Explanation | undefined>;
}

/** Why something is as it is, in the server's words. */
export function Explain({ of, read }: ExplainProps) {
  const explanation = useResource(`explain ${of}`, read, { everyMs: 5000, when: topics.any });
  const reading = explanation.reading.value;
  if (reading.kind !== "ready" || reading.value === undefined) return null;
  const { summary, reasons } = reading.value;
  return (
    <section class="explain" aria-label="Explanation">
      <p>
        <strong>{summary}</strong>
      </p>
      {reasons.length > 1 && (
        <ul>
          {reasons.map((reason) => (
            <li key={`${reason.code} ${reason.subject}`}>{reason.message}</li>
          ))}
        </ul>
      )}
      {reasons.length === 1 && reasons[0]?.message !== summary && <p class="faint">{reasons[0]?.message}</p>}
    </section>
  );
}
