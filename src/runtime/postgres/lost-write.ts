import type { Logger } from '../../core/log.ts'

/**
 * postgres.js 3.4.9 throws out of nowhere when a statement of a transaction meets a connection that has just gone: it writes
 * to a socket that is null by then. Nothing waits for that write but the statement itself, which its own deadline ends;
 * any other error that nobody has caught still ends the process.
 */
export function surviveLostWrites(log: Logger) {
  process.on('uncaughtException', (error) => {
    // Its file is not asked for: in a bundle it is the bundle.
    const lost = error instanceof TypeError && /^ *at Immediate\.nextWrite /m.test(error.stack ?? '')
    log[lost ? 'warn' : 'error'](lost ? 'a connection went in mid-transaction' : 'crashed', {
      error: error.message,
      ...(lost ? {} : { stack: error.stack }),
    })
    if (!lost) process.exit(1)
  })
}
