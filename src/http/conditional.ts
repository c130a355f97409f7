/** Preconditions (RFC 9110 section 13) on entity tags that are version numbers. */
import type { Context } from 'hono'

/** What a precondition names: versions, separated by commas; `*` for any; null where the header was not sent. */
export type Precondition = { match: string | null; noneMatch: string | null }

/**
 * If-Match is compared strongly, If-None-Match weakly. What is no tag of ours names a version that nothing has: it is
 * never ignored, or a client's typo would lose somebody's edit.
 */
export function preconditionOf(c: Context): Precondition {
  const ifNoneMatch = c.req.header('If-None-Match')?.replace(/W\/"/g, '"')
  return { match: named(c.req.header('If-Match')), noneMatch: named(ifNoneMatch) }
}

function named(header: string | undefined): string | null {
  if (header === undefined) return null
  if (header.trim() === '*') return '*'
  return header
    .split(',')
    .flatMap((tag) => /^"(\d{1,10})"$/.exec(tag.trim())?.[1] ?? [])
    .join(',')
}

/** Whether the version is among those named. */
export function names(versions: string | null, version: number): boolean {
  return versions === '*' || (versions?.split(',').includes(String(version)) ?? false)
}
