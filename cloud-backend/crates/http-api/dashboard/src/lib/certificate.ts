/** What is said of a gateway's certificate. */
import type { Certificate, Priority } from "../api/types";
import { t } from "../text";

/** A renewal comes at a third of the life. Below these parts of it, in per cent, the gateway raises its alarms. */
const ENDING = 25;
const AT_ITS_END = 10;

/** How urgently somebody must look, as the gateway's own alarm does; null while all is well. */
export function certificateUrgency(certificate: Certificate): Priority | null {
  const { revoked, days_left, life_left_percent } = certificate;
  if (revoked || days_left < 0 || life_left_percent < AT_ITS_END) return "critical";
  return life_left_percent < ENDING ? "high" : null;
}

export function certificateWords(certificate: Certificate): string {
  const { revoked, days_left } = certificate;
  if (revoked) return t.data.certificate.revoked;
  if (days_left < 0) return t.data.certificate.ended;
  const left = t.data.certificate.left(days_left);
  return certificateUrgency(certificate) === null ? left : t.data.certificate.notRenewed(left);
}
