import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { CertificateCache, type CertificateCacheSettings } from "../../../src/net/tls/certificate_cache.ts";
import { subjectName } from "../../../src/sys/openssl/certificate.ts";
import { certificateDirectory, createCertificate, encryptKey, noOpenssl } from "../../support/certificates.ts";

interface Kept {
  readonly cache: CertificateCache;
  /** Paths that were read. */
  readonly reads: string[];
  /** Sets the clock, ms. */
  at(time: number): void;
  /** Whose certificate it is, or what failed. */
  subject(name: string, fresh?: boolean): string;
}

function keep(t: TestContext, settings: Partial<CertificateCacheSettings>): Kept {
  let time = 0;
  t.mock.method(performance, "now", () => time);
  const reads: string[] = [];
  const cache = new CertificateCache({ max: 10, inactive: 10_000, valid: 60_000, ...settings }, (path) => {
    reads.push(path);
    return readFileSync(path);
  });
  return {
    cache,
    reads,
    at(now) {
      time = now;
    },
    subject(name, fresh = false) {
      const certificate = cache.certificate(name, fresh);
      if (typeof certificate === "string") return certificate;
      const subject = subjectName(certificate.pointer);
      certificate.free();
      return subject;
    },
  };
}

describe("certificates and keys that are kept", { skip: noOpenssl }, () => {
  test("are loaded again when they are too old and their file has changed", (t) => {
    const directory = certificateDirectory(t);
    const { certificateFile: file } = createCertificate(directory, "one");
    const { certificate: other } = createCertificate(directory, "two");
    const { subject, at, reads } = keep(t, {});
    assert.equal(subject(file), "CN=one");
    writeFileSync(file, other);
    at(60_000);
    assert.equal(subject(file), "CN=one");
    at(60_001);
    assert.equal(subject(file), "CN=two");
    at(200_000);
    assert.equal(subject(file), "CN=two");
    assert.equal(reads.length, 2);
    // That it has not changed is good for as long again.
    writeFileSync(file, "broken");
    at(260_000);
    assert.equal(subject(file), "CN=two");
    at(260_001);
    for (let i = 0; i < 2; i++) assert.match(subject(file), /^PEM_read_bio_X509_AUX\(\) failed/);
    assert.equal(reads.length, 4);
    writeFileSync(file, other);
    assert.equal(subject(file), "CN=two");
    rmSync(file);
    assert.equal(subject(file), "CN=two");
    assert.match(subject(file, true), /^BIO_new_file\(\) failed/);
    assert.match(subject(file), /^BIO_new_file\(\) failed/);
  });

  test("are at most so many, and those used longest ago make room", (t) => {
    const directory = certificateDirectory(t);
    const [a, b, c] = ["a", "b", "c"].map((name) => createCertificate(directory, name));
    const { cache, subject, reads } = keep(t, { max: 3 });
    const useKey = (file: string) => {
      const key = cache.key(file, [], false);
      assert.ok(typeof key !== "string", String(key));
      key.free();
    };
    subject(a.certificateFile);
    useKey(a.keyFile);
    subject(b.certificateFile);
    subject(a.certificateFile);
    subject(c.certificateFile);
    assert.equal(reads.length, 4);
    useKey(a.keyFile);
    assert.equal(reads.length, 5);
    subject(a.certificateFile);
    subject(c.certificateFile);
    assert.equal(reads.length, 5);
    subject(b.certificateFile);
    assert.equal(reads.length, 6);
  });

  test("are forgotten when they were not used for long", (t) => {
    const directory = certificateDirectory(t);
    const [a, b, c] = ["a", "b", "c"].map((name) => createCertificate(directory, name).certificateFile);
    const { subject, at, reads } = keep(t, {});
    subject(a);
    at(5000);
    subject(b);
    at(10_001);
    subject(c);
    subject(b);
    assert.deepEqual(reads, [a, b, c]);
    subject(a);
    assert.deepEqual(reads, [a, b, c, a]);
  });

  test("are not keys that were encrypted, but are what is in the name itself", (t) => {
    const directory = certificateDirectory(t);
    const { certificate, key, keyFile } = createCertificate(directory, "a");
    const encrypted = join(directory, "encrypted.key");
    writeFileSync(encrypted, encryptKey(keyFile, "secret"));
    const { cache, subject, at, reads } = keep(t, {});
    const passwords = [Buffer.from("secret")];
    for (let i = 0; i < 2; i++) {
      const found = cache.key(encrypted, passwords, false);
      assert.ok(typeof found !== "string", String(found));
      found.free();
    }
    assert.deepEqual(reads, [encrypted, encrypted]);
    assert.match(String(cache.key(encrypted, [], false)), /^PEM_read_bio_PrivateKey\(\) failed/);
    at(100_000);
    assert.equal(subject(`data:${certificate}`, true), "CN=a");
    const found = cache.key(`data:${key}`, [], true);
    assert.ok(typeof found !== "string", String(found));
    found.free();
  });
});
