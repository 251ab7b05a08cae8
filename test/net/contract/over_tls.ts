import { test } from "node:test";
import type { Engine } from "../../../src/net/engine.ts";
import { noOpenssl, selfSigned } from "../../support/certificates.ts";
import { ending } from "./ending.ts";
import { speakTls } from "./harness.ts";
import { reading } from "./reading.ts";
import { throwing } from "./throwing.ts";
import { tlsEngine } from "./tls_engine.ts";
import { writing } from "./writing.ts";

/**
 * The contract of net/stream.ts for a TlsStream around a stream of that engine. What is about engines is not repeated, and
 * there is nothing that could go past the process: TlsStream has neither `sendFile` nor `spliceTo`. Its `unsent` counts
 * plain bytes in proportion to the encrypted.
 */
export function overTls(engine: Engine | string): void {
  if (typeof engine === "string" || noOpenssl !== false) {
    test("TLS", { skip: typeof engine === "string" ? `not here: ${engine}` : noOpenssl }, () => {});
    return;
  }
  const certificate = selfSigned("contract.example");
  speakTls(certificate);
  const secure = tlsEngine(engine, certificate);
  reading(secure);
  writing(secure, false, 16_384);
  ending(secure);
  throwing(secure);
}
