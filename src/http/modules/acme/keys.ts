import type { KeyObject } from "node:crypto";
import { crypto } from "../../../sys/builtin.ts";
import type { KeyType } from "./order.ts";
import { AcmeError } from "./problem.ts";

/** Made in a thread of libuv's: an RSA key may take seconds, in which the checker has other work. */
export function generateKey({ name, bits }: KeyType): Promise<KeyObject> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, _publicKey: KeyObject, privateKey: KeyObject): void => {
      if (error === null) resolve(privateKey);
      else reject(new AcmeError(`key generation error: ${error.message}`));
    };
    if (name === "rsa") crypto().generateKeyPair("rsa", { modulusLength: bits }, done);
    else crypto().generateKeyPair("ec", { namedCurve: bits === 256 ? "prime256v1" : `secp${bits}r1` }, done);
  });
}

export function keyPem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}
