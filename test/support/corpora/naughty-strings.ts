/** Text that has broken other programs, of the kinds in lists of naughty strings. */

const zalgo = 'Z\u0351\u036b\u0343\u032a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f'

/** Text that can be stored and is not only white space. */
export const storable: Record<string, string[]> = {
  'words that are values somewhere': [
    ...'undefined|null|NULL|(null)|nil|None|true|FALSE|NaN|-Infinity|hasOwnProperty'.split('|'),
    ...[
      ...'constructor|__proto__|toString|prototype|then|length|[object Object]'.split('|'),
      '\\',
      '\\\\',
      '__dirname',
    ],
  ],
  'texts that look like numbers': [
    ...[
      ...'0|1|-0|1.00'.split('|'),
      '$1.00',
      ...'1/0|1E+02|-9223372036854775808|0x0|0xffffffff|0..0|0,0,0|--1'.split('|'),
    ],
    ..."999999999999999999999999999999|1,000.00|1'000|1 000|011|1#INF|٣٤|１２３|½|2³|Ⅻ|0b1".split('|'),
    '1_000',
  ],
  'texts that look like other values': [
    ...[
      ...`2026-02-30|24:00|[]|{}|[1]|{"a":1}|""|''|"|'`.split('|'),
      '`',
      '``',
      ..."';--|<>|()|%|%%|&|#|?|/|.|..".split('|'),
    ],
  ],
  punctuation: [
    `,./;'[]\\-=`,
    '<>?:"{}|_+',
    '!@#$%^&*()`~',
    '…–—“”„‘’‚«»‹›',
    '¡™£¢∞§¶•ªº',
    '\u00a0a\u00a0b',
    '¸˛Ç◊ı˜Â¯˘¿',
    'ÅÍÎÏ˝ÓÔÒÚÆ☃',
    'Œ„´‰ˇÁ¨ˆØ∏”’',
  ],
  'controls and spaces within it': [
    'a\u0001\u0002\u0003\u0004\u0005\u0006\u0007\bb',
    'a\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001fb',
    'a\u007f\u0080\u0081\u0082\u0083\u0084\u0085\u0086\u0087\u0088\u0099\u009fb',
    'a\t\n\v\f\r\u0085 \u1680\u2002\u2003\u2028\u2029\u202f\u205f\u3000b',
    'a\u00ad\u0600\u061c\u070f\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2066\u2069\ufeff\ufff9\u{110bd}\u{e0001}b',
    '\ufeff\ufeffa',
    '\ufffe',
    '\uffff\u{1fffe}\u{10ffff}',
    '\ufdd0\ufdef',
    '\ufffd',
    '\ue000\uf8ff\u{f0000}',
  ],
  'scripts of every kind': [
    ...'田中さんにあげて下さい|パーティーへ行かないか|部落格|사회과학원 어학연구소|찦차를 타고 온 펲시맨|𠜎𠜱𠝹𠱓|Ω≈ç√∫˜µ≤≥÷'.split(
      '|',
    ),
    ...'åß∂ƒ©˙∆˚¬…æ|ЁЂЃЄЅІЇЈЉЊЋЌ|тестовый|ΑΒΓς|ქართული|አማርኛ|தமிழ்|ภาษาไทย|ᚠᛇᚻ|𐎠𐎢|ⲁⲃ'.split('|'),
    ...'𝒯𝓱𝕖 𝔮𝔲𝔦𝔠𝔨|⒯⒣⒠ ⒬⒰⒤⒞⒦'.split('|'),
    ...[
      ...'Ｔｈｅ ｑｕｉｃｋ|İstanbul ıIiİ|ǅ ǆ Ǆ|ﬀ ﬁ ﬂ ﬃ|ß ẞ ss|Ⱥ Ⱦ|₀₁₂|⁰⁴⁵'.split('|'),
      '\u212b \u00c5 A\u030a',
      '한',
      '\u1e9b\u0323',
    ],
  ],
  'text from right to left': [
    ...'ثم نفس سقطت وبالتحديد،|בְּרֵאשִׁית, בָּרָא אֱלֹהִים|הָיְתָהtestالصفحات التّحول|﷽'.split('|'),
    ...'ﷺ|مُنَاقَشَةُ سُبُلِ اِسْتِخْدَامِ'.split('|'),
    '\u202a\u202atest\u202a',
    '\u202etxt.exe',
    '\u2066test\u2067',
    '\u200ftest\u061c',
  ],
  'marks and emoji': [
    ...[
      zalgo,
      zalgo.repeat(8),
      '\u0301',
      'e\u0301\u0301\u0301',
      ...'👩🏽|👨‍🦰 👨🏿‍🦰|🏳️‍🌈|👾 🙇 💁 🙅|🇺🇸🇷🇺🇸|🇺|0️⃣ 1️⃣|1️⃣23'.split('|'),
      '👨‍👩‍👧‍👦'.repeat(10),
    ],
    ...[
      'Z̴̡̢',
      '́ ̀',
      '\u20e0',
      '⃝a',
      '🏴󠁧󠁢󠁥󠁮󠁧󠁿',
      '\u200d',
      '\ufe0f',
      '☺︎☺️',
      '(╯°□°）╯︵ ┻━┻',
      '¯\\_(ツ)_/¯',
      '( ͡° ͜ʖ ͡°)',
      '😀'.repeat(255),
      'x'.repeat(255),
    ],
  ],
  'what other languages run': [
    ...'<script>alert(1)</script>|"><img src=x onerror=alert(1)>|javascript:alert(1)'.split('|'),
    ...'<!--|]]>|<![CDATA[a]]>|&lt;b&gt;&#x41;&nbsp;|<?php|<%= 1 %>'.split('|'),
    ...[
      "'; drop table users; --",
      "1' or '1'='1",
      '1; select pg_sleep(10)',
      '$1',
      '$$',
      '$tag$',
      ':name',
      '\\x00',
      "E'\\x27'",
      '%27',
      '\\u0000',
      '\\ud800',
      'a\\',
      'a\'b"c`d',
    ],
    ...[
      '$(touch /tmp/x)',
      '`id`',
      '| cat /etc/passwd',
      '; ls',
      '&& ls',
      '$HOME',
      '%PATH%',
      'eval("1")',
      '{{7*7}}',
      `\${7*7}`,
      '#{7*7}',
      '<%=7*7%>',
      `\${jndi:ldap://x/a}`,
    ],
    ...[
      ...'%s%s%s%s%n|%d|{0}|%@|../../../etc/passwd%00'.split('|'),
      '..\\..\\boot.ini',
      'file:///etc/passwd',
      'http://a/%%30%30',
      '=1+1',
      '+cmd|calc!A0',
      '@SUM(1)',
      '-2+3',
    ],
    ...[
      '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
      '*)(uid=*',
      '{"$gt":""}',
      ..."require('fs')|CON|PRN|LPT1".split('|'),
      'a\r\nSet-Cookie: a=b',
      '=?utf-8?B?YQ==?=',
      '\u001b[31mred\u001b[0m',
      '\u001b]0;title\u0007',
    ],
  ],
  'words that filters stumble over': [
    ...'Scunthorpe General Hospital|Penistone|Lightwater Country Park|http://a.b'.split('|'),
    ...'ann@example.com|+49 30 1|🙈 .com|İ'.split('|'),
  ],
}

/** Only white space, so trimming leaves nothing. */
export const blank = [' ', '\t', '\r\n', '\u00a0', '\u3000', '\ufeff', '\u2028', ' \u2003\v\f ']

/** Postgres cannot store these. */
export const unstorable = ['\0', 'a\0b', '\ud800', 'a\udc00b', '\ude00\ud83d', '😀\ud83d', '\udfff\ud800']
