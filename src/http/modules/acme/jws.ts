import type { KeyObject } from "node:crypto";
import { crypto } from "../../../sys/builtin.ts";

/** Requests signed with the account's key (RFC 7515, RFC 8555 section 6.2). */

/** Flattened JSON serialization. */
export interface Jws {
  readonly protected: string;
  readonly payload: string;
  readonly signature: string;
}

/** By the curve of an ECDSA key. */
const ECDSA: Readonly<Record<string, { readonly alg: string; readonly hash: string }>> = {
  "P-256": { alg: "ES256", hash: "sha256" },
  "P-384": { alg: "ES384", hash: "sha384" },
  "P-521": { alg: "ES512", hash: "sha512" },
};

/** An account's key pair. */
export class AccountKey {
  /** RFC 7638, as key authorizations have it. */
  readonly thumbprint: string;
  /** The public key, its members in the order that the thumbprint wants. */
  readonly jwk: Readonly<Record<string, string | undefined>>;
  readonly #key: KeyObject;
  readonly #alg: string;
  readonly #hash: string;

  /** Throws Error for a key of a type that ACME has no signature for. */
  constructor(key: KeyObject) {
    const { kty, crv, x, y, e, n } = crypto().createPublicKey(key).export({ format: "jwk" });
    const ecdsa = kty === "EC" ? ECDSA[crv ?? ""] : undefined;
    if (ecdsa === undefined && kty !== "RSA") throw new Error("unsupported key algorithm");
    this.jwk = kty === "RSA" ? { e, kty, n } : { crv, kty, x, y };
    this.#alg = ecdsa?.alg ?? "RS256";
    this.#hash = ecdsa?.hash ?? "sha256";
    this.#key = key;
    this.thumbprint = crypto().createHash("sha256").update(JSON.stringify(this.jwk)).digest("base64url");
  }

  /** `account`: its URL once there is one. An empty payload makes a request that reads a resource (POST-as-GET). */
  sign(url: string, nonce: string, account: string | undefined, payload: string): Jws {
    const who = account === undefined ? { jwk: this.jwk } : { kid: account };
    const header = { alg: this.#alg, ...who, nonce, url };
    return jws(header, payload, (input) =>
      crypto().sign(this.#hash, input, { key: this.#key, dsaEncoding: "ieee-p1363" }),
    );
  }
}

/** The binding to an account that the user has with the CA outside ACME (RFC 8555 section 7.3.4). */
export function externalAccountBinding(kid: string, macKey: Uint8Array, url: string, account: AccountKey): Jws {
  return jws({ alg: "HS256", kid, url }, JSON.stringify(account.jwk), (input) =>
    crypto().createHmac("sha256", macKey).update(input).digest(),
  );
}

function jws(header: object, payload: string, sign: (input: Buffer) => Buffer): Jws {
  const protectedHeader = base64url(JSON.stringify(header));
  const body = base64url(payload);
  const signature = sign(Buffer.from(`${protectedHeader}.${body}`)).toString("base64url");
  return { protected: protectedHeader, payload: body, signature };
}

function base64url(text: string): string {
  return Buffer.from(text).toString("base64url");
}
