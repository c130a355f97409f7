/** Text that Postgres can store: no U+0000, no lone surrogates, lengths in code points. */
import * as z from 'zod'

const wellFormed = 'It must not contain U+0000 or lone surrogates.'

/** Lengths count code points after trimming, as Postgres does. */
export function text({
  minimum = 0,
  maximum,
  trim = false,
}: {
  minimum?: number
  maximum: number
  trim?: boolean
}) {
  return (trim ? z.string().trim() : z.string())
    .refine((value) => value.isWellFormed() && !value.includes('\0'), wellFormed)
    .refine(
      (value) => codePoints(value) >= minimum,
      `It must have at least ${minimum} ${characters(minimum)}.`,
    )
    .refine(
      (value) => codePoints(value) <= maximum,
      `It must have at most ${maximum} ${characters(maximum)}.`,
    )
    .meta(
      trim
        ? { pattern: trimmedPattern(minimum, maximum) }
        : { ...(minimum > 0 ? { minLength: minimum } : {}), maxLength: maximum },
    )
}

/** In place of `maxLength`, which would refuse long white space around a text, which is accepted. */
function trimmedPattern(minimum: number, maximum: number): string {
  const text = `\\S(?:[\\s\\S]{0,${maximum - 2}}\\S)?`
  return `^\\s*${minimum === 0 ? `(?:${text})?` : text}\\s*$`
}

const characters = (count: number) => (count === 1 ? 'character' : 'characters')

/** The UTF-16 length of well-formed text, minus the second halves of surrogate pairs. */
const codePoints = (value: string) => value.length - (value.match(/[\udc00-\udfff]/g)?.length ?? 0)
