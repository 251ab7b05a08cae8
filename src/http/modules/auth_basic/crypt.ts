import { crypto } from "../../../sys/builtin.ts";
import { libcrypt } from "../../../sys/libcrypt.ts";

/** Password hashes of user files (ngx_crypt). Passwords and hashes are byte strings. */

const ITOA64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** crypt() accepts only shorter passwords (CRYPT_MAX_PASSPHRASE_SIZE of libxcrypt): longer ones match nothing. */
const LONGEST = 512;

/** Whether the password matches the hash; undefined: an unknown kind of hash. */
export type Verdict = boolean | undefined;

/**
 * Compares a password with a stored hash: `{PLAIN}`, `{SHA}`, `{SSHA}`, `$apr1$`, `$1$`, `$5$`, `$6$`, and what the
 * system's crypt() knows besides, if it can be called.
 */
export function verifyPassword(password: string, stored: string): Verdict {
  const text = cString(password);
  if (isCrypts(stored) && text.length >= LONGEST) return false;
  const encrypted = encrypt(Buffer.from(text, "latin1"), stored);
  return encrypted === undefined ? undefined : sameText(encrypted, stored);
}

/** A user's password hash in the text of a user file; what follows a second colon is a comment. */
export function storedPassword(text: string, user: string): string | undefined {
  let at = 0;
  while (at < text.length) {
    const feed = text.indexOf("\n", at);
    const end = feed < 0 ? text.length : feed;
    if (text[at] !== "#" && text.startsWith(`${user}:`, at) && at + user.length < end) {
      const line = text.slice(at + user.length + 1, end);
      return /^[^:\r]*/.exec(line)?.[0] ?? "";
    }
    at = end + 1;
  }
  return undefined;
}

/** Whether the comparison is cheap: the hash has no thousands of rounds. */
export function isQuick(password: string, stored: string): boolean {
  return /^\{(?:PLAIN|SHA|SSHA)\}/.test(stored) || (isCrypts(stored) && cString(password).length >= LONGEST);
}

/** Whether nginx passes this kind to crypt(). */
function isCrypts(stored: string): boolean {
  return !/^(?:\$apr1\$|\{(?:PLAIN|SHA|SSHA)\})/.test(stored);
}

/** crypt() takes C strings. */
function cString(text: string): string {
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}

function sameText(a: string, b: string): boolean {
  return a.length === b.length && crypto().timingSafeEqual(Buffer.from(a, "latin1"), Buffer.from(b, "latin1"));
}

function encrypt(password: Buffer, stored: string): string | undefined {
  if (stored.startsWith("$apr1$")) return md5Crypt(password, stored, "$apr1$");
  if (stored.startsWith("{PLAIN}")) return `{PLAIN}${password.toString("latin1")}`;
  if (stored.startsWith("{SSHA}")) return saltedSha(password, stored.slice("{SSHA}".length));
  if (stored.startsWith("{SHA}")) return `{SHA}${crypto().createHash("sha1").update(password).digest("base64")}`;
  if (stored.startsWith("$1$")) return md5Crypt(password, stored, "$1$");
  if (stored.startsWith("$5$")) return shaCrypt(password, stored, SHA256);
  if (stored.startsWith("$6$")) return shaCrypt(password, stored, SHA512);
  return libcrypt(password.toString("latin1"), stored);
}

function saltedSha(password: Buffer, encoded: string): string {
  const salt = Buffer.from(encoded, "base64").subarray(20);
  const digest = crypto().createHash("sha1").update(password).update(salt).digest();
  return `{SSHA}${Buffer.concat([digest, salt]).toString("base64")}`;
}

function to64(value: number, digits: number): string {
  let text = "";
  for (let left = value, i = 0; i < digits; i++, left >>>= 6) text += ITOA64[left & 0x3f];
  return text;
}

/** Encodes three bytes at a time, in the order given. */
function encode64(bytes: Buffer, order: readonly (readonly [number, number, number])[]): string {
  let text = "";
  for (const [a, b, c] of order) text += to64((bytes[a] << 16) | (bytes[b] << 8) | bytes[c], 4);
  return text;
}

function md5(...parts: readonly Buffer[]): Buffer {
  const hash = crypto().createHash("md5");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Poul-Henning Kamp's MD5 crypt; Apache's differs in its magic only. */
function md5Crypt(password: Buffer, stored: string, magic: string): string {
  const text = stored.slice(magic.length, magic.length + 8).split("$")[0];
  const salt = Buffer.from(text, "latin1");
  const first = md5(password, salt, password);
  const parts = [password, Buffer.from(magic, "latin1"), salt];
  for (let left = password.length; left > 0; left -= 16) parts.push(first.subarray(0, Math.min(16, left)));
  for (let bits = password.length; bits > 0; bits >>>= 1) {
    parts.push((bits & 1) === 1 ? Buffer.alloc(1) : password.subarray(0, 1));
  }
  let final = md5(...parts);
  for (let i = 0; i < 1000; i++) {
    const odd = (i & 1) === 1;
    const round = [odd ? password : final];
    if (i % 3 !== 0) round.push(salt);
    if (i % 7 !== 0) round.push(password);
    round.push(odd ? final : password);
    final = md5(...round);
  }
  const order = [0, 1, 2, 3].map((i) => [i, i + 6, i + 12] as const);
  return `${magic}${text}$${encode64(final, [...order, [4, 10, 5]])}${to64(final[11], 2)}`;
}

interface ShaKind {
  readonly magic: string;
  readonly hash: "sha256" | "sha512";
  readonly size: number;
  readonly encode: (bytes: Buffer) => string;
}

const SHA256: ShaKind = { magic: "$5$", hash: "sha256", size: 32, encode: encodeSha256 };
const SHA512: ShaKind = { magic: "$6$", hash: "sha512", size: 64, encode: encodeSha512 };

function encodeSha256(bytes: Buffer): string {
  const order: [number, number, number][] = [];
  for (let i = 0, at: [number, number, number] = [0, 10, 20]; i < 10; i++, at = [at[2] + 1, at[0] + 1, at[1] + 1]) {
    order.push(at);
  }
  return encode64(bytes, order) + to64((bytes[31] << 8) | bytes[30], 3);
}

function encodeSha512(bytes: Buffer): string {
  const order: [number, number, number][] = [];
  for (let i = 0, at: [number, number, number] = [0, 21, 42]; i < 21; i++, at = [at[1] + 1, at[2] + 1, at[0] + 1]) {
    order.push(at);
  }
  return encode64(bytes, order) + to64(bytes[63], 2);
}

/** Ulrich Drepper's SHA-crypt; its steps are numbered in his specification. */
function shaCrypt(password: Buffer, stored: string, { magic, hash, size, encode }: ShaKind): string {
  const digest = (...parts: readonly Buffer[]): Buffer => {
    const made = crypto().createHash(hash);
    for (const part of parts) made.update(part);
    return made.digest();
  };
  const match = /^(?:rounds=(\d+)\$)?([^$]*)/.exec(stored.slice(magic.length));
  const custom = match?.[1];
  const rounds = custom === undefined ? 5000 : Math.min(999_999_999, Math.max(1000, Number(custom)));
  const saltText = (match?.[2] ?? "").slice(0, 16);
  const salt = Buffer.from(saltText, "latin1");

  const inner = digest(password, salt, password);
  const parts = [password, salt, repeated(inner, password.length)];
  for (let bits = password.length; bits > 0; bits >>>= 1) parts.push((bits & 1) === 1 ? inner : password);
  let final = digest(...parts);
  const p = repeated(digest(...new Array<Buffer>(password.length).fill(password)), password.length);
  const s = repeated(digest(...new Array<Buffer>(16 + final[0]).fill(salt)), salt.length);
  for (let i = 0; i < rounds; i++) {
    const odd = (i & 1) === 1;
    const round = [odd ? p : final];
    if (i % 3 !== 0) round.push(s);
    if (i % 7 !== 0) round.push(p);
    round.push(odd ? final : p);
    final = digest(...round);
  }
  return `${magic}${custom === undefined ? "" : `rounds=${rounds}$`}${saltText}$${encode(final.subarray(0, size))}`;
}

/** The bytes repeated up to a length. */
function repeated(bytes: Buffer, length: number): Buffer {
  return Buffer.alloc(length, bytes);
}
