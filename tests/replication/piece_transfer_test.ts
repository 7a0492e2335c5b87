import { assert, assertEquals } from "@std/assert";
import { SNAPSHOT_PIECE_BYTES } from "../../protocol/limits.ts";
import { PieceAssembly } from "../../replication/piece_assembly.ts";
import { pieceCount, PieceTransfer } from "../../replication/piece_transfer.ts";
import { below, createPrng } from "../support/prng.ts";

Deno.test("`PieceTransfer.due()` gives unsent, lost and unacknowledged pieces, and no others", () => {
  const transfer = new PieceTransfer(7, 0, new Uint8Array(3 * SNAPSHOT_PIECE_BYTES));
  for (let i = 0; i < 3; i++) {
    assertEquals(transfer.due(10, 4), i);
    transfer.handleSent(i, 10, 100 + i);
  }
  assertEquals(transfer.due(10, 4), -1);
  transfer.handleLost(1, 99);
  assertEquals(transfer.due(10, 4), -1, "the loss of an earlier sending");
  transfer.handleLost(1, 101);
  assertEquals(transfer.due(10, 4), 1);
  transfer.handleSent(1, 11, 103);
  transfer.handleAcked(0);
  transfer.handleAcked(0);
  assertEquals(transfer.due(13, 4), -1);
  assertEquals(transfer.due(14, 4), 2);
  transfer.handleAcked(2);
  assert(!transfer.isComplete);
  transfer.handleAcked(1);
  assert(transfer.isComplete);
  transfer.handleLost(1, 103);
  assertEquals(transfer.due(99, 4), -1);
});

Deno.test("`PieceAssembly` puts a value together from pieces in any order, some of them twice", () => {
  const prng = createPrng(4);
  for (let round = 0; round < 50; round++) {
    const bytes = Uint8Array.from({ length: 961 + below(prng, 9_000) }, () => below(prng, 256));
    const transfer = new PieceTransfer(1, 0, bytes);
    const assembly = new PieceAssembly(1, 0, bytes.length, transfer.count);
    const left = Array.from({ length: pieceCount(bytes.length) }, (_, i) => i);
    for (;;) {
      const piece = left[below(prng, left.length)]!;
      if (assembly.isLastMissing(piece)) {
        assertEquals(assembly.completed(piece, transfer.piece(piece)), bytes);
        break;
      }
      assembly.put(piece, transfer.piece(piece));
      if (left.length > 1 && prng() < 0.7) left.splice(left.indexOf(piece), 1);
    }
  }
});
