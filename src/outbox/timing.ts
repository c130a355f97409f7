/** How long a delivery may take, from the inside out: each holds longer than the one before. In ms. */

/** What the webhook gets, and each mail; mail servers may take their time over a greeting. */
export const channelTimeoutMs = 8_000
export const functionTimeoutMs = 10_000
export const invocationTimeoutMs = 12_000
/** A claimed event belongs to its claimer for so long. */
export const leaseMs = 15_000
