/** Reads a password typed without echo, or from standard input. Every user could see an argument. */
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { StartError } from '../../core/start-error.ts'

/** @throws StartError when there is none, or the two typed ones differ */
export async function readPassword(): Promise<string> {
  if (!process.stdin.isTTY) return readLine(await text(process.stdin))
  const password = await ask('Password: ')
  if (password !== (await ask('Again: ')))
    throw new StartError('the two passwords differ: nothing was changed')
  return password
}

function readLine(input: string): string {
  const line = input.replace(/\r?\n$/, '')
  if (line === '') throw new StartError('no password: give it on standard input, or type it at a terminal')
  if (/[\r\n]/.test(line))
    throw new StartError('standard input has more than one line: give the password alone')
  return line
}

/** Editing keys work. Nothing typed is shown. */
function ask(question: string): Promise<string> {
  const discarded = new Writable({ write: (_chunk, _encoding, done) => done() })
  const terminal = createInterface({ input: process.stdin, output: discarded, terminal: true })
  process.stderr.write(question)
  return new Promise((resolve, reject) => {
    // Ctrl-C and Ctrl-D close it without an answer.
    terminal.once('close', () => reject(new StartError('no password was given: nothing was changed')))
    terminal.question('', (answer) => {
      resolve(answer)
      terminal.close()
    })
  }).finally(() => process.stderr.write('\n')) as Promise<string>
}
