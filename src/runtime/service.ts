/**
 * What runs long. `start` is called once and resolves when the service works; `stop` may be called again without
 * harm, flushes what was accepted, and resolves when nothing of the service runs any more.
 */
export interface Service {
  start(): Promise<void>;
  stop(): Promise<void>;
}
