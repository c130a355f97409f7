/** An SMTP server that keeps the mails it receives, and fails on demand. */
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { SMTPServer, type SMTPServerSession } from 'smtp-server'
import { cert, key } from './certificate.ts'
import { listenOnLoopback } from './ports.ts'

export type Mail = {
  from: string
  to: string[]
  /** As sent: headers, an empty line, the text. Lines end in CRLF. */
  message: string
  /** The credentials of the connection. */
  login: { user: string; password: string } | undefined
  encrypted: boolean
}

/**
 * Replaces the server's answer at a step: `GREETING`, `RCPT` with the address, `DATA`, or `MESSAGE` after the
 * end of a mail. An answer has a status, such as `550 No`.
 */
export type Misbehaviour = (step: string) => string | 'be silent' | 'hang up' | undefined

type Options = { startTls?: boolean; tls?: boolean; password?: string }
type Callback = (error?: Error | null) => void

export async function startSmtpServer({ startTls = false, tls = false, password }: Options = {}) {
  const mails: Mail[] = []
  /** `AUTH` and `MAIL` commands, which a test counts. */
  const commands: string[] = []
  const logins = new Map<string, Mail['login']>()
  const sockets = new Set<Socket>()
  let connections = 0
  let misbehaviour: Misbehaviour = () => undefined

  /** Answers the step as usual, or misbehaves. Returns the misbehaviour. */
  function answer(step: string, { remotePort }: SMTPServerSession, callback: Callback) {
    const instead = misbehaviour(step)
    const [, status, message] = /^(\d{3}) (.*)$/s.exec(instead ?? '') ?? []
    if (instead === undefined) callback()
    else if (status) callback(Object.assign(new Error(message), { responseCode: Number(status) }))
    else if (instead === 'hang up')
      for (const socket of sockets) if (socket.remotePort === remotePort) socket.destroy()
    return instead
  }

  const smtp = new SMTPServer({
    key,
    cert,
    secure: tls,
    disabledCommands: [...(startTls ? [] : ['STARTTLS']), ...(password === undefined ? ['AUTH'] : [])],
    authOptional: true,
    allowInsecureAuth: true,
    disableReverseLookup: true,
    onConnect: (session, callback) => void answer('GREETING', session, callback),
    onAuth({ username: user = '', password: given = '' }, session, callback) {
      commands.push('AUTH')
      if (given !== password) return callback(new Error('Authentication credentials invalid'))
      logins.set(session.id, { user, password: given })
      callback(null, { user })
    },
    onMailFrom({ address }, _, callback) {
      commands.push(`MAIL ${address}`)
      callback()
    },
    onRcptTo: ({ address }, session, callback) => void answer(`RCPT ${address}`, session, callback),
    async onData(stream, session, callback) {
      if (misbehaviour('DATA') !== undefined) return void answer('DATA', session, callback)
      const message = (await text(stream)).replace(/\r\n$/, '')
      const { mailFrom, rcptTo } = session.envelope
      const refused = answer('MESSAGE', session, callback)
      // A client that gets no answer cannot know it, but the server has the mail.
      if (refused !== undefined && !/^(2|be silent|hang up)/.test(refused)) return
      mails.push({
        from: mailFrom ? mailFrom.address : '',
        to: rcptTo.map(({ address }) => address),
        message,
        login: logins.get(session.id),
        encrypted: session.secure,
      })
    },
  })
  // A client that rejects the certificate, or whose connection was destroyed.
  smtp.on('error', () => {})
  smtp.server.on('connection', (socket: Socket) => {
    connections += 1
    sockets.add(socket.on('close', () => sockets.delete(socket)))
  })
  const port = await listenOnLoopback(smtp.server)
  return {
    port,
    url: `${tls ? 'smtps' : 'smtp'}://127.0.0.1:${port}`,
    mails,
    commands,
    connections: () => connections,
    open: () => sockets.size,
    misbehave(next: Misbehaviour) {
      misbehaviour = next
    },
    async close() {
      const closed = new Promise<void>((resolve) => smtp.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
