// The network name of an entity: 20 bits of slot, 12 bits of generation. It says nothing about handles, which live on the engine link.

/** Bits of an entity id that name its slot. */
export const ENTITY_SLOT_BITS = 20;
/** Bits of an entity id that tell the slot's successive entities apart. */
export const ENTITY_GENERATION_BITS = 12;
const GENERATION_MASK = (1 << ENTITY_GENERATION_BITS) - 1;
/** The null reference: slot 0 is never handed out. */
export const NO_ENTITY = 0;

/** A 32-bit network entity id: `generation << 20 | slot`; 0 is "no entity". */
export type EntityId = number;

/** Puts an entity id together. */
export function makeEntityId(slot: number, generation: number): EntityId {
  return (((generation & 0xfff) << ENTITY_SLOT_BITS) | slot) >>> 0;
}

/** Does `id` name a later entity of the same slot than `other`? Generations go round: half of them lie ahead. */
export function isLaterGeneration(id: EntityId, other: EntityId): boolean {
  const ahead = (entityGeneration(id) - entityGeneration(other)) & GENERATION_MASK;
  return ahead !== 0 && ahead <= GENERATION_MASK >>> 1;
}

/** The slot (1..1,048,575) of an entity id. */
export function entitySlot(id: EntityId): number {
  return id & 0xfffff;
}

/** The generation (0..4,095) of an entity id. */
export function entityGeneration(id: EntityId): number {
  return id >>> ENTITY_SLOT_BITS;
}
