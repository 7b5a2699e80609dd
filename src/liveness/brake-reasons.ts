import type { BrakeKind } from "./decide-brake.ts";

/** What an engaged brake means for whoever waits for the tasks of an agent that is gone; a clause. */
export const brakeReasons = {
  slow: "most agents of its project vanished at once, so what those hold goes back slowly, one agent after the other",
  waiting:
    "the agents of its project vanished together and begin to come back, so what the others hold stays with them for now",
  stopped: "all agents of its project vanished at once, so nothing goes back until one of them is heard",
} satisfies Record<BrakeKind, string>;
