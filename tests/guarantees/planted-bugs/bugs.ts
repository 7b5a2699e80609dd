import type { Stage } from "../../helpers/stage.ts";
import { clockOff, judgedByOwnClock } from "../check-clock.ts";
import { refusedInError } from "../check-error-state.ts";
import { moments, wrongAfterKill, wrongAfterRollback } from "../check-fatal-heartbeat.ts";
import { createTenant, reachesInto } from "../check-isolation.ts";
import { wrongAfterRepeats } from "../check-repeats.ts";
import { acceptedAfterRevocation } from "../check-revocation.ts";
import type { Edit } from "./plant.ts";

/** A mistake that someone could make, and the check that must notice it. */
export interface PlantedBug {
  name: string;
  edits: Edit[];
  /** What is wrong; empty for a server without the bug. */
  check: (stage: Stage) => Promise<string[]>;
  /** What the check must say, so that it was this bug that it noticed. */
  finds: RegExp;
  env?: Record<string, string>;
}

const killAtAudit = moments.filter(({ name }) => name === "at the audit entry");

export const bugs: PlantedBug[] = [
  {
    name: "the agent's row is read without FOR UPDATE",
    edits: [
      {
        file: "agents/agent-store.ts",
        find: /(eq\(agentStates\.agentId, agentId\)\)\))\s*\.for\("update"\)/,
        replace: "$1",
      },
    ],
    finds: /answers: 1, not 4/,
    check: wrongAfterRepeats,
  },
  {
    name: "a fatal heartbeat stores its error in a transaction of its own",
    edits: [
      {
        file: "heartbeat/heartbeat-service.ts",
        find: /return await storeError\(tx, caller\.projectId, caller\.agentId, reported\)/,
        replace:
          "return await inTransaction(this.#db, (own) => storeError(own, caller.projectId, caller.agentId, reported))",
      },
    ],
    finds: /left: \{ errors: 1, status: 'online', auditEntries: 0/,
    check: async (stage) =>
      (await Promise.all(killAtAudit.map((moment) => wrongAfterKill(stage, moment)))).flat(),
  },
  {
    name: "a transition is published before it is committed",
    edits: [
      {
        file: "heartbeat/heartbeat-service.ts",
        find: /const taken = await this\.#take\(tx, caller, heartbeat, locked\);/,
        replace: `$&
      if (taken.transition !== undefined && !taken.duplicate) {
        const { projectId, project, agentId, agentName: agent } = caller;
        this.#listener.transition({ projectId, project, agentId, agent, ...taken.transition });
      }`,
      },
      {
        file: "heartbeat/heartbeat-service.ts",
        find: /if \(transition !== undefined && !duplicate\) \{/,
        replace: "if (transition !== undefined && !duplicate && Number.isNaN(0)) {",
      },
    ],
    finds: /the log heard: \[ 'online', 'error', 'error' \]/,
    check: wrongAfterRollback,
  },
  {
    name: "a token is looked up without asking whose project it belongs to",
    edits: [
      {
        file: "tokens/token-store.ts",
        find: /and\(eq\(tokens\.projectId, projectId\), eq\(tokens\.id, id\)\)/,
        replace: "eq(tokens.id, id)",
      },
    ],
    finds: /GetToken: ok/,
    check: async (stage) => {
      const [north, south] = [await createTenant(stage, "north"), await createTenant(stage, "south")];
      return await reachesInto(stage, north, south);
    },
  },
  {
    name: "a repeated sequence is taken like a new one",
    edits: [
      {
        file: "heartbeat/enter-session.ts",
        find: /if \(!isNew && key !== undefined && key\.sequence <= locked\.sequence\) return/,
        replace: "if (!isNew && key !== undefined && Number.isNaN(0)) return",
      },
    ],
    finds: /answers: 1, not 4/,
    check: wrongAfterRepeats,
  },
  {
    name: "an agent in error is locked out of its heartbeat",
    edits: [
      {
        file: "heartbeat/heartbeat-service.ts",
        find: /const locked = await lockAgent\(tx, caller\.projectId, caller\.agentId\);/,
        replace: `$&
    if (locked.status === "error") throw new Refusal("failed-precondition", "this agent is in error");`,
      },
    ],
    finds: /recovery through grpc: FailedPrecondition/,
    check: refusedInError,
  },
  {
    name: "the process's clock says when an agent was heard",
    edits: [
      {
        file: "agents/agent-store.ts",
        find: /lastSeenAt: sql`clock_timestamp\(\)`/,
        replace: "lastSeenAt: new Date()",
      },
    ],
    finds: /last heartbeat is off by/,
    check: judgedByOwnClock,
    env: clockOff(3_600_000),
  },
  {
    name: "what a token stands for is remembered without end",
    edits: [
      {
        file: "tokens/authenticate.ts",
        find: /export async function authenticate\(/,
        replace: "async function lookUp(",
      },
      {
        file: "tokens/authenticate.ts",
        find: /$(?![\s\S])/,
        replace: `
const remembered = new Map<string, Authentication>();
export async function authenticate(db: Db, header: string | null, mayRenew: boolean): Promise<Authentication> {
  const found = remembered.get(header ?? "") ?? (await lookUp(db, header, mayRenew));
  remembered.set(header ?? "", found);
  return { ...found, caller: { ...found.caller, authenticatedAtMs: performance.now() } };
}
`,
      },
    ],
    finds: /grpc of server 0: ok/,
    check: (stage) => acceptedAfterRevocation(stage, [stage.fleet]),
  },
];
