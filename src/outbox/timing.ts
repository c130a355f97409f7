/** Time-outs of a delivery, from the inside out: each is longer than the one before. */

/** For the webhook and each mail. Mail servers may delay their greeting. */
export const channelTimeoutMs = 8_000
export const functionTimeoutMs = 10_000
export const invocationTimeoutMs = 12_000
/** How long a claimed event belongs to its claimer. */
export const leaseMs = 15_000
