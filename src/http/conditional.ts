/** Preconditions (RFC 9110 section 13) on entity tags that are version numbers. */

/**
 * What If-Match lets through: null for anything, else the versions it names, separated by commas. Compared strongly, so
 * that a weak tag, like anything else that is no tag of ours, names a version that no task has.
 */
export function matchedVersions(ifMatch: string | undefined): string | null {
  if (ifMatch === undefined || ifMatch.trim() === '*') return null
  return versions(ifMatch).join(',')
}

/** Whether If-None-Match names the version; compared weakly. */
export function namesVersion(ifNoneMatch: string | undefined, version: number): boolean {
  if (ifNoneMatch === undefined) return false
  return ifNoneMatch.trim() === '*' || versions(ifNoneMatch.replace(/W\/"/g, '"')).includes(String(version))
}

const versions = (list: string) =>
  list.split(',').flatMap((tag) => /^"(\d{1,10})"$/.exec(tag.trim())?.[1] ?? [])
