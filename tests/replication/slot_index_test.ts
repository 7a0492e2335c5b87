import { assertEquals } from "@std/assert";
import { SlotIndex } from "../../replication/slot_index.ts";
import { below, createPrng } from "../support/prng.ts";

Deno.test("`SlotIndex` is what a map is, when slots come and go in any order", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const prng = createPrng(seed);
    const index = new SlotIndex();
    const model = new Map<number, number>();
    const slots = [20, 300, 1 << 20][seed % 3]!;
    for (let i = 0; i < 3_000; i++) {
      const slot = 1 + below(prng, slots - 1);
      if (prng() < (i < 1_500 ? 0.7 : 0.3)) {
        index.set(slot, i);
        model.set(slot, i);
      } else {
        const asked = prng() < 0.3 ? slot : [...model.keys()][below(prng, model.size + 1)] ?? slot;
        const record = prng() < 0.2 ? -5 : model.get(asked) ?? 3;
        index.delete(asked, record);
        if (model.get(asked) === record) model.delete(asked);
      }
      if (i % 100 !== 0) continue;
      for (const [slot, record] of model) assertEquals(index.get(slot), record, `seed ${seed}`);
      for (let k = 0; k < 50; k++) {
        const asked = 1 + below(prng, slots - 1);
        assertEquals(index.get(asked), model.get(asked) ?? -1, `seed ${seed}`);
      }
    }
  }
});
