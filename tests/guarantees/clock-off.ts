/** Loaded before a server: its process lives CLOCK_OFF_MS away from the true time, as far as anyone can ask. */
const TrueDate = Date;
const offMs = Number(process.env.CLOCK_OFF_MS);

globalThis.Date = class extends TrueDate {
  constructor(...given: [] | [number | string | Date]) {
    if (given.length === 0) super(TrueDate.now() + offMs);
    else super(given[0]);
  }

  static override now(): number {
    return TrueDate.now() + offMs;
  }
} as DateConstructor;
