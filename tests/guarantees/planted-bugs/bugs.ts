import type { Stage } from "../../helpers/stage.ts";
import { blamedForBreak } from "../check-break.ts";
import { clockOff, judgedByOwnClock } from "../check-clock.ts";
import { refusedInError } from "../check-error-state.ts";
import { toldOfRollback, wrongAfterLateCommits } from "../check-event-stream.ts";
import { moments, wrongAfterKill, wrongAfterRollback } from "../check-fatal-heartbeat.ts";
import { createTenant, reachesInto } from "../check-isolation.ts";
import { SWEEPS_OFTEN, takenInMassLoss } from "../check-mass-loss.ts";
import { wrongAfterRepeats } from "../check-repeats.ts";
import { acceptedAfterRevocation } from "../check-revocation.ts";
import { writtenByThawedLeader } from "../check-thawed-leader.ts";
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
        find: /\.for\("update", waiting \? \{\} : \{ skipLocked: true \}\)/,
        replace: "",
      },
    ],
    finds: /answers: 7, not 8/,
    check: wrongAfterRepeats,
  },
  {
    name: "a fatal heartbeat stores its error in a transaction of its own",
    edits: [
      {
        file: "heartbeat/take-beats.ts",
        find: /^import \{ agentRemoved/,
        replace: 'import { inTransaction } from "../storage/database.ts";\n$&',
      },
      {
        file: "heartbeat/take-beats.ts",
        find: /await storeReported\(tx, all, parts\);/,
        replace: "await inTransaction(parts.ownDb, (own) => storeReported(own, all, parts));",
      },
      {
        file: "heartbeat/heartbeat-writer.ts",
        find: /this\.#parts = parts;/,
        replace: "this.#parts = { ...parts, ownDb: database.db };",
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
        file: "heartbeat/heartbeat-writer.ts",
        find: /this\.#parts = parts;/,
        replace: "this.#parts = { ...parts, listener };",
      },
      {
        file: "heartbeat/heartbeat-writer.ts",
        find: /if \(revoked\.size > 0\) throw new Revoked\(revoked\);/,
        replace: `$&
    for (const [place, { kind, answer }] of outcomes.entries()) {
      if (kind !== "taken" || answer.transition === undefined || answer.duplicate) continue;
      const { projectId, project, agentId, agentName: agent } = beats[place].caller;
      parts.listener.transition({ projectId, project, agentId, agent, ...answer.transition });
    }`,
      },
      {
        file: "heartbeat/heartbeat-writer.ts",
        find: /if \(transition === undefined \|\| duplicate\) return;/,
        replace: "if (transition === undefined || !duplicate) return;",
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
    finds: /answers: 1, not 8/,
    check: wrongAfterRepeats,
  },
  {
    name: "an agent in error is locked out of its heartbeat",
    edits: [
      {
        file: "heartbeat/take-beats.ts",
        find: /const \[locked, place\] = .*;/,
        replace: `$&
    if (locked?.status === "error") {
      const { Refusal: Refused } = await import("../runtime/refusal.ts");
      throw new Refused("failed-precondition", "this agent is in error");
    }`,
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
        find: /WHEN i\.seen THEN clock_timestamp\(\)/,
        replace: "WHEN i.seen THEN $${new Date()}::timestamptz",
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
export async function authenticate(access: TokenAccess, header: string | null, mayRenew: boolean): Promise<Authentication> {
  const found = remembered.get(header ?? "") ?? (await lookUp(access, header, mayRenew));
  remembered.set(header ?? "", found);
  return { ...found, caller: { ...found.caller, authenticatedAtMs: performance.now() } };
}
`,
      },
    ],
    finds: /grpc of server 0: ok/,
    check: (stage) => acceptedAfterRevocation(stage, [stage.fleet]),
  },
  {
    name: "a mass loss does not brake",
    edits: [
      {
        file: "liveness/decide-brake.ts",
        find: /if \(!holding \|\| counted < minAgents/,
        replace: "if (!Number.isNaN(0) || !holding || counted < minAgents",
      },
    ],
    finds: /all of 5 agents were gone, and 5 tasks were taken/,
    check: takenInMassLoss,
    env: SWEEPS_OFTEN,
  },
  {
    name: "a break of the control plane counts as the agents' silence",
    edits: [
      {
        file: "liveness/keep-watch.ts",
        find: /const broken = kept !== undefined && kept\.unkeptMs > toleranceMs;/,
        replace: "const broken = kept !== undefined && kept.unkeptMs > toleranceMs && Number.isNaN(0);",
      },
    ],
    finds: /2 agents were called offline for a break/,
    check: blamedForBreak,
    env: SWEEPS_OFTEN,
  },
  {
    name: "a leader writes beside the connection that holds its lock, and goes on without it",
    edits: [
      {
        file: "storage/leader-lock.ts",
        find: /if \(this\.#connection\?\.lost\.aborted\) await this\.release\(\);/,
        replace: "",
      },
      {
        file: "storage/leader-lock.ts",
        find: /return this\.#held \? db : undefined;/,
        replace: "return this.#held ? this.#database.db : undefined;",
      },
    ],
    finds: /past its term wrote without its lock/,
    check: writtenByThawedLeader,
    env: SWEEPS_OFTEN,
  },
  {
    name: "events are taken by id > last",
    edits: [
      {
        file: "events/event-store.ts",
        find: /FROM events WHERE seq IS NULL ORDER BY id LIMIT \$\{limit\}(?=\n {4}\), counted)/,
        replace: `FROM events WHERE seq IS NULL
          AND id > (SELECT coalesce(max(id), 0) FROM events WHERE seq IS NOT NULL) ORDER BY id LIMIT \${limit}`,
      },
    ],
    finds: /committed events never got their places/,
    check: wrongAfterLateCommits,
  },
  {
    name: "events are ordered by their transactions",
    edits: [
      {
        file: "events/event-store.ts",
        find: /PARTITION BY b\.project_id ORDER BY b\.id\)/,
        replace: `PARTITION BY b.project_id ORDER BY (
          SELECT n.xmin::text::bigint FROM events n WHERE n.project_id = b.project_id AND n.id = b.id), b.id)`,
      },
    ],
    finds: /an effect stands before its cause/,
    check: wrongAfterLateCommits,
  },
  {
    name: "events are published before they are committed",
    edits: [
      {
        file: "events/outbox.ts",
        find: /await tx\.execute\(eventInsert/,
        replace: "await own.db.execute(eventInsert",
      },
      {
        file: "events/outbox.ts",
        find: /$(?![\s\S])/,
        replace: `
import { openDatabase } from "../storage/database.ts";
const own = openDatabase({ url: process.env.DATABASE_URL ?? "", applicationName: "planted" });
`,
      },
    ],
    finds: /a watch heard of what was rolled back: agent\.status_changed/,
    check: toldOfRollback,
  },
];
