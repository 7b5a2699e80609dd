import type { CallRefusal } from "./agent-error.ts";
import type { SessionEnd } from "./plan-reconnect.ts";

/**
 * Where the connection stands:
 *
 *                    ┌───────────── go elsewhere, new token ─────────────┐
 *                    │                                                   ▼
 *   connecting ──▶ live ──failed──▶ waiting ──▶ connecting ◀────────── moving
 *       │                              ▲
 *       └──────────failed──────────────┘
 *
 *   any of them ──left, closed, or refused for good──▶ ended
 */
export type ConnectionState =
  | { readonly kind: "connecting"; readonly attempt: number }
  | {
      readonly kind: "live";
      /** The address that it is connected to, of those that it was given. */
      readonly server: string;
      readonly epoch: bigint;
      readonly intervalMs: number;
      readonly leaseMs: number;
    }
  /** The old stream still answers what it was asked; then a new one is opened, at another server where `elsewhere`. */
  | { readonly kind: "moving"; readonly server: string; readonly elsewhere: boolean; readonly why: string }
  /** `server` is the address that is tried next. */
  | {
      readonly kind: "waiting";
      readonly server: string;
      readonly delayMs: number;
      readonly because: CallRefusal;
    }
  | { readonly kind: "ended"; readonly end: SessionEnd };
