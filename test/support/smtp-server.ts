/** A real SMTP server (RFC 5321) in the place of the operator's: takes mails, and misbehaves when told to. */
import { createServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { cert, key } from './certificate.ts'
import { listenOnLoopback } from './ports.ts'

export type Mail = {
  from: string
  to: string[]
  /** As sent: headers, an empty line, the text; lines end in CRLF. */
  message: string
  /** The user and the password given before, and whether by then the connection was encrypted. */
  login: { user: string; password: string } | undefined
  encrypted: boolean
}

/**
 * What to do instead of obeying: an answer of its own, or nothing, or end the connection. Asked before each command, as sent,
 * with `GREETING` at the beginning and `MESSAGE` after the end of a mail.
 */
export type Misbehaviour = (command: string) => string | 'be silent' | 'hang up' | undefined

type Options = { startTls?: boolean; tls?: boolean; password?: string }

export async function startSmtpServer({ startTls = false, tls = false, password }: Options = {}) {
  const mails: Mail[] = []
  const commands: string[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  let misbehaviour: Misbehaviour = () => undefined

  function serve(connection: Socket) {
    let socket = connection
    let login: Mail['login']
    let from = ''
    let to: string[] = []
    let message: string[] | undefined
    let rest = ''

    const say = (answer: string) => void socket.write(`${answer}\r\n`)
    /** What was done instead of obeying, if anything. */
    function misbehave(command: string) {
      const answer = misbehaviour(command)
      if (answer === 'hang up') socket.destroy()
      else if (answer !== undefined && answer !== 'be silent') say(answer)
      return answer
    }

    function finishLogin(user = '', given = '') {
      if (password !== undefined && given !== password)
        return say('535 5.7.8 Authentication credentials invalid')
      login = { user, password: given }
      say('235 2.7.0 Welcome')
    }

    const decode = (base64: string) => Buffer.from(base64, 'base64').toString()

    function obey(line: string) {
      const [, verb = '', argument = ''] = /^(\w+) ?(.*)$/.exec(line) ?? []
      switch (verb.toUpperCase()) {
        case 'EHLO': {
          const features = ['8BITMIME']
          if (startTls && !(socket instanceof TLSSocket)) features.push('STARTTLS')
          if (password !== undefined) features.push('AUTH PLAIN LOGIN')
          return say(
            ['localhost', ...features]
              .map((text, at) => `250${at < features.length ? '-' : ' '}${text}`)
              .join('\r\n'),
          )
        }
        case 'STARTTLS': {
          if (!startTls) return say('502 5.5.1 Command not implemented')
          say('220 2.0.0 Go ahead')
          socket.removeAllListeners('data')
          socket = listen(new TLSSocket(socket, { isServer: true, key, cert }))
          return
        }
        case 'AUTH': {
          const [method, initial] = argument.split(' ')
          if (method !== 'PLAIN') return say('504 5.5.4 Unrecognized authentication type')
          const [, user, given] = decode(initial ?? '').split('\0')
          return finishLogin(user, given)
        }
        case 'MAIL':
          from = /<(.*)>/.exec(argument)?.[1] ?? ''
          to = []
          return say('250 2.1.0 OK')
        case 'RCPT':
          to.push(/<(.*)>/.exec(argument)?.[1] ?? '')
          return say('250 2.1.5 OK')
        case 'DATA':
          message = []
          return say('354 End with a line that is one dot')
        case 'RSET':
        case 'NOOP':
          return say('250 2.0.0 OK')
        case 'QUIT':
          socket.end('221 2.0.0 Bye\r\n')
          return
        default:
          return say('502 5.5.1 Command not implemented')
      }
    }

    function takeLine(line: string) {
      if (message === undefined) {
        commands.push(line)
        if (misbehave(line) === undefined) obey(line)
        return
      }
      if (line !== '.') return void message.push(line.replace(/^\./, ''))
      const mail = { from, to, message: message.join('\r\n'), login, encrypted: socket instanceof TLSSocket }
      message = undefined
      const instead = misbehave('MESSAGE')
      // One who gets no answer can't tell, but the server has the mail.
      if (instead === undefined || /^(2|be silent|hang up)/.test(instead)) mails.push(mail)
      if (instead === undefined) say('250 2.0.0 Taken')
    }

    function listen<S extends Socket>(stream: S): S {
      stream.setEncoding('utf8')
      stream.on('error', () => {})
      stream.on('data', (chunk) => {
        const lines = (rest + chunk).split('\r\n')
        rest = lines.pop() ?? ''
        for (const line of lines) takeLine(line)
      })
      return stream
    }

    listen(socket)
    if (misbehave('GREETING') === undefined) say('220 localhost ESMTP')
  }

  const server = createServer((socket) => {
    connections += 1
    sockets.add(socket.on('close', () => sockets.delete(socket)))
    serve(tls ? new TLSSocket(socket, { isServer: true, key, cert }) : socket)
  })
  const port = await listenOnLoopback(server)
  return {
    port,
    url: `${tls ? 'smtps' : 'smtp'}://127.0.0.1:${port}`,
    mails,
    /** All that were sent, over all connections. */
    commands,
    connections: () => connections,
    open: () => sockets.size,
    misbehave(next: Misbehaviour) {
      misbehaviour = next
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
