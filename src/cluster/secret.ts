import { crypto } from "../sys/builtin.ts";

/** The fewest characters of a secret. */
export const LEAST_SECRET = 16;

/** Signs and verifies the group's messages. Secrets never leave it: the first signs, all are recognised. */
export class Secrets {
  readonly #keys: readonly Buffer[];

  /** `secrets`: lines of the file, each LEAST_SECRET characters or more. A cluster's name makes other keys of them. */
  constructor(cluster: string, secrets: readonly string[]) {
    this.#keys = secrets.map((secret) =>
      Buffer.from(crypto().hkdfSync("sha256", Buffer.from(secret, "latin1"), "holdfast cluster", cluster, 32)),
    );
  }

  readonly sign = (bytes: Buffer): Buffer => this.#with(this.#keys[0], bytes);

  verifies(bytes: Buffer, signature: Buffer): boolean {
    return this.#keys.some((key) => crypto().timingSafeEqual(this.#with(key, bytes), signature));
  }

  #with(key: Buffer, bytes: Buffer): Buffer {
    return crypto().createHmac("sha256", key).update(bytes).digest();
  }
}

/** The secrets in a file: a line each, without empty ones and comments. */
export function secretsIn(bytes: Uint8Array): string[] {
  return Buffer.from(bytes)
    .latin1Slice()
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}
