import type { CertificateStatus } from "../../conf/module.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import type { Order } from "./order.ts";
import { EMPTY_RECORD, readRecord } from "./record.ts";

/** What the status page shows of an order. Of the certificate it is only when it expires: the key is with it in the zone. */
export function orderStatus(zone: CertificateZone, order: Order): CertificateStatus {
  const { certificate, schedule, error, failed, held } = readRecord(zone, order) ?? EMPTY_RECORD;
  const lacking = error === "" ? "pending" : "failed";
  const had = certificate && (certificate.valid.end > Date.now() ? "valid" : "expired");
  return {
    names: order.identifiers.map(({ value }) => value),
    issuer: order.issuer,
    state: had ?? lacking,
    expires: certificate?.valid.end ?? 0,
    next: Math.max(schedule.next, held, Date.now()),
    failed,
    reason: error,
  };
}
