import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { have } from "./have.ts";

/** Certificates for tests, made by the `openssl` command. */

/** Why a test that needs them skips. */
export const noOpenssl: string | false = have("openssl");

/** In PEM. */
export interface TestCertificate {
  readonly certificate: string;
  readonly key: string;
}

/** A certificate for this name, signed by itself. */
export function selfSigned(name: string): TestCertificate {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-certificate-"));
  try {
    const certificate = join(directory, "cert.pem");
    const key = join(directory, "key.pem");
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", `/CN=${name}`];
    const names = ["-addext", `subjectAltName=DNS:${name}`];
    execFileSync("openssl", ["req", "-x509", ...kind, ...names, "-keyout", key, "-out", certificate], {
      stdio: "pipe",
    });
    return { certificate: readFileSync(certificate, "latin1"), key: readFileSync(key, "latin1") };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
