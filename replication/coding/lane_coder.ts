// What the two ends of the lane coder have in common, so that one pass over a value serves both: what goes in and what comes out. How lanes
// become bits is the business of `lane_writer.ts` and `lane_reader.ts`; what is foretold of them, that of `motion_model.ts`.

/** What is foretold of a vector of up to three lanes, and what came of it. */
export interface Foretold {
  /** Lanes that are expected. */
  readonly means: Float64Array;
  /** By lane, in 1/4096: what of 16 log2 of the width does not depend on the lanes before. */
  readonly scales: Int32Array;
  /** What the first lane adds to it; and every other lane, for each 16 log2 of the mean residual before it. */
  firstLane: number;
  lanesBefore: number;
  /** Out: lanes less what was expected. */
  readonly residual: Float64Array;
  /** Out: sum of their magnitudes. */
  residualSum: number;
}

/** Codes or decodes one thing after the other; the two ends differ in nothing else. */
export interface LaneCoder {
  /**
   * `axes` lanes from `lanes[at]` on go in or come out.
   *
   * @param limit Largest lane, and largest one expected.
   * @param isLattice Whether all lanes are even or all are odd.
   * @returns Whether all lanes are within 0..`limit`.
   */
  vector(
    foretold: Foretold,
    lanes: Int32Array,
    at: number,
    axes: number,
    limit: number,
    isLattice: boolean,
  ): boolean;
  /** A number `value` that goes in or comes out, around 0; `width` is an index. */
  number(value: number, width: number): number;
  /** A choice between 0 and 1; `chance` is that of 0, on the coder's scale. */
  flag(value: number, chance: number): number;
  /** `count` (0..32) bits as they are. */
  raw(value: number, count: number): number;
}
