// Signs for a client's driver, which never sees the key: looks at what it is asked to sign, asks game code, and answers. It signs join proofs
// for this engine's own world and server; whatever else a driver asks for, it gets nothing.

import type { ConnectOrder, ToEngine } from "../protocol/engine_messages.ts";
import {
  MAX_CREDENTIAL_BYTES,
  MAX_PENDING_SIGNATURES,
  SIGNATURE_BYTES,
} from "../protocol/limits.ts";
import { Rule } from "../permissions/rule.ts";
import { decodeJoinProof } from "../session/join_proof.ts";
import type { EngineCallbacks, SignAnswer } from "./link_events.ts";
import type { LinkOutbox } from "./link_outbox.ts";
import type { LinkState } from "./link_state.ts";

const NOTHING = new Uint8Array(0);

/** Answers a driver's `sign`. */
export class JoinSigner {
  readonly #state: LinkState;
  readonly #outbox: LinkOutbox;
  readonly #callbacks: EngineCallbacks;
  readonly #wake: () => void;
  #pending = 0;
  /** Counts drivers: an answer that was asked for by an earlier one is nobody's. */
  #life = 0;

  /** @param callbacks None of them throws. @param wake Called when an answer came later. */
  constructor(
    state: LinkState,
    outbox: LinkOutbox,
    callbacks: EngineCallbacks,
    wake: () => void,
  ) {
    this.#state = state;
    this.#outbox = outbox;
    this.#callbacks = callbacks;
    this.#wake = wake;
  }

  /** A driver asks for a signature; `order` is where it was told to connect. */
  handle(message: Extract<ToEngine, { kind: "sign" }>, order: ConnectOrder | undefined): void {
    const { request, bytes } = message;
    const proof = decodeJoinProof(bytes);
    const pin = proof?.pin.toHex();
    const isOurs = proof?.schemaHash.toHex() === this.#state.grants.schemaHash &&
      (order === undefined || order.pin === "" || order.pin === pin);
    const isBusy = this.#pending >= MAX_PENDING_SIGNATURES;
    if (pin === undefined || !isOurs || isBusy) {
      this.#state.deny("signature", isBusy ? Rule.Rate : Rule.Format);
      return this.#answer(request, undefined);
    }
    const signing = this.#callbacks.onSign?.(bytes.slice(), pin);
    if (!(signing instanceof Promise)) return this.#answer(request, signing);
    const life = this.#life;
    const settle = (answer: SignAnswer | undefined) => {
      if (life !== this.#life) return;
      this.#pending -= 1;
      this.#answer(request, answer);
      this.#wake();
    };
    this.#pending += 1;
    signing.then(settle, () => settle(undefined));
  }

  /** The driver is gone, and with it whoever waits for an answer. */
  handleDriverLost(): void {
    this.#life += 1;
    this.#pending = 0;
  }

  #answer(request: number, answer: SignAnswer | undefined): void {
    const { signature, token = NOTHING } = answer instanceof Uint8Array
      ? { signature: answer }
      : answer ?? { signature: NOTHING };
    const credential = typeof token === "string" ? new TextEncoder().encode(token) : token;
    const isWhole = signature.length === SIGNATURE_BYTES &&
      credential.length <= MAX_CREDENTIAL_BYTES;
    this.#outbox.push({
      kind: "signed",
      request,
      credential: isWhole ? credential : NOTHING,
      signature: isWhole ? signature : NOTHING,
    });
  }
}
