const FIRST_WORD = /^(?:\s|--[^\n]*\n)*([a-z]+)/i;
/** A parenthesis, or a table; functions, as in `FROM unnest(…)`, are none. */
const PARTS =
  /[()]|\binto\s+"?([a-z_][a-z0-9_]*)|\b(?:from|update)\s+(?:only\s+)?"?([a-z_][a-z0-9_]*)\b(?!"?\s*[(.])/gi;

/** What a statement does and to what, such as `UPDATE agent_states`: few names for all of them. */
export function nameOfStatement(text: string): string {
  const verb = FIRST_WORD.exec(text)?.[1]?.toUpperCase() ?? "SQL";
  const table = firstTableIn(text);
  return table === undefined ? verb : `${verb} ${table}`;
}

/** The first that is no subquery's. */
function firstTableIn(text: string): string | undefined {
  let depth = 0;
  for (const [part, into, from] of text.matchAll(PARTS)) {
    if (part === "(") depth += 1;
    else if (part === ")") depth -= 1;
    else if (depth === 0) return into ?? from;
  }
  return undefined;
}
