/** An e-mail address is valid if a browser's <input type="email"> takes it, and is stored unchanged. */
import { expect, inject, test } from 'vitest'
import { createClient, newName } from '../support/client.ts'
import { registerBeforeAll } from '../support/users.ts'
import { words } from '../support/words.ts'

const client = createClient(inject('wide'))
const { request } = client
const owner = registerBeforeAll(client)

const change = (email: unknown) => request('PATCH', '/api/users/me/', { token: owner.token, json: { email } })
const registration = (email: unknown) =>
  request('POST', '/api/register/', { json: { username: newName(), password: 'correct horse', email } })

const long = 'x'.repeat(63)

const accepted = [
  ...'ann@example.com|Ann.Smith@Example.COM|a@b|ann@localhost'.split('|'),
  // Every character that the local part may have; dots may stand anywhere in it.
  "ab!#$%&'*+/=?^_`{|}~-.09@example.com",
  'ann..smith@example.com',
  '.ann.@example.com',
  '-@example.com',
  // Variable envelope return path, a tag, what a mail gateway makes.
  ...words(`
    list-return-42-ann=example.org@lists.example.com bounce+ann=example.org@example.com
    ann+tag@example.com x400/s=ann/o=org@gateway.example.com user%example.org@relay.example.com
    customer/department=shipping@example.com
  `),
  "o'hara@example.ie",
  `${'l'.repeat(242)}@example.com`,
  `ann@${long}.com`,
  `ann@${long}.${long}.${long}`,
  ...words(`
    ann@1.2.3.4 ann@123.com ann@0x7f.1 ann@a--b.com ann@xn--mller-kva.de ann@xn--a.example
    ann@sub.sub.sub.example.co.uk
  `),
  // Internationalised domains, in every script and form that a browser converts.
  'ann@müller.de',
  'ann@mu\u0308ller.de',
  ...words(`
    ann@MÜLLER.de ann@faß.de ann@例え.jp ann@例。jp ann@пример.рф ann@उदाहरण.भारत ann@אבג.com
    ann@مثال.إختبار ann@ＡＢＣ.com ann@ü.xn--p1ai ann@é.1 ann@a-ü-b.de
  `),
  `ann@${'ü'.repeat(57)}.de`,
]

const refused = [
  '',
  ' ',
  ...words('ann ann@ @example.com @ ann@@example.com ann@example.com@example.org'),
  // Nothing is trimmed.
  ' ann@example.com',
  'ann@example.com ',
  'ann@example.com\n',
  '\tann@example.com',
  'ann smith@example.com',
  'ann@exam ple.com',
  'ann@example.com\0',
  'ann\r\nBcc: bob@example.com',
  ...'Ann <ann@example.com>|ann@example.com, bob@example.com|mailto:ann@example.com'.split('|'),
  ...'"ann"@example.com|"a b"@example.com'.split('|'),
  ...words(`
    ann(comment)@example.com ann@[127.0.0.1] ann@[IPv6:::1] ann@example.com:25 ann@example.com/path
    ann@user:pass@example.com ann@example..com ann@.example.com ann@example.com. ann@-example.com
    ann@example-.com ann@exam_ple.com ann@exam%70le.com
  `),
  `ann@${long}x.com`,
  `${'l'.repeat(243)}@example.com`,
  `ann@${`${long}.`.repeat(4)}com`,
  // The local part is ASCII.
  'änn@example.com',
  '安@例え.jp',
  'ann\u200b@example.com',
  'ann＠example.com',
  '\ud800@example.com',
  // Internationalised domains that a browser does not convert.
  ...words('ann@ü..de ann@ü.de. ann@.ü.de ann@-ü.de ann@ü-.de ann@－ü.de ann@ab--ü.de ann@ü_x.de'),
  'ann@ü x.de',
  ...words('ann@ü%41.de ann@ü％41.de ann@ü／x.de ann@ü:80 ann@ü/x ann@ü#x ann@ü?x'),
  'ann@ü\\x',
  'ann@ü\t.de',
  'ann@\u0301a.com',
  'ann@\u00ad.de',
  'ann@xn--a.ü.de',
  'ann@אב1.גa',
  'ann@ü\ud800.de',
  'ann@ü\ufffd.de',
  `ann@${'ü'.repeat(58)}.de`,
  // 248 characters of domain are 254 once converted.
  `a@ü${`.${'x'.repeat(60)}`.repeat(4)}yyy`,
]

test.each(accepted)('%j is accepted and stored unchanged', async (email) => {
  expect(await change(email)).toMatchObject({ status: 200, body: { email } })
  expect(await request('GET', '/api/users/me/', { token: owner.token })).toMatchObject({ body: { email } })
})

test.each([...refused, 7, true, [['ann@example.com']], { address: 'ann@example.com' }])(
  '%j is refused',
  async (email) => {
    for (const { status, body } of [await change(email), await registration(email)]) {
      expect(status).toBe(400)
      expect(body.errors).toEqual([{ pointer: '/email', detail: expect.any(String) }])
    }
  },
)

test('registering takes an address of each kind', async () => {
  for (const email of ["o'hara~&/=+x@example.ie", 'ann@müller.de', `ann@${long}.com`])
    expect(await registration(email)).toMatchObject({ status: 201, body: { email } })
})

test('an address is optional and can be removed', async () => {
  expect(await registration(undefined)).toMatchObject({ status: 201, body: { email: null } })
  expect((await change('ann@example.com')).status).toBe(200)
  expect(await change(null)).toMatchObject({ status: 200, body: { email: null } })
})
