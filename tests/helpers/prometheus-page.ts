/** One line of a scrape. */
export interface ScrapedSample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface ScrapedPage {
  /** Types by the metric's name. */
  types: Map<string, string>;
  samples: ScrapedSample[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const TYPE_LINE = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram|summary|untyped)$`);
const HELP_LINE = new RegExp(`^# HELP ${NAME} .+$`);
const SAMPLE_LINE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`);
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)/gy;

/** Reads the text format of Prometheus; throws at any line that is none of it. */
export function readPrometheusPage(text: string): ScrapedPage {
  const page: ScrapedPage = { types: new Map(), samples: [] };
  for (const line of text.split("\n")) {
    if (line === "" || HELP_LINE.test(line)) continue;
    const [, typed, type] = TYPE_LINE.exec(line) ?? [];
    if (typed !== undefined && type !== undefined) {
      if (page.types.has(typed)) throw new Error(`${typed} is described twice`);
      page.types.set(typed, type);
      continue;
    }
    const [, name, labels = "", value] = SAMPLE_LINE.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Error(`no line of a scrape: ${line}`);
    const read = value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value);
    if (Number.isNaN(read) && value !== "NaN" && value !== "Nan") throw new Error(`no number: ${line}`);
    page.samples.push({ name, labels: labelsOf(labels, line), value: read });
  }
  return page;
}

function labelsOf(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let at = 0;
  for (const [whole, name = "", value = ""] of text.matchAll(LABEL)) {
    labels[name] = value;
    at += whole.length;
  }
  if (at !== text.length) throw new Error(`bad labels: ${line}`);
  return labels;
}

/** The sum of a metric's samples that carry the given labels. */
export function sumOf(page: ScrapedPage, name: string, labels: Record<string, string> = {}): number {
  return page.samples
    .filter((sample) => sample.name === name)
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, { value }) => sum + value, 0);
}
