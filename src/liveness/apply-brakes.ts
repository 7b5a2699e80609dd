import { appendEvents } from "../events/outbox.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { Db, Tx } from "../storage/database.ts";
import { prolongLeases } from "../tasks/give-back.ts";
import {
  type CountedFleet,
  countFleets,
  type FleetView,
  findStruckProjects,
  readBrakeKind,
  readBrakes,
  writeBrake,
} from "./brake-store.ts";
import { type Brake, type BrakeKind, type BrakeSettings, decideBrake, isReturn } from "./decide-brake.ts";
import type { Watch } from "./decide-liveness.ts";
import { type LivenessThresholds, missingAfterMs, offlineAfterMs } from "./thresholds.ts";

/** A brake that was engaged, changed its strength or was released; for the log, after the commit. */
export interface BrakeChange {
  project: string;
  /** `slow`: agent by agent; `stopped`: nothing goes back. */
  from: "off" | "slow" | "stopped";
  to: "off" | "slow" | "stopped";
  /** Agents that count, and those of them that are gone. */
  counted: number;
  gone: number;
}

/** How projects are braked in this transaction. */
export interface Brakes {
  /** Of the projects whose brake is engaged. */
  engaged: ReadonlyMap<string, Brake>;
  changes: BrakeChange[];
}

/**
 * Decides for every project that lost agents how fast their tasks go back. What is decided is kept in the database, so
 * that whichever server sweeps next goes on with it.
 */
export async function applyBrakes(
  tx: Tx,
  watch: Watch,
  settings: BrakeSettings,
  thresholds: LivenessThresholds,
): Promise<Brakes> {
  const view: FleetView = { ...watch, missingAfterMs: missingAfterMs(thresholds) };
  const before = await readBrakes(tx);
  const projectIds = new Set([...before.keys(), ...(await findStruckProjects(tx, view))]);
  const engaged = new Map<string, Brake>();
  const changes: BrakeChange[] = [];
  if (projectIds.size === 0) return { engaged, changes };
  const asked = [...projectIds].map((projectId) => ({
    projectId,
    engagedMs: engagedMsOf(before.get(projectId)),
  }));
  const fleets = await countFleets(tx, asked, view);
  for (const projectId of projectIds) {
    const was: Brake = before.get(projectId) ?? { kind: "off" };
    const fleet = fleets.get(projectId) ?? nobody;
    const is = decideBrake(was, fleet, watch.nowMs, settings);
    if (is.kind !== "off") engaged.set(projectId, is);
    if (is.kind !== was.kind) await writeBrake(tx, projectId, is);
    if (isReturn(was, is)) await prolongLeases(tx, projectId, offlineAfterMs(thresholds));
    const change = changeOf(was, is, fleet);
    if (change === undefined) continue;
    changes.push(change);
    await appendEvents(tx, [eventOf(projectId, change)]);
  }
  return { engaged, changes };
}

/** How a project's brake is engaged; undefined: its tasks go back at once. */
export async function findBrake(db: Db | Tx, projectId: string): Promise<BrakeKind | undefined> {
  return await readBrakeKind(db, projectId);
}

// A project without one agent that counts.
const nobody: CountedFleet = { project: "", counted: 0, gone: 0, lost: 0, holding: false };

function engagedMsOf(brake: Brake | undefined): number | undefined {
  return brake === undefined || brake.kind === "off" ? undefined : brake.engagedMs;
}

/** Undefined where nobody outside would see a difference. */
function changeOf(was: Brake, is: Brake, { project, counted, gone }: CountedFleet): BrakeChange | undefined {
  const [from, to] = [strengthOf(was), strengthOf(is)];
  return from === to ? undefined : { project, from, to, counted, gone };
}

function strengthOf({ kind }: Brake): BrakeChange["from"] {
  return kind === "waiting" ? "stopped" : kind;
}

function eventOf(projectId: string, { from, to, counted, gone }: BrakeChange) {
  const type = to === "off" ? "liveness.brake_released" : "liveness.brake_engaged";
  return {
    projectId,
    type,
    subject: formatId("project", projectId),
    data: { from, to, counted, gone },
  } as const;
}
