import { parser } from "@prometheus-io/lezer-promql";

/** One selector of an expression, such as `up{job="drover"}`. */
export interface Selector {
  metric: string;
  matchers: { label: string; value: string }[];
}

/** What an expression of PromQL reads, and the labels that it groups by. Throws at what is no PromQL. */
export function readSelectors(expression: string): { selectors: Selector[]; grouping: string[] } {
  const selectors: Selector[] = [];
  const grouping: string[] = [];
  let label = "";
  parser.parse(expression).iterate({
    enter({ type, name, from, to, node }) {
      const text = expression.slice(from, to);
      if (type.isError) throw new Error(`no PromQL at ${from}: ${expression}`);
      if (name === "Identifier" && node.parent?.name === "VectorSelector")
        selectors.push({ metric: text, matchers: [] });
      else if (name === "LabelName" && node.parent?.name === "GroupingLabels") grouping.push(text);
      else if (name === "LabelName") label = text;
      else if (name === "StringLiteral" && node.parent?.name.endsWith("LabelMatcher"))
        selectors.at(-1)?.matchers.push({ label, value: text.slice(1, -1) });
    },
  });
  return { selectors, grouping };
}
