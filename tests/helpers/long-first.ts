import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Small files of long tests. */
const LONG = [
  "guarantees/planted-bugs/",
  "guarantees/fatal-",
  "guarantees/durable-",
  "guarantees/mass-",
  "soak/",
];

/**
 * Runs what takes long first. Without times of an earlier run, as in a fresh checkout, the smallest files come last, and
 * one of these would run alone at the end.
 */
export default class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) =>
      LONG.some((part) => moduleId.includes(`/tests/${part}`));
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}
