/** Entity tags of tasks and preconditions on them (RFC 9110, sections 8.8.3 and 13). */
import type { Context } from 'hono'

/** Tags without their quotes, separated by commas; `*` for any; null where the header was not sent. */
export type Precondition = { match: string | null; noneMatch: string | null }

/**
 * A tag is a version and, after a dot, a revision; only rows of before there were revisions have none. A proxy that
 * compresses an answer makes its tag weak (nginx) or adds the content coding to it (Apache, Caddy, Jetty): these forms
 * name the same version.
 */
const entityTagForm =
  /^(?:W\/)?"(\d{1,10}(?:\.\d{1,16})?)(?:[-;]+(?:x-)?(?:gzip|gz|deflate|compress|br|zstd))*"$/

/**
 * The tags that the headers name. A text that is no tag of ours is left out and never makes the header as if absent:
 * a typo in If-Match would lose somebody's edit.
 */
export function preconditionOf(c: Context): Precondition {
  return { match: named(c.req.header('If-Match')), noneMatch: named(c.req.header('If-None-Match')) }
}

function named(header: string | undefined): string | null {
  if (header === undefined) return null
  if (header.trim() === '*') return '*'
  return header
    .split(',')
    .flatMap((tag) => entityTagForm.exec(tag.trim())?.[1] ?? [])
    .join(',')
}

/** Whether the tag is among those named. */
export function names(tags: string | null, tag: string): boolean {
  return tags === '*' || (tags?.split(',').includes(tag) ?? false)
}
