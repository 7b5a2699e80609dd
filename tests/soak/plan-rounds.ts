/** What happens to agents for a while. */
export type AgentFault = "freeze" | "kill";
/** What happens to the rest meanwhile. */
export type HouseFault = "killServer" | "freezeServer" | "restartPostgres" | "killPostgres";

/** Faults at the same time; places are below the numbers of agents and servers. */
export interface Round {
  readonly agents: ReadonlyMap<number, AgentFault>;
  readonly house: readonly HouseFault[];
  readonly server: number;
  /** For so long the fleet works undisturbed before. */
  readonly restMs: number;
}

const AGENT_FAULTS: readonly AgentFault[] = ["freeze", "kill"];
const HOUSE_FAULTS: readonly HouseFault[] = ["killServer", "restartPostgres", "freezeServer", "killPostgres"];
const LONGEST_REST_MS = 1_500;

/** Rounds of one seed, always the same: agents are frozen in each, and two things of the house break, each in its turn. */
export function* planRounds(
  seed: number,
  size: { agents: number; servers: number },
): Generator<Round, never> {
  const random = randomOf(seed);
  const below = (end: number) => Math.floor(random() * end);
  for (let round = 0; ; round += 1) {
    const frozen = below(size.agents);
    const other = (frozen + 1 + below(size.agents - 1)) % size.agents;
    const second = AGENT_FAULTS[below(AGENT_FAULTS.length)] ?? "freeze";
    const at = (round * 2) % HOUSE_FAULTS.length;
    const house = HOUSE_FAULTS.slice(at, at + 2);
    yield {
      agents: new Map([
        [frozen, "freeze"],
        [other, second],
      ]),
      house: random() < 0.5 ? house : house.toReversed(),
      server: below(size.servers),
      restMs: below(LONGEST_REST_MS),
    };
  }
}

/** Numbers from 0 to 1 that look like chance and are the seed's own (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
