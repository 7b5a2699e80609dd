type Labels = Readonly<Record<string, string>>;

/** What the agent of a task must have. */
export interface Requirements {
  /** It can do all of these. */
  readonly capabilities: readonly string[];
  /** It carries all of these. */
  readonly labels: Labels;
}

/** What an agent has to offer. */
export interface Offer {
  readonly capabilities: readonly string[];
  readonly labels: Labels;
}

/** Something that a task requires and an agent does not have. */
export type Lack =
  | { readonly kind: "capability"; readonly capability: string }
  | {
      readonly kind: "label";
      readonly key: string;
      readonly wanted: string;
      /** The agent's own value; undefined where it has none. */
      readonly has: string | undefined;
    };

export const NO_REQUIREMENTS: Requirements = { capabilities: [], labels: {} };

/** What an agent lacks for a task; nothing: it may run it. The claim's statement decides the same, by containment. */
export function matchTask({ capabilities, labels }: Requirements, offer: Offer): Lack[] {
  const lacks: Lack[] = capabilities
    .filter((capability) => !offer.capabilities.includes(capability))
    .map((capability) => ({ kind: "capability", capability }));
  for (const [key, wanted] of Object.entries(labels)) {
    // A label may be named like something that every object inherits.
    const has = Object.hasOwn(offer.labels, key) ? offer.labels[key] : undefined;
    if (has !== wanted) lacks.push({ kind: "label", key, wanted, has });
  }
  return lacks;
}

/** Whether an agent has all that a task requires. */
export function meets(requirements: Requirements, offer: Offer): boolean {
  return matchTask(requirements, offer).length === 0;
}
