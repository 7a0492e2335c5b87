// Who a world lets in by join tokens: judges a joiner's proof, makes sure that a token is good once, and has the engine keep what was used and
// see who came. It knows no connection; places, refusals and what is sent are the business of `server_join.ts`.

import { assert } from "../protocol/assert.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import type { ProofMessage } from "../protocol/control_messages.ts";
import { NONCE_HASH_BYTES } from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import {
  forgetSecond,
  type JoinToken,
  nonceText,
  TOKEN_REFUSALS,
  TokenRule,
  tokenRuleCode,
} from "../session/join_token.ts";
import { encodeNonceRecord } from "../session/used_nonces.ts";
import type { ServerState } from "./server_state.ts";
import { judgeProof } from "./token_check.ts";

/** What becomes of a joiner with a token. */
export type TokenVerdict =
  | {
    readonly isGood: true;
    /** Index of the role that the token gives. */
    readonly role: number;
    /** Tells the engine who the peer is; to be called before it hears that the peer is here. */
    readonly introduce: (peer: number) => void;
  }
  | { readonly isGood: false; readonly code: number; readonly reason: string };

/** The door for holders of tokens. */
export class TokenDoor {
  readonly #state: ServerState;

  /** The world's used tokens are kept in `state`. */
  constructor(state: ServerState) {
    this.#state = state;
  }

  /**
   * Judges the answer to `challenge` on a connection with this channel binding. `isWanted` is asked before a good token counts as used;
   * `done` is called once, now or later, unless nobody wants the verdict any more. A good verdict has used the token up.
   */
  judge(
    message: ProofMessage,
    challenge: Uint8Array,
    pin: Uint8Array,
    isWanted: () => boolean,
    done: (verdict: TokenVerdict) => void,
  ): void {
    const { grants, nowS, environment } = this.#state;
    // The connection's bytes are its own again after this call.
    const proof = {
      token: message.token.slice(),
      challenge,
      pin,
      signature: message.signature.slice(),
    };
    judgeProof(message, { grants, challenge, pin, nowS }, environment, (result) => {
      if (!isWanted()) return;
      done(typeof result === "string" ? this.#refusal(result) : this.#use(result, proof));
      environment.wake();
    });
  }

  #use(token: JoinToken, proof: ShownProof): TokenVerdict {
    const state = this.#state;
    const { grants, nonces, nowS } = state;
    const hash = state.environment.sha256(nonceText(token)).slice(0, NONCE_HASH_BYTES);
    const forgetS = forgetSecond(token.claims);
    if (nonces.isUsed(hash, forgetS)) return this.#refusal(TokenRule.Replay);
    // A token is not used up by a world without a place.
    if (state.roster.size >= grants.maxPeers) return full("the world is full");
    if (nonces.use(hash, forgetS, nowS) !== "ok") {
      state.counters.add("join.noncesFull");
      state.log.write(LogCode.TokensFull, state.nowMs);
      return full("too many join tokens were used of late");
    }
    const role = grants.roles.find((one) => one.name === token.claims.role);
    assert(role !== undefined, "a good token names a declared role");
    const introduce = (peer: number) => {
      state.log.write(LogCode.TokenUsed, state.nowMs, peer);
      state.push({ kind: "identity", peer, ...proof });
      state.push({ kind: "nonces", used: encodeNonceRecord(hash, forgetS) });
    };
    return { isGood: true, role: role.index, introduce };
  }

  #refusal(rule: TokenRule): TokenVerdict {
    const { counters, log, nowMs } = this.#state;
    counters.add(`join.token.${rule}`);
    log.write(LogCode.TokenRefused, nowMs, tokenRuleCode(rule));
    return { isGood: false, code: CloseCode.Credential, reason: TOKEN_REFUSALS[rule] };
  }
}

/** What shows the engine who a peer is. */
interface ShownProof {
  readonly token: Uint8Array;
  readonly challenge: Uint8Array;
  readonly pin: Uint8Array;
  readonly signature: Uint8Array;
}

function full(reason: string): TokenVerdict {
  return { isGood: false, code: CloseCode.Full, reason };
}
