import { and, eq, isNull } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
import { agents, enrollments } from "../storage/schema.ts";

/** The agent of that name that a nonce enrolled by a token; undefined for one that is new, or was removed since. */
export async function findEnrollment(
  tx: Tx,
  enrollment: { projectId: string; tokenId: string; nonce: string; name: string },
): Promise<string | undefined> {
  const { projectId, tokenId, nonce, name } = enrollment;
  const [row] = await tx
    .select({ agentId: agents.id })
    .from(enrollments)
    .innerJoin(agents, and(eq(agents.projectId, enrollments.projectId), eq(agents.id, enrollments.agentId)))
    .where(
      and(
        eq(enrollments.projectId, projectId),
        eq(enrollments.tokenId, tokenId),
        eq(enrollments.nonce, nonce),
        eq(agents.name, name),
        isNull(agents.removedAt),
      ),
    );
  return row?.agentId;
}

/** Remembers which agent the nonce enrolled. */
export async function rememberEnrollment(
  tx: Tx,
  enrollment: { projectId: string; tokenId: string; nonce: string; agentId: string },
): Promise<void> {
  await tx.insert(enrollments).values(enrollment);
}
