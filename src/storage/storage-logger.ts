/** What the storage layer needs of a logger: fields first, then one sentence. A pino logger is one. */
export interface StorageLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
