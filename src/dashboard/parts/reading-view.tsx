import type { ComponentChildren } from "preact";
import { isNotFound } from "../api/failure.ts";
import type { Resource } from "../live/resource.ts";

interface ReadingViewProps<T> {
  readonly of: Resource<T>;
  readonly children: (value: T) => ComponentChildren;
  /** How many grey rows stand in for what is on its way. */
  readonly rows?: number;
  /** What is said of something that does not exist. */
  readonly missing?: ComponentChildren;
}

/** What was read from the server, or what stands in for it: a skeleton, or the failure with a way to try again. */
export function ReadingView<T>({ of, children, rows = 4, missing }: ReadingViewProps<T>) {
  const reading = of.reading.value;
  switch (reading.kind) {
    case "loading":
      return <Skeleton rows={rows} />;
    case "failed":
      if (missing !== undefined && isNotFound(reading.error)) return <>{missing}</>;
      return (
        <div class="notice" data-tone="bad" role="alert">
          <p>{reading.sentence}</p>
          <button type="button" class="button" onClick={() => of.refresh()}>
            Try again
          </button>
        </div>
      );
    case "ready":
      return (
        <>
          {reading.stale !== undefined && (
            <p class="notice" data-tone="warn" role="status">
              {reading.stale} What you see is from before.
            </p>
          )}
          {children(reading.value)}
        </>
      );
  }
}

export function Skeleton({ rows }: { rows: number }) {
  return (
    <div class="skeleton" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, index) => (
        <i key={index} />
      ))}
    </div>
  );
}
