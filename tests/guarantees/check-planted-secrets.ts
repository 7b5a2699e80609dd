import type { Stage } from "../helpers/stage.ts";

/** Every text, json and bytea value of the database that holds one of the words, as `table.column`. */
export async function foundInDatabase({ sql }: Stage, words: string[]): Promise<string[]> {
  const columns = await sql<{ schema: string; table: string; column: string; type: string }[]>`
    SELECT c.table_schema AS schema, c.table_name AS table, c.column_name AS column, c.data_type AS type
    FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')
      AND c.data_type NOT IN ('uuid', 'bigint', 'integer', 'smallint', 'boolean', 'timestamp with time zone')`;
  if (columns.length < 20) throw new Error("the database has fewer columns than there is to search");
  const found: string[] = [];
  for (const { schema, table, column, type } of columns) {
    for (const word of words) {
      const rows = await sql`
        SELECT 1 FROM ${sql(schema)}.${sql(table)}
        WHERE ${
          type === "bytea"
            ? sql`position(convert_to(${word}, 'UTF8') IN ${sql(column)}) > 0`
            : sql`position(${word} IN ${sql(column)}::text) > 0`
        } LIMIT 1`;
      if (rows.length > 0) found.push(`${table}.${column} holds ${word}`);
    }
  }
  return found;
}

/** Which of the words stand in a text. */
export function foundIn(what: string, text: string, words: string[]): string[] {
  return words.filter((word) => text.includes(word)).map((word) => `${what} holds ${word}`);
}
