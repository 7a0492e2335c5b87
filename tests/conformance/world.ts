// The part of the compiled grants, as the `grants` command prints them, that a decoder needs: a shape of plain JSON, nothing imported.

/** One field of a component or an event. */
export interface Field {
  readonly name: string;
  readonly kind: string;
  readonly min: number;
  readonly max: number;
  readonly precision: number;
  readonly bits: number;
  readonly maxBytes: number;
  readonly values: readonly string[];
}

/** One component or event. */
export interface Layout {
  readonly id: number;
  readonly name: string;
  readonly fields: readonly Field[];
}

/** A component with the rights that decide what is void when a role changes. */
export interface Component extends Layout {
  readonly readMasks: readonly number[];
  readonly writeMasks: readonly number[];
  readonly ownerReadMask: number;
  readonly grantableRead: number;
  readonly grantableWrite: number;
  readonly authority: string;
}

/** One channel declaration. */
export interface ChannelDeclaration {
  readonly id: number;
  readonly name: string;
  readonly namespace: boolean;
  readonly mode: string;
  readonly maxBytes: number;
}

/** The world that both ends agreed on. */
export interface World {
  readonly schemaHash: string;
  readonly tickHz: number;
  readonly historyMs: number;
  readonly maxEntities: number;
  readonly roles: readonly { readonly id: number; readonly name: string }[];
  readonly components: readonly Component[];
  readonly events: readonly Layout[];
  readonly channels: readonly ChannelDeclaration[];
}

/** Reads the printed JSON; every decoder gets its world through here, so that no live object of the driver is shared. */
export function worldFromJson(json: string): World {
  return JSON.parse(json) as World;
}

/** The history window H in ticks. */
export function historyTicks(world: World): number {
  return Math.ceil(world.historyMs / 1_000 * world.tickHz);
}

/** The largest lane of a field; -1 for string, bytes and quat, which have none of one width. */
export function largestLane(field: Field): number {
  switch (field.kind) {
    case "bool":
      return 1;
    case "u8":
    case "u16":
    case "u32":
    case "i32":
      return field.max - field.min;
    case "f32":
    case "vec3":
      return Math.round((field.max - field.min) / field.precision);
    case "enum":
      return field.values.length - 1;
    case "entity":
      return 2 ** 32 - 1;
    default:
      return -1;
  }
}
