import { type ContextKey, createContextKey } from "@connectrpc/connect";

/**
 * Set by doors for a stream's handler: ends the call without a word. For a peer that does not read: a handler's last
 * word would wait behind what the peer leaves unread, for as long as it likes.
 */
export const cutOffKey: ContextKey<() => void> = createContextKey<() => void>(() => {}, {
  description: "ends the call without a word",
});
