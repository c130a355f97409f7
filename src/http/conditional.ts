/** Entity tags and preconditions on them (RFC 9110, sections 8.8.3 and 13). */
import type { Context } from 'hono'
import { Problem } from '../core/problem.ts'
import type { Answer } from './answer.ts'

/** Versions without quotes, separated by commas; `*` for any; null where the header was not sent. */
export type Precondition = { match: string | null; noneMatch: string | null }

/**
 * A version and, after a dot, a revision; only rows older than revisions have none. A proxy that compresses a
 * response makes its tag weak (nginx) or adds the content coding to it (Apache, Caddy, Jetty): these forms
 * name the same version.
 */
const entityTagForm =
  /^(?:W\/)?"(\d{1,10}(?:\.\d{1,16})?)(?:[-;]+(?:x-)?(?:gzip|gz|deflate|compress|br|zstd))*"$/

/** Strong: it changes with every change of the representation. */
export const entityTag = (version: string) => `"${version}"`

/**
 * The versions that the headers name. A text that is not an entity tag of ours is left out, which never makes
 * the header count as absent: a typo in If-Match would lose somebody's edit.
 */
export function preconditionOf(c: Context): Precondition {
  return { match: versionsIn(c.req.header('If-Match')), noneMatch: versionsIn(c.req.header('If-None-Match')) }
}

function versionsIn(header: string | undefined): string | null {
  if (header === undefined) return null
  if (header.trim() === '*') return '*'
  return header
    .split(',')
    .flatMap((tag) => entityTagForm.exec(tag.trim())?.[1] ?? [])
    .join(',')
}

const includesVersion = (versions: string | null, version: string) =>
  versions === '*' || (versions?.split(',').includes(version) ?? false)

/** @param changed the sentence that tells a client so, without a full stop */
export const preconditionFailed = (changed: string, version: string) =>
  new Problem(412, `${changed}.`, { headers: { ETag: entityTag(version) } })

/** The answer to a GET, or a 304 without its body, by the answer's own ETag. @throws Problem 412 */
export function answerConditionally(
  answer: Answer,
  { match, noneMatch }: Precondition,
  changed: string,
): Answer {
  if (match === null && noneMatch === null) return answer
  const version = versionsIn(answer.headers?.ETag) ?? ''
  if (match !== null && !includesVersion(match, version)) throw preconditionFailed(changed, version)
  return includesVersion(noneMatch, version) ? { ...answer, status: 304, body: null } : answer
}
