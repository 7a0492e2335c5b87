// What the link needs of an engine's own world, and no more. Engines bring their ECS behind this interface; `reference_world.ts` is one.
// Types alone.

import type { Handle } from "../protocol/engine_messages.ts";
import type { ComponentValues } from "./values.ts";

/** What happened to a component since the last `takeChanges`. */
export interface ChangeVisitor {
  /** Game code set these fields (or all of them, when the component is new). */
  changed(handle: Handle, component: string, fields: readonly string[]): void;
  /** Game code removed the component. */
  removed(handle: Handle, component: string): void;
}

/**
 * An engine's entities and components, by handle and name.
 *
 * The link creates and destroys replicated entities here and writes what comes from the network. Nothing the link writes may show up
 * in `takeChanges`: what comes from the network is no local change. Entities and components that the link does not know, or that the
 * manifest does not name, may be in the world too; they are never sent.
 */
export interface WorldAdapter {
  /** An entity came to life under this handle, which is new to the world. */
  create(handle: Handle): void;
  /** The entity is gone, with its components. */
  destroy(handle: Handle): void;
  /** The present value of a component, all fields; `undefined` when the entity has none. Not changed by the link. */
  read(handle: Handle, component: string): ComponentValues | undefined;
  /** Sets the given fields, and adds the component where it is missing. */
  write(handle: Handle, component: string, values: ComponentValues): void;
  /** Takes a component away. */
  remove(handle: Handle, component: string): void;
  /** Reports, once each, what game code itself changed in the world since the last call. */
  takeChanges(visitor: ChangeVisitor): void;
}
