/** The words of a search. Postgres folds them, by the same function as what is searched. */

/** White space as Unicode and JavaScript have it; the latter adds U+FEFF. A word without any letter left is none. */
export function wordsOf(search: string): string[] {
  return search.split(/[\s\p{White_Space}]+/u).filter((word) => /[^\p{M} ]/u.test(word.normalize('NFKD')))
}
