import { bindWhenUsed, cString } from "../ffi.ts";
import { clearErrors, takeErrors } from "./errors.ts";
import { mapped } from "./memory.ts";
import { printed, withBytes } from "./memory_bio.ts";
import { Owned } from "./owned.ts";

/** Private keys: in PEM, or what an engine or a store has. */
const c = bindWhenUsed(null, {
  // The result is new, and belongs to whoever called. Without a callback the last argument is the password, or null to ask
  // for it at the terminal.
  PEM_read_bio_PrivateKey: {
    return: "handle",
    arguments: ["handle", "handle", "handle", "handle"],
    nullable: [1, 2, 3],
  },
  PEM_write_bio_PrivateKey: {
    return: "int32",
    arguments: ["handle", "handle", "handle", "handle", "int32", "handle", "handle"],
    nullable: [2, 3, 5, 6],
  },
  // A reference to an engine, given back with ENGINE_free. A key that it loads is new, and belongs to whoever called.
  ENGINE_by_id: { return: "handle", arguments: ["buffer"] },
  ENGINE_load_private_key: {
    return: "handle",
    arguments: ["handle", "buffer", "handle", "handle"],
    nullable: [2, 3],
  },
  ENGINE_free: { return: "int32", arguments: ["handle"] },
  // What is opened is closed with OSSL_STORE_close; it keeps the method and the password (mapped) until then.
  OSSL_STORE_open: {
    return: "handle",
    arguments: ["buffer", "handle", "handle", "handle", "handle"],
    nullable: [1, 2, 3, 4],
  },
  OSSL_STORE_eof: { return: "int32", arguments: ["handle"] },
  OSSL_STORE_close: { return: "int32", arguments: ["handle"] },
  // The result is new, and given back with OSSL_STORE_INFO_free; the key in it is a reference of its own.
  OSSL_STORE_load: { return: "handle", arguments: ["handle"] },
  OSSL_STORE_INFO_get_type: { return: "int32", arguments: ["handle"] },
  OSSL_STORE_INFO_get1_PKEY: { return: "handle", arguments: ["handle"] },
  OSSL_STORE_INFO_free: { return: "void", arguments: ["handle"] },
  // A method that takes its password as PEM_read_bio_PrivateKey does; new, and given back with UI_destroy_method.
  UI_UTIL_wrap_read_pem_callback: { return: "handle", arguments: ["handle", "int32"], nullable: [0] },
  UI_destroy_method: { return: "void", arguments: ["handle"] },
});

/** PEM_BUFSIZE of <openssl/pem.h>, of which OpenSSL takes no more, and a NUL. */
const PASSWORD_BYTES = 1025;
const secret = mapped(PASSWORD_BYTES);
const secretBytes = new Uint8Array(secret.buffer);
/** <openssl/store.h> */
const OSSL_STORE_INFO_PKEY = 4;

export type PrivateKey = Owned<"EVP_PKEY">;

export interface LoadedKey {
  readonly key: PrivateKey;
  /** A password was needed, or may have been. */
  readonly encrypted: boolean;
}

/** Passwords of ssl_password_file. Undefined: OpenSSL asks at the terminal, which only the master may do. */
export type Passwords = readonly Uint8Array[] | undefined;

/** Reads a key with each password in turn. A string is what failed, in nginx's words. */
export function readPrivateKey(pem: Uint8Array, passwords: Passwords): LoadedKey | string {
  for (let i = 0; ; i++) {
    clearErrors();
    const pointer = withBytes(pem, (bio) =>
      withPassword(passwords, i, (password) => c.PEM_read_bio_PrivateKey(bio, 0n, 0n, password)),
    );
    if (pointer !== 0n) return { key: new Owned("EVP_PKEY", [pointer]), encrypted: isEncrypted(pem) };
    if (passwords === undefined || i + 1 >= passwords.length) {
      return `PEM_read_bio_PrivateKey() failed${takeErrors()}`;
    }
  }
}

/** The key in PEM, not encrypted. Undefined where the engine or store that has it does not give it away. */
export function privateKeyPem(key: PrivateKey): Uint8Array | undefined {
  const pem = printed((bio) => c.PEM_write_bio_PrivateKey(bio, key.pointer, 0n, 0n, 0, 0n, 0n) === 1);
  clearErrors();
  return pem;
}

/** Both formats of encrypted keys have this word in their headers. */
function isEncrypted(pem: Uint8Array): boolean {
  return Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength).includes("ENCRYPTED");
}

/** A key that an engine has: `ID:KEY`. */
export function loadEngineKey(name: string): LoadedKey | string {
  const colon = name.indexOf(":");
  if (colon < 0) return "invalid syntax";
  clearErrors();
  const engine = c.ENGINE_by_id(cString(name.slice(0, colon)));
  if (engine === 0n) return `ENGINE_by_id() failed${takeErrors()}`;
  const pointer = c.ENGINE_load_private_key(engine, cString(name.slice(colon + 1)), 0n, 0n);
  const failed = pointer === 0n ? `ENGINE_load_private_key() failed${takeErrors()}` : undefined;
  c.ENGINE_free(engine);
  return failed ?? { key: new Owned("EVP_PKEY", [pointer]), encrypted: false };
}

/** The first key in a store. As nginx does, only the first password is tried. */
export function loadStoreKey(uri: string, passwords: Passwords): LoadedKey | string {
  clearErrors();
  const method = passwords === undefined ? 0n : c.UI_UTIL_wrap_read_pem_callback(0n, 0);
  const pointer = withPassword(passwords, 0, (password) => {
    const store = c.OSSL_STORE_open(cString(uri), method, password, 0n, 0n);
    if (store === 0n) return undefined;
    const key = firstKey(store);
    c.OSSL_STORE_close(store);
    return key;
  });
  if (method !== 0n) c.UI_destroy_method(method);
  if (pointer === undefined) return `OSSL_STORE_open() failed${takeErrors()}`;
  if (pointer === 0n) return `OSSL_STORE_load() failed${takeErrors()}`;
  // Of what else is in the store.
  clearErrors();
  return { key: new Owned("EVP_PKEY", [pointer]), encrypted: passwords !== undefined && passwords.length > 0 };
}

/** Zero if there is none. */
function firstKey(store: bigint): bigint {
  while (c.OSSL_STORE_eof(store) === 0) {
    const info = c.OSSL_STORE_load(store);
    if (info === 0n) continue;
    const found = c.OSSL_STORE_INFO_get_type(info) === OSSL_STORE_INFO_PKEY ? c.OSSL_STORE_INFO_get1_PKEY(info) : 0n;
    c.OSSL_STORE_INFO_free(info);
    if (found !== 0n) return found;
  }
  return 0n;
}

/** Calls with a pointer to the password, which is zeroed when the call returns, or to an empty one where there are none. */
function withPassword<Result>(passwords: Passwords, index: number, use: (password: bigint) => Result): Result {
  if (passwords === undefined) return use(0n);
  // A password ends at a NUL, where nginx's would not.
  secretBytes.set(passwords[index]?.subarray(0, PASSWORD_BYTES - 1) ?? []);
  try {
    return use(secret.address);
  } finally {
    secretBytes.fill(0);
  }
}
