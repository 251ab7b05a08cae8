/** The certificates of the TLS scenarios, made by the `openssl` command. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type CertificateKind = "rsa" | "ecdsa";

/** Files in PEM. */
export interface Certificate {
  certificate: string;
  key: string;
  /** Both in one, as HAProxy has it. */
  both: string;
}

const KEYS: Readonly<Record<CertificateKind, readonly string[]>> = {
  rsa: ["rsa:2048"],
  ecdsa: ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
};

/** Makes a certificate below `dir`. Throws where the `openssl` command is missing. */
export function makeCertificate(dir: string, kind: CertificateKind): Certificate {
  const certificate = join(dir, `${kind}.crt`);
  const key = join(dir, `${kind}.key`);
  const both = join(dir, `${kind}.pem`);
  const args = ["req", "-x509", "-newkey", ...KEYS[kind], "-nodes", "-subj", "/CN=localhost"];
  execFileSync("openssl", [...args, "-keyout", key, "-out", certificate], { stdio: "pipe" });
  writeFileSync(both, readFileSync(certificate, "latin1") + readFileSync(key, "latin1"), { mode: 0o600 });
  return { certificate, key, both };
}
