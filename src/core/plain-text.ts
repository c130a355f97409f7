/** Makes foreign text safe to show: it moves no cursor, adds no line, and does not look like another text. */

/** Emoji and some scripts need them between two characters. Elsewhere they make two texts look the same. */
const joiner =
  '(?<=[^\\x00-\\x7f\\u200c\\u200d])[\\u200c\\u200d](?=[^\\x00-\\x7f\\u200c\\u200d])|[\\ufe0e\\ufe0f]'
/** The flags of England, Scotland and Wales are written with characters that are invisible elsewhere. */
const flag = '\\u{1f3f4}[\\u{e0030}-\\u{e0039}\\u{e0061}-\\u{e007a}]{3,6}\\u{e007f}'
const kept = `${flag}|${joiner}`
const control = '[\\p{Cc}\\p{Zl}\\p{Zp}\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]'
/** Invisible characters, and half a surrogate pair. */
const hidden = '[\\p{DI}\\p{Cs}\\ufff9-\\ufffb]'

const lineBreaking = new RegExp(`${kept}|(?<control>${control})+|(?<hidden>${hidden})`, 'gu')
const escaped = new RegExp(`${kept}|(?<hidden>(?![\\n\\t])${control}|${hidden})`, 'gu')

/** Keeps text in one line, with its indentation. Control characters become blanks, invisible ones go. */
export const printable = (text: string) =>
  text.replace(lineBreaking, (found, ...rest) => {
    const { control, hidden } = rest.at(-1) as { control?: string; hidden?: string }
    if (control !== undefined) return ' '
    return hidden === undefined ? found : ''
  })

/** Also removes blanks at both ends. */
export const oneLine = (text: string) => printable(text).trim()

/** Writes such characters as `\u202e`: the last step of all output. Keeps line breaks and tabs. */
export function escapeInvisible(text: string): string {
  if (/^[\t\n -~]*$/.test(text)) return text
  return text.replace(escaped, (found, ...rest) =>
    (rest.at(-1) as { hidden?: string }).hidden === undefined ? found : spell(found),
  )
}

const spell = (character: string) =>
  Array.from({ length: character.length }, (_, index) => {
    const unit = character.charCodeAt(index)
    return `\\u${unit.toString(16).padStart(4, '0')}`
  }).join('')
