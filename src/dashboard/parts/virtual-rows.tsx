import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface VirtualRowsProps {
  readonly count: number;
  /** Every row's height, in CSS pixels. */
  readonly rowHeight: number;
  readonly row: (index: number) => ComponentChildren;
}

/** Rows beyond the edges of the screen that are there already when they are scrolled into view. */
const SPARE_ROWS = 8;

/** Thousands of rows of one height, of which only those near the screen exist. The page's `main` is what scrolls. */
export function VirtualRows({ count, rowHeight, row }: VirtualRowsProps) {
  const element = useRef<HTMLDivElement>(null);
  const range = useSignal({ from: 0, to: 40 });
  useEffect(() => {
    const scroller = element.current?.closest("main");
    const list = element.current;
    if (!scroller || list === null) return;
    const look = () => {
      // In the page's own pixels, as the rows' height is: what a rectangle says is as large as the page is shown.
      const above = scroller.scrollTop - list.offsetTop;
      const from = Math.max(0, Math.floor(above / rowHeight) - SPARE_ROWS);
      const to = Math.ceil((above + scroller.clientHeight) / rowHeight) + SPARE_ROWS;
      const { value } = range;
      if (from !== value.from || to !== value.to) range.value = { from, to: Math.max(from, to) };
    };
    const watcher = new ResizeObserver(look);
    watcher.observe(scroller);
    watcher.observe(list);
    scroller.addEventListener("scroll", look, { passive: true });
    look();
    return () => {
      watcher.disconnect();
      scroller.removeEventListener("scroll", look);
    };
  }, [rowHeight, range]);
  const from = Math.min(range.value.from, count);
  const to = Math.min(range.value.to, count);
  return (
    <div class="virtual" ref={element} role="rowgroup" style={{ height: `${count * rowHeight}px` }}>
      <div
        class="virtual-rows"
        style={{ transform: `translateY(${from * rowHeight}px)` }}
        role="presentation"
      >
        {Array.from({ length: to - from }, (_, index) => row(from + index))}
      </div>
    </div>
  );
}
