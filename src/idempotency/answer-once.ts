import { createHash } from "node:crypto";
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { and, eq, sql } from "drizzle-orm";
import type { Caller } from "../identity/caller.ts";
import { confirmCaller } from "../identity/confirm-caller.ts";
import { invalidField } from "../runtime/refusal.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import { answeredRequests } from "../storage/schema.ts";

/** A call by what its request_id is compared. */
export interface IdentifiedCall<In extends DescMessage> {
  caller: Caller;
  /** Name of the RPC. */
  method: string;
  input: In;
  request: MessageShape<In> & { requestId: string };
}

/** A mutation that a request_id can make harmless to retry. */
export interface OnceCall<In extends DescMessage, Out extends DescMessage> extends IdentifiedCall<In> {
  output: Out;
  /** What the call does, in the transaction that also remembers its answer. */
  run: (tx: Tx) => Promise<MessageInitShape<Out>>;
  /**
   * For answers that carry a secret, which is never stored: `hide` takes it out of the answer to be remembered, and
   * `renew` puts a fresh one for the same token into the answer of a repeat.
   */
  secret?: {
    hide: (answer: MessageShape<Out>) => MessageInitShape<Out>;
    renew: (tx: Tx, remembered: MessageShape<Out>) => Promise<MessageInitShape<Out>>;
  };
}

/**
 * Runs a mutation in a transaction. With a request_id, the answer is remembered in that transaction, and the same id
 * from the same token gets it again without a second effect; of two at once the second waits for the first.
 */
export async function answerOnce<In extends DescMessage, Out extends DescMessage>(
  db: Db,
  call: OnceCall<In, Out>,
): Promise<MessageInitShape<Out>> {
  return await inTransaction(db, async (tx) => {
    const answer = call.request.requestId === "" ? await call.run(tx) : await runOrRecall(tx, call);
    await confirmCaller(tx, call.caller);
    return answer;
  });
}

/** A call that keeps a transaction of its own, and notes in it that it was made. */
export interface Once {
  /** Undefined the first time, which then is under way; later what was noted of it. Waits while the first is under way. */
  begin(tx: Tx): Promise<Uint8Array | undefined>;
  /** Notes what a repeat has to know. */
  keep(tx: Tx, note: Uint8Array): Promise<void>;
  /** It has had no effect: the id is free. */
  forget(tx: Tx): Promise<void>;
}

/** For a call that names a request_id; undefined for one that names none. */
export function createOnce<In extends DescMessage>(call: IdentifiedCall<In>): Once | undefined {
  if (call.request.requestId === "") return undefined;
  const requestHash = hashRequest(call);
  return {
    begin: async (tx) =>
      (await claimRequestId(tx, call, requestHash)) ? undefined : await recall(tx, call, requestHash),
    async keep(tx, note) {
      await tx
        .update(answeredRequests)
        .set({ response: Buffer.from(note) })
        .where(key(call));
    },
    async forget(tx) {
      await tx.delete(answeredRequests).where(key(call));
    },
  };
}

async function runOrRecall<In extends DescMessage, Out extends DescMessage>(
  tx: Tx,
  call: OnceCall<In, Out>,
): Promise<MessageInitShape<Out>> {
  const requestHash = hashRequest(call);
  if (await claimRequestId(tx, call, requestHash)) {
    const answer = create(call.output, await call.run(tx));
    await remember(
      tx,
      call,
      call.secret === undefined ? answer : create(call.output, call.secret.hide(answer)),
    );
    // A message is one of its own initial shapes; the generic parameter hides that.
    return answer as MessageInitShape<Out>;
  }
  const remembered = fromBinary(call.output, await recall(tx, call, requestHash));
  if (call.secret !== undefined) return await call.secret.renew(tx, remembered);
  return remembered as MessageInitShape<Out>;
}

function hashRequest<In extends DescMessage>(call: IdentifiedCall<In>): Buffer {
  return createHash("sha256").update(toBinary(call.input, call.request)).digest();
}

/** False where the id was used before. Waits while a transaction that uses it is under way. */
async function claimRequestId<In extends DescMessage>(
  tx: Tx,
  call: IdentifiedCall<In>,
  requestHash: Buffer,
): Promise<boolean> {
  const rows = await tx
    .insert(answeredRequests)
    .values({
      projectId: call.caller.projectId,
      tokenId: call.caller.tokenId,
      method: call.method,
      requestId: call.request.requestId,
      requestHash,
    })
    .onConflictDoNothing()
    .returning({ requestId: answeredRequests.requestId });
  return rows.length > 0;
}

function key<In extends DescMessage>(call: IdentifiedCall<In>) {
  return and(
    eq(answeredRequests.projectId, call.caller.projectId),
    eq(answeredRequests.tokenId, call.caller.tokenId),
    eq(answeredRequests.method, call.method),
    eq(answeredRequests.requestId, call.request.requestId),
  );
}

async function remember<In extends DescMessage, Out extends DescMessage>(
  tx: Tx,
  call: OnceCall<In, Out>,
  answer: MessageShape<Out>,
): Promise<void> {
  await tx
    .update(answeredRequests)
    .set({ response: Buffer.from(toBinary(call.output, answer)) })
    .where(key(call));
}

async function recall<In extends DescMessage>(
  tx: Tx,
  call: IdentifiedCall<In>,
  requestHash: Buffer,
): Promise<Uint8Array> {
  const [row] = await tx.select().from(answeredRequests).where(key(call));
  if (row?.response == null) throw new Error(`the answer of ${call.method} was not remembered`);
  if (!row.requestHash.equals(requestHash)) {
    throw invalidField("request_id", "was used for a different request in the last 24 hours");
  }
  return row.response;
}

/** Forgets answers older than 24 hours, a batch at a time; resolves to the number forgotten. */
export async function forgetOldAnswers(db: Db, batchSize: number): Promise<number> {
  const rows = await db.execute(sql`
    DELETE FROM answered_requests WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM answered_requests WHERE created_at < clock_timestamp() - interval '24 hours'
      LIMIT ${batchSize} FOR UPDATE SKIP LOCKED))
    RETURNING 1`);
  return rows.length;
}
