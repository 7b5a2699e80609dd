/** An issue beside its tracker's rule and the tasks that depend on it. */
export interface IssueAtHand {
  url: string;
  /** Here. */
  state: "open" | "closed";
  upstreamState: "open" | "closed";
  labels: readonly string[];
  /** The label whose issues become tasks; undefined without a rule. */
  ruleLabel: string | undefined;
  /** Task that the rule made of it, whatever became of that; undefined for none. */
  ruleTaskId: string | undefined;
  /** Its tasks that are not done yet, the rule's own among them. */
  openTaskIds: readonly string[];
}

/** What is to be done about an issue. */
export interface IssuePlan {
  /** The state that it takes here; undefined where it stays. */
  state: "open" | "closed" | undefined;
  /** Tasks to cancel, each with the reason. */
  cancel: { taskId: string; reason: string }[];
  /** Whether the rule makes a task of it. */
  createTask: boolean;
  /** Whether it forgets the rule's task: taken back with its label or its issue, it is due anew when they return. */
  forgetTask: boolean;
}

/**
 * Brings an issue in line with its tracker. Closed upstream it closes here and its open tasks end; open again, it opens.
 * The rule makes one task of an open issue with its label. That task ends with the label; one that is done stays the
 * only one.
 */
export function planIssue(issue: IssueAtHand): IssuePlan {
  const { state, upstreamState, ruleLabel, ruleTaskId, openTaskIds, url } = issue;
  const isOpen = upstreamState === "open";
  const isWanted = isOpen && ruleLabel !== undefined && issue.labels.includes(ruleLabel);
  const isRuleTaskOpen = ruleTaskId !== undefined && openTaskIds.includes(ruleTaskId);
  const closed = isOpen
    ? []
    : openTaskIds.map((taskId) => ({ taskId, reason: `its issue was closed: ${url}` }));
  const withdrawn =
    isOpen && !isWanted && isRuleTaskOpen
      ? [{ taskId: ruleTaskId, reason: `its issue has lost the label: ${url}` }]
      : [];
  return {
    state: state === upstreamState ? undefined : upstreamState,
    cancel: [...closed, ...withdrawn],
    createTask: isWanted && ruleTaskId === undefined,
    forgetTask: !isWanted && isRuleTaskOpen,
  };
}
