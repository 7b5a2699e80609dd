/** A text from outside as the database and JSON take it: without NUL and lone surrogates, cut to `length` code points. */
export function cleanText(text: string, length: number): string {
  const well = text.replaceAll("\0", "").toWellFormed();
  if (well.length <= length) return well;
  const points = [...well.slice(0, 2 * length)];
  return points.length <= length ? points.join("") : `${points.slice(0, length - 1).join("")}…`;
}
