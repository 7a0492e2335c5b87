// The frames two `MuxConnection`s exchange, as values. How they become bytes, if at all, is the carrier's business.

/** Kinds of {@linkcode MuxFrame}. */
export const FrameKind = {
  /** Bytes of one stream. */
  Data: 0,
  /** The sender's direction of a stream ends after the data so far. */
  End: 1,
  /** Both directions of a stream end at once. */
  Reset: 2,
  /** The receiver will take bytes of a stream up to this total. */
  Credit: 3,
  /** The connection ends. */
  Close: 4,
} as const;

/** One frame. Stream ids are even where the connector opened the stream, odd where the acceptor did, and rise by two. */
export type MuxFrame =
  | { readonly kind: typeof FrameKind.Data; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly kind: typeof FrameKind.End; readonly stream: number }
  | { readonly kind: typeof FrameKind.Reset; readonly stream: number; readonly code: number }
  | { readonly kind: typeof FrameKind.Credit; readonly stream: number; readonly total: number }
  | { readonly kind: typeof FrameKind.Close; readonly code: number; readonly reason: string };

/** A frame that belongs to one stream. */
export type StreamFrame = Exclude<MuxFrame, { readonly kind: typeof FrameKind.Close }>;
