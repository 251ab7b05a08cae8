import { bindWhenUsed } from "../ffi.ts";

/** Objects of OpenSSL that count their references. */
export type Kind = "X509" | "X509_CRL" | "EVP_PKEY";

interface References {
  readonly up_ref: (pointer: bigint) => number;
  readonly free: (pointer: bigint) => void;
}

// up_ref makes one reference more, and free gives one back.
const c = bindWhenUsed(null, {
  X509_up_ref: { return: "int32", arguments: ["handle"] },
  X509_free: { return: "void", arguments: ["handle"] },
  X509_CRL_up_ref: { return: "int32", arguments: ["handle"] },
  X509_CRL_free: { return: "void", arguments: ["handle"] },
  EVP_PKEY_up_ref: { return: "int32", arguments: ["handle"] },
  EVP_PKEY_free: { return: "void", arguments: ["handle"] },
});
const REFERENCES: Readonly<Record<Kind, References>> = {
  X509: { up_ref: (pointer) => c.X509_up_ref(pointer), free: (pointer) => c.X509_free(pointer) },
  X509_CRL: { up_ref: (pointer) => c.X509_CRL_up_ref(pointer), free: (pointer) => c.X509_CRL_free(pointer) },
  EVP_PKEY: { up_ref: (pointer) => c.EVP_PKEY_up_ref(pointer), free: (pointer) => c.EVP_PKEY_free(pointer) },
};

/**
 * Objects of which a JavaScript object holds one reference each, given back by `free()`, or else when it is collected. V8
 * does not see what they weigh: who has many of them for a short time calls `free()`.
 */
export class Owned<K extends Kind> {
  readonly kind: K;
  #pointers: readonly bigint[];

  /** Takes over a reference to each. */
  constructor(kind: K, pointers: readonly bigint[]) {
    this.kind = kind;
    this.#pointers = pointers;
    unreachable.register(this, { kind, pointers }, this);
  }

  /** Borrowed for as long as this object is in use; none after `free()`. */
  get pointers(): readonly bigint[] {
    return this.#pointers;
  }

  /** The first, or only one. */
  get pointer(): bigint {
    const [first] = this.#pointers;
    if (first === undefined) throw new Error(`${this.kind} used after it was freed`);
    return first;
  }

  /** The same objects, with references of their own. */
  share(): Owned<K> {
    const { up_ref } = REFERENCES[this.kind];
    for (const pointer of this.#pointers) up_ref(pointer);
    return new Owned(this.kind, this.#pointers);
  }

  /** Gives the references back at once; OpenSSL's own to the same objects stay. */
  free(): void {
    unreachable.unregister(this);
    giveBack({ kind: this.kind, pointers: this.#pointers });
    this.#pointers = [];
  }
}

interface Held {
  readonly kind: Kind;
  readonly pointers: readonly bigint[];
}

const unreachable = new FinalizationRegistry<Held>(giveBack);

function giveBack({ kind, pointers }: Held): void {
  const { free } = REFERENCES[kind];
  for (const pointer of pointers) free(pointer);
}
