import { and, eq } from "drizzle-orm";
import type { Tx } from "../storage/database.ts";
import { agents, enrollments } from "../storage/schema.ts";

/** The agent that a nonce enrolled by a token; undefined for a new nonce, or where that agent was removed since. */
export interface EarlierEnrollment {
  agentId: string;
  agentName: string;
}

export async function findEnrollment(
  tx: Tx,
  projectId: string,
  tokenId: string,
  nonce: string,
): Promise<EarlierEnrollment | undefined> {
  const [row] = await tx
    .select({ agentId: agents.id, agentName: agents.name, removedAt: agents.removedAt })
    .from(enrollments)
    .innerJoin(agents, and(eq(agents.projectId, enrollments.projectId), eq(agents.id, enrollments.agentId)))
    .where(
      and(
        eq(enrollments.projectId, projectId),
        eq(enrollments.tokenId, tokenId),
        eq(enrollments.nonce, nonce),
      ),
    );
  return row === undefined || row.removedAt !== null ? undefined : row;
}

/** Remembers which agent the nonce enrolled, over an agent that was removed since. */
export async function rememberEnrollment(
  tx: Tx,
  enrollment: { projectId: string; tokenId: string; nonce: string; agentId: string },
): Promise<void> {
  await tx
    .insert(enrollments)
    .values(enrollment)
    .onConflictDoUpdate({
      target: [enrollments.projectId, enrollments.tokenId, enrollments.nonce],
      set: { agentId: enrollment.agentId },
    });
}
