import { useComputed } from "@preact/signals";
import { readFleet } from "../../live/fleet-poll.ts";
import { agentRows, fleetState } from "../../live/fleet-store.ts";
import { Skeleton } from "../../parts/reading-view.tsx";
import { place } from "../../router.ts";
import { conditions } from "./conditions.ts";
import { type FleetFilter, filterAgents, type SortOrder, sortAgents, sortOrders } from "./filter-agents.ts";
import { FirstAgent } from "./first-agent.tsx";
import { FleetControls } from "./fleet-controls.tsx";
import { FleetMap } from "./fleet-map.tsx";
import { FleetSummary } from "./fleet-summary.tsx";
import { FleetTable } from "./fleet-table.tsx";

const words = (text: string | null): ReadonlySet<string> => new Set((text ?? "").split(",").filter(Boolean));

/** The filter stands in the address, so that it can be kept and sent to somebody. */
function filterIn(query: URLSearchParams): FleetFilter {
  return {
    search: query.get("q") ?? "",
    statuses: words(query.get("status")),
    livenesses: words(query.get("liveness")),
    conditions: words(query.get("only")),
  };
}

function orderIn(query: URLSearchParams): SortOrder {
  const orders = Object.keys(sortOrders) as SortOrder[];
  return orders.find((order) => order === query.get("sort")) ?? "attention";
}

export function FleetView() {
  const filter = useComputed(() => filterIn(place.value.query));
  const order = useComputed(() => orderIn(place.value.query));
  const all = useComputed(() => sortAgents([...agentRows.value.values()], order.value));
  const shown = useComputed(() => filterAgents(all.value, filter.value, conditions));
  const state = fleetState.value;
  if (state.kind === "loading") return <FleetSkeleton />;
  if (state.kind === "failed") {
    return (
      <div class="notice" data-tone="bad" role="alert">
        <p>{state.sentence}</p>
        <button type="button" class="button" onClick={() => void readFleet()}>
          Try again
        </button>
      </div>
    );
  }
  if (all.value.length === 0) return <FirstAgent />;
  return (
    <>
      <h1 class="off-screen">Fleet</h1>
      <FleetSummary rows={all.value} filter={filter.value} />
      <FleetMap rows={all.value} shown={shown.value} />
      <FleetControls
        filter={filter.value}
        order={order.value}
        shown={shown.value.length}
        all={all.value.length}
      />
      <FleetTable rows={shown.value} />
    </>
  );
}

function FleetSkeleton() {
  return (
    <>
      <h1 class="off-screen">Fleet</h1>
      <div class="skeleton summary-skeleton" aria-hidden="true">
        <i />
        <i />
        <i />
      </div>
      <Skeleton rows={12} />
    </>
  );
}
