import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { invalidField } from "../runtime/refusal.ts";
import type { Db, Tx } from "../storage/database.ts";
import { answerOnce, type OnceCall } from "./answer-once.ts";

/** A call that changes whatever its filter finds, as many as one answer holds. */
export interface ManyCall<In extends DescMessage, Out extends DescMessage, Answer, Change>
  extends Omit<OnceCall<In, Out>, "run" | "request" | "secret"> {
  request: OnceCall<In, Out>["request"] & { all: boolean };
  /** The parts of the filter, each empty where it is not given. */
  filter: readonly { readonly length: number }[];
  /** Resolves to the answer, and to what was changed for it. */
  run: (tx: Tx) => Promise<{ answer: Answer; changes: Change[] }>;
}

/**
 * Runs such a call as `answerOnce` does. What changed is to be told of after this has resolved; a repeat by its request_id
 * changes nothing. Throws INVALID_ARGUMENT where neither a filter nor `all` is given.
 */
export async function answerMany<
  In extends DescMessage,
  Out extends DescMessage,
  Answer extends { more: boolean },
  Change,
>(
  db: Db,
  { filter, run, ...call }: ManyCall<In, Out, Answer, Change>,
): Promise<{ answer: Answer; changes: Change[] }> {
  requireFilter(call.request.all, filter);
  let changes: Change[] = [];
  const answer = await answerOnce(db, {
    ...call,
    run: async (tx) => {
      const done = await run(tx);
      changes = done.changes;
      // The callers' answers have the fields of their messages; that one type serves several of them hides it.
      return done.answer as unknown as MessageInitShape<Out>;
    },
  });
  // As above.
  return { answer: answer as unknown as Answer, changes };
}

/** Everything is not what somebody means who leaves the filter out. */
function requireFilter(all: boolean, filter: ManyCall<never, never, never, never>["filter"]): void {
  if (!all && filter.every(({ length }) => length === 0))
    throw invalidField("all", "must be true where no filter is given");
}
