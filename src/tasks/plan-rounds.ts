/**
 * Divides claims that wait together into rounds, each of which wishes for so many tasks at most; a larger claim has a
 * round of its own. Projects take turns, so that a crowd in one of them keeps no other project waiting behind all of it;
 * those of one project keep their order.
 */
export function planRounds<C extends { readonly projectId: string; readonly max: number }>(
  claims: readonly C[],
  mostTasks: number,
): C[][] {
  const rounds: C[][] = [];
  let round: C[] = [];
  let wished = 0;
  for (const claim of inTurns(claims)) {
    if (round.length > 0 && wished + claim.max > mostTasks) {
      rounds.push(round);
      round = [];
      wished = 0;
    }
    round.push(claim);
    wished += claim.max;
  }
  return round.length === 0 ? rounds : [...rounds, round];
}

function inTurns<C extends { readonly projectId: string }>(claims: readonly C[]): C[] {
  const lines = [...Map.groupBy(claims, ({ projectId }) => projectId).values()];
  const longest = Math.max(0, ...lines.map(({ length }) => length));
  return Array.from({ length: longest }, (_, turn) =>
    lines.flatMap((line) => line.slice(turn, turn + 1)),
  ).flat();
}
