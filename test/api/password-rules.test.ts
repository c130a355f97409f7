/** Passwords that are equal, and passwords that are refused. */
import { describe, expect, inject, test } from 'vitest'
import { createClient, newName } from '../support/client.ts'
import { words } from '../support/words.ts'

const client = createClient(inject('wide'))
const { request, register, tryRegister, changePassword } = client
const tryLogIn = async (username: string, password: string) =>
  (await client.tryLogIn(username, password)).status

/** Forms of one password that different keyboards compose. */
const forms: [string, string, string][] = [
  ['composed and decomposed letters', 'Zażółć gęślą', 'Zażółć gęślą'.normalize('NFD')],
  ['Korean syllables and their parts', '비밀번호를바꾸다', '비밀번호를바꾸다'.normalize('NFD')],
  ['letters of full and of usual width', 'ｃｏｒｒｅｃｔ　ｈｏｒｓｅ', 'correct horse'],
  ['katakana of half and of usual width', 'ﾊﾟｽﾜｰﾄﾞｦｶｴﾙ', 'パスワードヲカエル'],
  ['a ligature and its letters', 'oﬃce horse', 'office horse'],
  ['mathematical and plain letters', '𝓬𝓸𝓻𝓻𝓮𝓬𝓽 𝓱𝓸𝓻𝓼𝓮', 'correct horse'],
  ['marks in another order', 'horse a\u0323\u0301\u0308 staple', 'horse a\u0301\u0323\u0308 staple'],
  ['the Ångström sign and the letter', 'horses \u212b', 'horses \u00c5'],
  ['spaces of other kinds', 'correct\u00a0horse\u2003staple', 'correct horse staple'],
]

describe.each(forms)('%s', (_, one, other) => {
  test.each([
    [one, other],
    [other, one],
  ])('are the same password: %j, then %j', async (first, second) => {
    const { username } = await register(newName(), first)
    expect(await tryLogIn(username, second)).toBe(200)
    expect(await tryLogIn(username, `${second}!`)).toBe(401)
    const user = await register()
    expect((await changePassword(user.token, user.password, first)).status).toBe(200)
    expect((await changePassword(user.token, second, 'a new password')).status).toBe(200)
    expect(await tryLogIn(user.username, 'a new password')).toBe(200)
    const json = { password: 'ａ ｎｅｗ ｐａｓｓｗｏｒｄ' }
    expect((await request('DELETE', '/api/users/me/', { token: user.token, json })).status).toBe(204)
  })
})

test('letters of another case, accent or script are another password', async () => {
  const { username } = await register(newName(), 'correct höße')
  for (const other of ['Correct höße', 'correct hoße', 'correct hösse', 'соrrect höße'])
    expect(await tryLogIn(username, other)).toBe(401)
})

test.each([
  ['8 characters of full width', '１２ａｂ３４ｃｄ'],
  ['4 ligatures of 3 letters', 'ﬃﬄﬃﬄ'],
  ['72 bytes that were 108 as sent', 'é'.repeat(36).normalize('NFD')],
  ['72 bytes that were 288 as sent', '𝐚'.repeat(72)],
  ['72 bytes of Korean in parts', '각'.repeat(24).normalize('NFD')],
  ['69 bytes of one letter with three marks each', 'ᾂ'.repeat(23).normalize('NFD')],
])('a password of %s is accepted', async (_, password) => {
  const { username } = await register(newName(), password)
  expect(await tryLogIn(username, password.normalize('NFKC'))).toBe(200)
})

test.each([
  ['7 characters that were 8 as sent', 'correc\u0063\u0327'],
  ['7 syllables that were 21 as sent', '각'.repeat(7).normalize('NFD')],
  ['73 bytes that were 109 as sent', `${'é'.repeat(36)}x`.normalize('NFD')],
  ['99 bytes that were 9 as sent', 'ﷺﷺﷺ'],
  ['73 mathematical letters', '𝐚'.repeat(73)],
  ['many marks on one letter', `a${'\u0301\u0316'.repeat(10_000)}`],
])('a password of %s is refused', async (_, password) => {
  const answer = await tryRegister(password)
  expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: '/password' }] } })
})

test('a password that is too long in every form is refused by every operation', async () => {
  const user = await register()
  const tooLong = `a${'\u0301\u0316'.repeat(10_000)}`
  expect(await tryLogIn(user.username, tooLong)).toBe(400)
  expect((await changePassword(user.token, tooLong, 'a new password')).status).toBe(400)
  const json = { password: tooLong }
  expect((await request('DELETE', '/api/users/me/', { token: user.token, json })).status).toBe(400)
})

describe('the username', () => {
  const name = newName('Name')
  const wide = (text: string) =>
    text.replace(/[!-~]/g, (character) => String.fromCharCode(character.charCodeAt(0) + 0xfee0))

  test.each([name, name.toLowerCase(), name.toUpperCase(), wide(name)])(
    '%s is refused as password of %s',
    async (password) => {
      for (const username of [name, ` ${name.toUpperCase()} `]) {
        const answer = await tryRegister(password, username)
        expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: '/password' }] } })
        expect(answer.body.errors).toHaveLength(1)
      }
    },
  )

  test('is refused as new password, in any case', async () => {
    const user = await register(newName('Name'))
    for (const to of [user.username, user.username.toUpperCase(), wide(user.username)]) {
      const answer = await changePassword(user.token, user.password, to)
      expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: '/password' }] } })
    }
    expect(await tryLogIn(user.username, user.password)).toBe(200)
  })

  test('may be part of a password, or the password of another user', async () => {
    const username = newName()
    expect((await tryRegister(`${username}!`, username)).status).toBe(201)
    expect((await tryRegister(username)).status).toBe(201)
  })
})

describe('a common password', () => {
  test.each(words('password 12345678 iloveyou qwertyuiop password123 11111111 passw0rd trustno1'))(
    '%s is refused in any case and form',
    async (password) => {
      const user = await register()
      for (const form of [
        password,
        password.toUpperCase(),
        password.replace(/[a1]/, (of) => (of === 'a' ? 'ａ' : '１')),
      ]) {
        const errors = [{ pointer: '/password', detail: expect.stringContaining('most common') }]
        expect(await tryRegister(form)).toMatchObject({ status: 400, body: { errors } })
        const changed = await changePassword(user.token, user.password, form)
        expect(changed).toMatchObject({ status: 400, body: { errors } })
      }
    },
  )

  test('may be part of a password', async () => {
    expect((await tryRegister('my password1')).status).toBe(201)
  })

  test('is answered like any wrong password at login', async () => {
    const { username } = await register()
    expect(await tryLogIn(username, 'password')).toBe(401)
  })
})

test('all errors of password and name are reported at once', async () => {
  const { status, body } = await request('POST', '/api/register/', {
    json: { username: 'pass word', password: 'pass word', email: 'none', nope: 1 },
  })
  expect(status).toBe(400)
  const pointers = body.errors.map(({ pointer }: { pointer: string }) => pointer)
  expect(pointers.sort()).toEqual(['/email', '/nope', '/password', '/username'])
})
