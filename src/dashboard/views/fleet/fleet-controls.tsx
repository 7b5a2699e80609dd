import { count } from "../../format.ts";
import { Icon } from "../../parts/icon.tsx";
import { href, refine } from "../../router.ts";
import type { FleetFilter, SortOrder } from "./filter-agents.ts";
import { sortOrders } from "./filter-agents.ts";

interface FleetControlsProps {
  readonly filter: FleetFilter;
  readonly order: SortOrder;
  readonly shown: number;
  readonly all: number;
}

/** Search, order, and how much of the fleet the list shows. */
export function FleetControls({ filter, order, shown, all }: FleetControlsProps) {
  return (
    <div class="controls">
      <label class="search">
        <Icon name="search" />
        <span class="off-screen">Search agents</span>
        <input
          type="search"
          data-search
          placeholder="Name, label, capability…"
          value={filter.search}
          onInput={(event) => refine({ q: event.currentTarget.value })}
        />
        <span class="kbd" aria-hidden="true">
          /
        </span>
      </label>
      <label class="select">
        <span class="off-screen">Order</span>
        <select value={order} onChange={(event) => refine({ sort: event.currentTarget.value })}>
          {Object.entries(sortOrders).map(([key, words]) => (
            <option key={key} value={key}>
              {words}
            </option>
          ))}
        </select>
      </label>
      <output class="faint">
        {shown === all ? `${count(all)} shown` : `${count(shown)} of ${count(all)} shown`}
      </output>
      {shown !== all && (
        <a class="button quiet" href={href(["fleet"])}>
          Clear filters
        </a>
      )}
    </div>
  );
}
