/** User text in terminals, logs, mails and chats. */
import { expect, test } from 'vitest'
import { createLogger } from '../../src/core/log.ts'
import { escapeInvisible, oneLine, printable } from '../../src/core/plain-text.ts'

const family = '👨\u200d👩\u200d👧'
const scotland = '🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}'

test.each([
  ['line breaks', 'a\r\nb\nc\rd', 'a b c d'],
  ['line and paragraph separators, next line', 'a\u2028b\u2029c\u0085d', 'a b c d'],
  ['tab, bell, backspace, NUL, delete', 'a\tb\u0007c\bd\0e\u007ff', 'a b c d e f'],
  ['a colour and a window title (CSI, OSC)', 'a\u001b[31mb\u001b]0;c\u0007d', 'a [31mb ]0;c d'],
  ['the same by C1 controls', 'a\u009b31mb\u009d0;c\u009cd', 'a 31mb 0;c d'],
  ['overrides and embeddings of direction', 'a\u202egpj.exe\u202c\u202ab\u202bc\u202dd', 'a gpj.exe b c d'],
  ['isolates of direction', 'a\u2066b\u2067c\u2068d\u2069e', 'a b c d e'],
  ['marks of direction', 'a\u200eb\u200fc\u061cd', 'a b c d'],
  ['zero-width characters', 'pay\u200bpal \u2060\ufeffx\u00ady\u180ez', 'paypal xyz'],
  ['joiners between Latin letters', 'pay\u200dpal\u200c', 'paypal'],
  ['joiners one after the other', 'é\u200d\u200c\u200dé', 'éé'],
  ['fillers that look like nothing', 'a\u3164b\u115fc\uffa0d', 'abcd'],
  ['tag characters', 'a\u{e0068}\u{e0069}\u{e007f}b', 'ab'],
  ['annotations', 'a\ufff9b\ufffac\ufffb', 'abc'],
  ['half a surrogate pair', 'a\ud800b\udc00', 'ab'],
  ['what emoji and scripts need stays', `${family} ${scotland} ❤\ufe0f می\u200cخواهم`, null],
  ['other scripts stay', 'Ünïcode 日本語 العربية עברית हिन्दी', null],
  ['what surrounds it', '  a\u200b  ', 'a'],
])('as a part of a line: %s', (_, text, shown) => {
  expect(oneLine(text)).toBe(shown ?? text)
  // Nothing is escaped and nothing else is removed.
  expect(escapeInvisible(oneLine(text))).toBe(shown ?? text)
})

test('a line keeps its indentation', () => {
  expect(printable('    at handler\u001b[0m ')).toBe('    at handler [0m ')
})

test.each([
  ['\u001b[31mred\u0007', '\\u001b[31mred\\u0007'],
  ['a\u009b31m\u202e\u2028\u200b\u{e0041}\ud800', 'a\\u009b31m\\u202e\\u2028\\u200b\\udb40\\udc41\\ud800'],
  [`lines\n\tand tabs ${family} stay`, null],
])('printed whole, control characters are spelt: %j', (text, shown) => {
  expect(escapeInvisible(text)).toBe(shown ?? text)
})

test('a log line is one line of visible characters, and the same JSON', () => {
  const title = 'a\u0085b\u2028c\u202ed\u009b31me\u200b\u001b[0m\ud800 日本語 \u007f'
  const lines: string[] = []
  createLogger('info', (line) => lines.push(line)).info('task', { title })
  expect(lines.join()).toMatch(/^[\x20-\x7e日本語]+$/)
  expect(JSON.parse(lines.join()).title).toBe(title)
})
