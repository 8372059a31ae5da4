/** The delivery account: every batch received is stored, a duplicate, or rejected for a named reason. */
import type { Ledger } from "../api/types";

export function rejectedTotal(ledger: Ledger): number {
  return ledger.rejected.reduce((sum, each) => sum + each.count, 0);
}

/** Batches received that no column explains; zero when the account balances. */
export function unexplained(ledger: Ledger): number {
  return ledger.received - ledger.stored - ledger.duplicate - rejectedTotal(ledger);
}

/** Samples the gateway reported as lost, in a batch or before it became one. */
export function lostSamples(ledger: Ledger): number {
  return [...ledger.gaps, ...ledger.dropped].reduce((sum, each) => sum + each.samples, 0);
}

/** Bytes on the wire per stored sample; null before the first sample. */
export function bytesPerSample(ledger: Ledger): number | null {
  return ledger.samples_stored > 0 ? ledger.bytes_received / ledger.samples_stored : null;
}
