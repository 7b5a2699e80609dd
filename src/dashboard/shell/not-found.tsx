import { Empty } from "../parts/empty.tsx";
import { href } from "../router.ts";

export function NotFound() {
  return (
    <Empty icon="search" title="There is nothing at this address">
      <p>
        <a href={href(["fleet"])}>Go to the fleet</a>
      </p>
    </Empty>
  );
}
