import { crypto } from "../../../sys/builtin.ts";
import { elementsOf, isInteger, isSequence, isTagged, objectId } from "./der.ts";
import { AcmeError } from "./problem.ts";
import type { Certificate } from "./record.ts";
import { renewalWindow } from "./schedule.ts";

/** What is read of certificates. */

/** Puts a certificate with its chain and its key together. Throws Error where they are not what they should be. */
export function certificateFrom(chain: string, key: string): Certificate {
  const leaf = new (crypto().X509Certificate)(chain);
  if (!leaf.checkPrivateKey(crypto().createPrivateKey(key))) throw new AcmeError("the key is not the certificate's");
  const valid = { start: leaf.validFromDate.getTime(), end: leaf.validToDate.getTime() };
  return { chain, key, valid, window: renewalWindow(valid) };
}

/**
 * The name by which a server is asked when to renew a certificate (RFC 9773 section 4.1). undefined where the certificate
 * does not name its issuer's key.
 */
export function renewalIdentifier(chain: string): string | undefined {
  const { raw } = new (crypto().X509Certificate)(chain);
  const content = elementsOf(elementsOf(raw)[0]?.body ?? raw)[0];
  const fields = content === undefined ? [] : elementsOf(content.body);
  const serial = fields.find(isInteger)?.body;
  const extensions = fields.find((field) => isTagged(field, 3))?.body;
  const issuer = extensions && keyIdentifier(extensions);
  if (serial === undefined || issuer === undefined) return undefined;
  return `${issuer.toString("base64url")}.${serial.toString("base64url")}`;
}

const AUTHORITY_KEY_IDENTIFIER = elementsOf(objectId("2.5.29.35"))[0].body;

/** Of an authority key identifier extension (RFC 5280 section 4.2.1.1) among others. */
function keyIdentifier(extensions: Buffer): Buffer | undefined {
  for (const extension of elementsOf(elementsOf(extensions)[0]?.body ?? extensions)) {
    if (!isSequence(extension)) continue;
    const parts = elementsOf(extension.body);
    const value = parts.at(-1);
    if (value === undefined || !parts[0].body.equals(AUTHORITY_KEY_IDENTIFIER)) continue;
    const inside = elementsOf(value.body)[0];
    return inside && elementsOf(inside.body).find((field) => isTagged(field, 0))?.body;
  }
  return undefined;
}
