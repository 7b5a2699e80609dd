// Node reads, for every module of a package, the package's whole package.json anew. The one of drizzle-orm lists a
// thousand exports, and it has hundreds of modules: half a second of each start went there. Here is the same answer,
// found once for what our own sources import, and by the addresses alone among the package's own modules.
import * as module from "node:module";

const PACKAGE = "drizzle-orm";
const INSIDE = `/node_modules/${PACKAGE}/`;
const OWN = new URL("../", import.meta.url).href;
const OTHERS = `${OWN}node_modules/`;

/** Without effect on a Node that has no such hooks: it only starts slower. */
export function importQuickly() {
  const found = new Map();
  module.registerHooks?.({
    resolve(specifier, context, next) {
      const { parentURL = "" } = context;
      if (specifier.startsWith("./") || specifier.startsWith("../")) {
        // All its modules are of one kind, and name each other with their endings.
        if (parentURL.includes(INSIDE) && specifier.endsWith(".js"))
          return { url: new URL(specifier, parentURL).href, format: "module", shortCircuit: true };
      } else if (
        specifier.startsWith(PACKAGE) &&
        parentURL.startsWith(OWN) &&
        !parentURL.startsWith(OTHERS)
      ) {
        const known = found.get(specifier) ?? { ...next(specifier, context), shortCircuit: true };
        found.set(specifier, known);
        return known;
      }
      return next(specifier, context);
    },
  });
}
