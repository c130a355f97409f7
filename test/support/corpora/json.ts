/** Invalid JSON (RFC 8259), of the kinds in test suites for parsers. */

export type Sent = string | Buffer

export const bytes = (...parts: (Sent | number[])[]) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))))

const utf16 = (text: string, order: 'le' | 'be', mark = true) => {
  const little = Buffer.from(`${mark ? '\ufeff' : ''}${text}`, 'utf16le')
  return order === 'le' ? little : little.swap16()
}

/** Texts without blanks. */
const words = String.raw`
  nul True TRUE undefined NaN Infinity -Infinity nan -NaN Inf 0x42 0b1 0o7 1n
  01 -01 -012 00 +1 ++1 --1 - -x .5 -.5 1. -1. 1.e1 0.e1 1e 1e+ 1E- 1eE2 0.3e 2.e3 9.e+ 1e1.5
  1_000 1,000 1.2.3 1/2 １ -１ 1+2 1a
  " "a a" 'a' ${'`a`'} “a” "\" "\ "\x41" "\a" "\0" "\'" "\é"
  "\u" "\u1" "\u123" "\u123g" "\U0041" "\u{41}" "\ud83d\u" "\ud83d\u1"
  [ ] [1 [1, [,] [,1] [1,,2] [1,] [1:2] [1;2] [} [1]] [[] [*] [...] ["a",4,1,
  { } {"a" {"a": {"a":1 {"a":1, {"a":1,} {,} {"a","b"} {"a"::1} {a:1} {1:1} {'a':1} {null:null}
  {"a":1;"b":2} {"a":1}} {] {"a":"b"] {[]:1} {"a"=1}
  /**/1 1// #1 1# <null> &lt; null, ,null \u0031 1\n @ $x`
  .trim()
  .split(/\s+/)

/** Sent as a value in a valid body. */
export const malformedValues: Sent[] = [
  ...words,
  ...['', '1 000', '"a" "b"', '- 1', '[1 2]', '{"a" 1}', '{"a":1 "b":2}', '1 /* one */', 'true false'],
  ...['"a\tb"', '"a\nb"', '"a\rb"', '"\u0000"', '"\u001f"', '"\\\n"', '"\\ "', '1\f', '1\v', '1\0'],
  // Invalid UTF-8: a lone byte, overlong, a surrogate, beyond U+10FFFF, of five bytes, cut short.
  ...[[0xff], [0xc0, 0xaf], [0xe0, 0x80, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]].map(quoted),
  ...[
    [0xf8, 0x88, 0x80, 0x80, 0x80],
    [0xe2, 0x82],
    [0x5c, 0xe5],
  ].map(quoted),
  ...[[0xe5], [0xc2, 0xa0], [0xe2, 0x80, 0xa8], [0xef, 0xbb, 0xbf]].map((after) => bytes('1', after)),
]

function quoted(inner: number[]): Buffer {
  return bytes('"', inner, '"')
}

const right = '{"title":"a"}'

/** Sent as whole bodies. */
export const malformedDocuments: Sent[] = [
  ...[`${right}{}`, `${right}\n${right}`, `${right},`, `${right}]`, `${right}#`, `${right}\0`, `${right};`],
  ...[`)]}',\n${right}`, `(${right})`, `x=${right}`, `// a\n${right}`, '<title>a</title>', 'title: a'],
  ...[
    `${right}\ufeff`,
    `\u00a0${right}`,
    `\u2060${right}`,
    `\u001e${right}\n`,
    '{title:"a"}',
    '--a\r\n\r\n{}',
  ],
  ...['[', ']', '{', '}', '"', ':', ',', '\\', '*', '\f', ' \t\r\n', '\ufeff', '\0', '[\u000b]'],
  ...['['.repeat(60_000), ']'.repeat(60_000), '{"a":'.repeat(12_000), '[{"":'.repeat(10_000)],
  ...['"'.repeat(60_001), '\\'.repeat(60_000), `${'['.repeat(30_000)}1${']'.repeat(29_999)}`],
  ...[utf16(right, 'le'), utf16(right, 'be'), utf16(right, 'le', false), utf16(right, 'be', false)],
  bytes([0xff, 0xfe]),
  bytes([0xef, 0xbb]),
  bytes([0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf], right),
  // gzip, BSON, CBOR, MessagePack.
  bytes([0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3]),
  bytes([0x16, 0, 0, 0, 2], 'title', [0, 2, 0, 0, 0], 'a', [0, 0]),
  bytes([0xa1, 0x65], 'title', [0x61], 'a'),
  bytes([0x81, 0xa5], 'title', [0xa1], 'a'),
]
