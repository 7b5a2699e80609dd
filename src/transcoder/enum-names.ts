import type { DescEnum, DescEnumValue } from "@bufbuild/protobuf";

/**
 * The short names of an enum's values by number: each name without the enum's own name before it, in lower case
 * (AGENT_STATUS_ONLINE of AgentStatus is "online"). A value keeps its full name where the short one would be
 * shared with another number.
 */
export function shortEnumNames(desc: DescEnum): Map<DescEnumValue, string> {
  const numbersByName = new Map<string, Set<number>>();
  const note = (name: string, number: number): void => {
    const numbers = numbersByName.get(name);
    if (numbers === undefined) numbersByName.set(name, new Set([number]));
    else numbers.add(number);
  };
  for (const value of desc.values) {
    note(value.name, value.number);
    note(shortName(desc, value), value.number);
  }
  return new Map(
    desc.values.map((value) => {
      const short = shortName(desc, value);
      return [value, numbersByName.get(short)?.size === 1 ? short : value.name];
    }),
  );
}

function shortName(desc: DescEnum, value: DescEnumValue): string {
  return value.name.slice(prefixLength(desc.name, value.name)).toLowerCase();
}

/**
 * How long the enum's own name is at the start of a value's, underscore included; 0 if it is not there. Read
 * letter by letter without underscores, since conventions differ on where HTTPStatus or Ipv4Mode get theirs.
 */
function prefixLength(enumName: string, valueName: string): number {
  const wanted = enumName.replaceAll("_", "").toUpperCase();
  let matched = 0;
  for (let index = 0; index < valueName.length; index++) {
    const character = valueName.charAt(index);
    if (matched === wanted.length) return character === "_" && index + 1 < valueName.length ? index + 1 : 0;
    if (character === "_") continue;
    if (character !== wanted.charAt(matched)) return 0;
    matched++;
  }
  return 0;
}
