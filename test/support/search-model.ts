/** A model of the search that shares no code with the service. */

/** The text without case, accents and Unicode forms. */
export function folded(text: string): string {
  return text.normalize('NFKD').toLowerCase().replace(/\p{M}/gu, '').replaceAll('ς', 'σ')
}

export function isFoundBy(search: string, task: { title: string; description: string | null }): boolean {
  const words = search.split(/[\s\u0085]+/).map((word) => folded(word).trim())
  const [title, description] = [folded(task.title), folded(task.description ?? '')]
  return words.every((word) => title.includes(word) || description.includes(word))
}

export function compareCodePoints(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => Array.from(text, (character) => character.codePointAt(0) ?? 0))
  for (let i = 0; left && right && i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? -1) - (right[i] ?? -1)
    if (difference !== 0) return difference
  }
  return 0
}

/** Has letters added to Unicode after 2017, whose capitals the ICU of the embedded server does not know. */
export const hasYoungLetters = (text: string) =>
  /[\u1c80-\u1c8a\u2c2f\ua7b8-\ua7f5\u{10570}-\u{16eff}\u{1ccd6}-\u{1ccf9}\u{1e030}-\u{1e06d}]/u.test(text)
