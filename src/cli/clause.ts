/** Words behind a colon: those of servers have no full stop, and those of the SDK begin as a sentence does. */
export function clauseOf(message: string): string {
  const begun = message.replace(/^[A-Z](?=[a-z]* )/, (letter) => letter.toLowerCase());
  return /[.?!]$/.test(begun) ? begun : `${begun}.`;
}
