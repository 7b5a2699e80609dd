/** Stands around each round of work that a server does by itself; a round resolves to how much there was to do. */
export type AroundRound = (round: () => Promise<number>) => Promise<number>;

/** For those who are not watched. */
export const unwatched: AroundRound = (round) => round();
