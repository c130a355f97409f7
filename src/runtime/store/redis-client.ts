/** A module of ours, because the chunk of a bundle has no named exports for a CommonJS package. */
export { createClient } from '@redis/client'
