import { asc, eq, sql } from "drizzle-orm";
import { appendEvents } from "../events/outbox.ts";
import { formatId } from "../runtime/resource-id.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import type { PageRequest } from "../storage/page.ts";
import { projects } from "../storage/schema.ts";

export type ProjectRow = typeof projects.$inferSelect;

/** Adds a project; undefined where the name is taken. */
export async function insertProject(tx: Tx, id: string, name: string): Promise<ProjectRow | undefined> {
  const [row] = await tx.insert(projects).values({ id, name }).onConflictDoNothing().returning();
  return row;
}

export async function findProjectByName(db: Db | Tx, name: string): Promise<ProjectRow | undefined> {
  const [row] = await db.select().from(projects).where(eq(projects.name, name));
  return row;
}

/** One row more than the page's size, by name; only one project where `onlyId` is given. */
export async function listProjects(
  db: Db,
  onlyId: string | undefined,
  page: PageRequest,
): Promise<ProjectRow[]> {
  const [after] = page.after ?? [];
  return await db
    .select()
    .from(projects)
    .where(
      sql`${onlyId === undefined ? sql`true` : eq(projects.id, onlyId)} AND ${
        after === undefined ? sql`true` : sql`${projects.name} COLLATE "C" > ${after}`
      }`,
    )
    .orderBy(asc(sql`${projects.name} COLLATE "C"`))
    .limit(page.size + 1);
}

/** The project of that name, made where it is missing. */
export async function ensureProject(db: Db, id: string, name: string): Promise<ProjectRow> {
  return await inTransaction(db, async (tx) => {
    const made = await insertProject(tx, id, name);
    if (made === undefined) {
      const row = await findProjectByName(tx, name);
      if (row === undefined) throw new Error(`the project ${name} vanished`);
      return row;
    }
    const subject = formatId("project", made.id);
    await appendEvents(tx, [
      { projectId: made.id, type: "project.created", subject, data: { name, actor: "server" } },
    ]);
    return made;
  });
}
