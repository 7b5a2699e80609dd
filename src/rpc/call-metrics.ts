import type { DescMethod } from "@bufbuild/protobuf";
import type { Code } from "@connectrpc/connect";
import type { Peer } from "../doors/door.ts";
import type { Metrics } from "../observability/metrics.ts";
import {
  type Counter,
  type CounterFamily,
  type Distribution,
  type DistributionFamily,
  SECONDS,
} from "../observability/tally.ts";
import { codeNames } from "../runtime/code-name.ts";

/** The end of a call: its code, or "ok". */
export type CallEnd = Code | "ok";

/** The cells of one method at one door. */
interface Cells {
  readonly labels: { method: string; door: string };
  readonly byEnd: Map<CallEnd, Counter>;
  readonly seconds: Distribution;
  open: number;
}

/** Counts calls by method, door and code, and how long they took. A stream counts when it ends. */
export class CallMetrics {
  readonly #handled: CounterFamily;
  readonly #seconds: DistributionFamily;
  readonly #cells = new Map<DescMethod, Map<Peer["door"], Cells>>();

  constructor(metrics: Metrics) {
    this.#handled = metrics.counters(
      "drover_rpc_handled_total",
      "Calls that have ended, by method, door and code; a stream counts when it ends.",
    );
    this.#seconds = metrics.distributions(
      "drover_rpc_duration_seconds",
      "How long calls took, those that are no streams.",
      SECONDS,
    );
    metrics.gauge("drover_rpc_open", "Calls under way, streams too.", () =>
      [...this.#cells.values()].flatMap((doors) =>
        [...doors.values()].map(({ labels, open }) => ({ labels, value: open })),
      ),
    );
  }

  /** A call has begun; what is returned is to be called once, at its end. */
  begin(method: DescMethod, door: Peer["door"]): (end: CallEnd) => void {
    const cells = this.#cellsOf(method, door);
    const beganMs = performance.now();
    cells.open += 1;
    return (end) => {
      cells.open -= 1;
      if (method.methodKind === "unary") cells.seconds.observe((performance.now() - beganMs) / 1000);
      let counter = cells.byEnd.get(end);
      if (counter === undefined) {
        counter = this.#handled.cell({ ...cells.labels, code: codeNames[end] });
        cells.byEnd.set(end, counter);
      }
      counter.add();
    };
  }

  #cellsOf(method: DescMethod, door: Peer["door"]): Cells {
    let doors = this.#cells.get(method);
    if (doors === undefined) {
      doors = new Map();
      this.#cells.set(method, doors);
    }
    let cells = doors.get(door);
    if (cells === undefined) {
      const labels = { method: `${method.parent.typeName}/${method.name}`, door };
      cells = { labels, byEnd: new Map(), seconds: this.#seconds.cell(labels), open: 0 };
      doors.set(door, cells);
    }
    return cells;
  }
}
