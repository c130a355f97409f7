// Generates src/accounts/common-passwords/list.ts from Django's list, which is ordered by frequency:
// pip download --no-deps django==5.2.17 && unzip django-*.whl django/contrib/auth/common-passwords.txt.gz
// node scripts/common-passwords.mjs django/contrib/auth/common-passwords.txt.gz
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'

const [, , source = ''] = process.argv
const longEnough = gunzipSync(readFileSync(source))
  .toString()
  .split('\n')
  .filter((password) => [...password].length >= 8)

writeFileSync(
  fileURLToPath(new URL('../src/accounts/common-passwords/list.ts', import.meta.url)),
  `/**
 * The thousand most common passwords of at least 8 characters, in lower case, from the list of Django 5.2.17
 * (django/contrib/auth/common-passwords.txt.gz). Made by scripts/common-passwords.mjs; LICENSE beside it is
 * Django's.
 */
export const commonPasswords = new Set(
  \`
${longEnough.slice(0, 1000).join('\n')}
\`
    .trim()
    .split('\\n'),
)
`,
)
