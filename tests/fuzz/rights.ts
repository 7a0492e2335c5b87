// Who may read and write what, worked out slowly from the manifest's own text for each single question. It shares no line with the
// compiled masks that it judges: no bits, no tables, no memory of an earlier answer.

/** A field as a manifest declares it. */
export interface DeclaredField {
  readonly type: string;
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  readonly [key: string]: unknown;
}

/** A component as a manifest declares it. */
export interface DeclaredComponent {
  readonly id: number;
  readonly name: string;
  readonly fields: Readonly<Record<string, DeclaredField>>;
  readonly authority: "server" | "owner";
  readonly read: readonly string[];
  readonly write: readonly string[];
  readonly spawn?: { readonly roles: readonly string[]; readonly maxPerPeer: number };
  readonly grantable?: {
    readonly read?: true | readonly string[];
    readonly write?: true | readonly string[];
  };
  readonly [key: string]: unknown;
}

/** An event as a manifest declares it. */
export interface DeclaredEvent {
  readonly name: string;
  readonly send: readonly string[];
  readonly receive: readonly string[];
  readonly [key: string]: unknown;
}

/** The `world` part of a manifest, as far as rights go. */
export interface DeclaredWorld {
  readonly roles: readonly { readonly name: string; readonly inherits?: readonly string[] }[];
  readonly defaultRole: string;
  readonly components: readonly DeclaredComponent[];
  readonly events: readonly DeclaredEvent[];
  readonly [key: string]: unknown;
}

/** What a host takes away, by component name. */
export type DeclaredDeny = Readonly<
  Record<string, {
    readonly send?: true | readonly string[];
    readonly receive?: true | readonly string[];
  }>
>;

/** What was granted to and revoked from one peer of one component while running, by field name. */
export interface Adjustment {
  readonly readGranted: ReadonlySet<string>;
  readonly readRevoked: ReadonlySet<string>;
  readonly writeGranted: ReadonlySet<string>;
  readonly writeRevoked: ReadonlySet<string>;
}

/** Nothing granted, nothing revoked. */
export const NO_ADJUSTMENT: Adjustment = {
  readGranted: new Set(),
  readRevoked: new Set(),
  writeGranted: new Set(),
  writeRevoked: new Set(),
};

/** The rights of one world at one host. */
export class Rights {
  readonly world: DeclaredWorld;
  readonly #deny: DeclaredDeny;

  /** `deny` is what the server's host takes away. */
  constructor(world: DeclaredWorld, deny: DeclaredDeny) {
    this.world = world;
    this.#deny = deny;
  }

  /** The component with this name. */
  component(name: string): DeclaredComponent {
    return this.world.components.find((one) => one.name === name)!;
  }

  /** May a peer of this role, with these adjustments, be sent this field? */
  mayRead(
    role: string,
    component: string,
    field: string,
    isOwner: boolean,
    adjustment: Adjustment = NO_ADJUSTMENT,
  ): boolean {
    const whole = this.component(component);
    const { read } = whole.fields[field]!;
    if (this.#isDenied(component, field, "send")) return false;
    if (adjustment.readGranted.has(field) && isGrantable(whole.grantable?.read, field)) return true;
    if (adjustment.readRevoked.has(field)) return false;
    if (this.#names(whole.read, role) && (read === undefined || this.#names(read, role))) {
      return true;
    }
    return isOwner && namesOwner(whole.read) && (read === undefined || namesOwner(read));
  }

  /** May a peer of this role, with these adjustments, write this field of an entity? */
  mayWrite(
    role: string,
    component: string,
    field: string,
    isOwner: boolean,
    adjustment: Adjustment = NO_ADJUSTMENT,
  ): boolean {
    const whole = this.component(component);
    const { write } = whole.fields[field]!;
    if (!isOwner || whole.authority !== "owner") return false;
    if (this.#isDenied(component, field, "receive")) return false;
    if (adjustment.writeGranted.has(field) && isGrantable(whole.grantable?.write, field)) {
      return true;
    }
    if (adjustment.writeRevoked.has(field)) return false;
    return this.#names(whole.write, role) && (write === undefined || this.#names(write, role));
  }

  /** May a peer of this role make entities with this component, and add it to or remove it from its own? */
  mayCompose(role: string, component: string): boolean {
    const { spawn, authority } = this.component(component);
    return authority === "owner" && spawn !== undefined && this.#names(spawn.roles, role);
  }

  /** May a peer of this role be given this event? */
  mayHear(role: string, event: string): boolean {
    const { receive } = this.world.events.find((one) => one.name === event)!;
    return this.#names(receive, role);
  }

  /** May a peer of this role send this event? */
  maySay(role: string, event: string): boolean {
    const { send } = this.world.events.find((one) => one.name === event)!;
    return this.#names(send, role);
  }

  /** Whether a list of a manifest includes a role: by name, by "all", or by any role it inherits from, however far. */
  #names(list: readonly string[], role: string): boolean {
    if (list.includes("all") || list.includes(role)) return true;
    const inherits = this.world.roles.find((one) => one.name === role)?.inherits ?? [];
    return inherits.some((parent) => this.#names(list, parent));
  }

  #isDenied(component: string, field: string, way: "send" | "receive"): boolean {
    const denied = this.#deny[component]?.[way];
    return denied === true || (denied !== undefined && denied.includes(field));
  }
}

function namesOwner(list: readonly string[]): boolean {
  return list.includes("owner") || list.includes("all");
}

function isGrantable(list: true | readonly string[] | undefined, field: string): boolean {
  return list === true || (list !== undefined && list.includes(field));
}
