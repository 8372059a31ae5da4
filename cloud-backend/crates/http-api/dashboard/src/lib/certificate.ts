/** What is said of a gateway's certificate. */
import type { Certificate } from "../api/types";
import { t } from "../text";

/** A certificate of the usual 30 days is renewed with 10 left: below that, renewals have failed. */
const RENEWED_BY = 10;

/** Whether somebody should look: it was revoked, has ended, or was not renewed in time. */
export const needsAttention = (certificate: Certificate): boolean =>
  certificate.revoked || certificate.days_left < RENEWED_BY;

export function certificateWords(certificate: Certificate): string {
  if (certificate.revoked) return t.data.certificate.revoked;
  if (certificate.days_left < 0) return t.data.certificate.ended;
  return t.data.certificate.left(certificate.days_left);
}
