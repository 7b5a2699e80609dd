import { type ChildProcess, spawn } from "node:child_process";
import type { Writable } from "node:stream";

// Reads which groups live and which have ended. The end of its input means that the agent is gone, killed without a
// word perhaps: nobody would stop the groups then, so it does. POSIX sh, since that is what every command needs anyway.
const SCRIPT = `
groups=
while read -r verb group; do
  case $verb in
    add) groups="$groups $group" ;;
    del) kept=; for g in $groups; do [ "$g" = "$group" ] || kept="$kept $g"; done; groups=$kept ;;
  esac
done
[ -n "$groups" ] || exit 0
for g in $groups; do kill -TERM -"$g" 2>/dev/null; done
waited=0
while [ "$waited" -lt 10 ]; do
  alive=
  for g in $groups; do kill -0 -"$g" 2>/dev/null && alive=yes; done
  [ -n "$alive" ] || exit 0
  sleep 1
  waited=$((waited + 1))
done
for g in $groups; do kill -KILL -"$g" 2>/dev/null; done
`;

/** Ends the process groups of commands when the agent's own process dies without having done so. */
export class GroupGuard {
  #child: ChildProcess | undefined;

  /** Starts the guard, in a session of its own: what ends the agent must not end it as well. */
  start(): void {
    this.#child = spawn("/bin/sh", ["-c", SCRIPT], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
    this.#child.on("error", () => undefined);
    this.#child.stdin?.on("error", () => undefined);
    // It lives by its input alone and keeps nobody waiting.
    this.#child.unref();
  }

  /**
   * Where a new group's first process writes `add` and its own number before it does anything else, and then closes it:
   * however early the agent is killed, the guard hears of the group before its input ends.
   */
  get input(): Writable | undefined {
    return this.#child?.stdin ?? undefined;
  }

  remove(group: number): void {
    this.#child?.stdin?.write(`del ${group}\n`);
  }

  stop(): void {
    this.#child?.stdin?.end();
  }
}
