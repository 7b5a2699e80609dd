import type { Explanation } from "../../../gen/drover/v1/explanation_pb.js";
import { useResource } from "../live/resource.ts";
import { topics } from "../live/topics.ts";
import { Skeleton } from "./reading-view.tsx";
import { ToldText } from "./told-text.tsx";

interface ExplainProps {
  /** Name or id of what is explained. */
  readonly of: string;
  readonly read: () => Promise<Explanation | undefined>;
}

/** Why something is as it is, in the server's words. */
export function Explain({ of, read }: ExplainProps) {
  const explanation = useResource(`explain ${of}`, read, { everyMs: 5000, when: topics.any });
  const reading = explanation.reading.value;
  if (reading.kind === "loading") {
    // What comes below would jump when the words arrive.
    return (
      <div class="explain">
        <Skeleton rows={1} />
      </div>
    );
  }
  if (reading.kind !== "ready" || reading.value === undefined) return null;
  const { summary } = reading.value;
  // The summary often is the weightiest reason; nothing is said twice.
  const reasons = reading.value.reasons.filter(({ message }) => message !== summary);
  return (
    <section class="explain" aria-label="Explanation">
      <p>
        <strong>
          <ToldText text={summary} />
        </strong>
      </p>
      {reasons.length > 1 && (
        <ul>
          {reasons.map((reason) => (
            <li key={`${reason.code} ${reason.subject}`}>
              <ToldText text={reason.message} />
            </li>
          ))}
        </ul>
      )}
      {reasons.length === 1 && (
        <p class="faint">
          <ToldText text={reasons[0]?.message ?? ""} />
        </p>
      )}
    </section>
  );
}
