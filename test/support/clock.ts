/**
 * A clock that tests set, for API processes on Node. It is no setting of the API: Node preloads it into the
 * process.
 */
import { rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { root, temporaryDirectory } from './directories.ts'
import { listenOnLoopback } from './ports.ts'

/** @param stoppedAt milliseconds at which it stands; it runs until it is set if absent */
export async function startClock(stoppedAt?: number) {
  const directory = await temporaryDirectory()
  const file = join(directory, 'now')
  if (stoppedAt !== undefined) await writeFile(file, String(stoppedAt))
  const server = createServer(async (request, response) => {
    // A process never reads half of the text.
    await writeFile(`${file}.new`, await text(request))
    await rename(`${file}.new`, file)
    response.end()
  })
  return {
    url: `http://127.0.0.1:${await listenOnLoopback(server)}`,
    environment: {
      NODE_OPTIONS: `--import=${join(root, 'test/support/stopped-clock.mjs')}`,
      CLOCK_FILE: file,
    },
    async close() {
      server.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
