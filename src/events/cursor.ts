/** A place in a project's stream of events: behind the event of that number. */
export interface Cursor {
  /** Of the database's history, see event_stream_epoch() in the migrations. */
  readonly epoch: string;
  readonly seq: bigint;
}

/** What a cursor is printed as: `EPOCH.SEQ`. */
export function formatCursor({ epoch, seq }: Cursor): string {
  return `${epoch}.${seq}`;
}

/** Reads a cursor's text; undefined where it is none. */
export function parseCursor(text: string): Cursor | undefined {
  const match = /^([0-9A-Za-z-]{1,40})\.(\d{1,18})$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { epoch: match[1], seq: BigInt(match[2]) };
}

/** How far a project's stream goes. */
export interface StreamState {
  readonly epoch: string;
  /** Of the newest numbered event; 0 before the first. */
  readonly lastSeq: bigint;
  /** All up to this one are pruned. */
  readonly prunedSeq: bigint;
}

/** Why a cursor cannot be served: the client has to read afresh what it follows. */
export type CursorProblem = "CURSOR_FOREIGN" | "CURSOR_AHEAD" | "CURSOR_PRUNED";

/** Judges whether every event behind a cursor can still be delivered; undefined where it can. */
export function judgeCursor(cursor: Cursor, state: StreamState): CursorProblem | undefined {
  if (cursor.epoch !== state.epoch) return "CURSOR_FOREIGN";
  if (cursor.seq > state.lastSeq) return "CURSOR_AHEAD";
  return cursor.seq < state.prunedSeq ? "CURSOR_PRUNED" : undefined;
}
