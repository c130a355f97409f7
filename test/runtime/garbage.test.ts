/** Memory that an answered request keeps until a full garbage collection. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { atOnce, createClient, taskPath } from '../support/client.ts'
import { root, temporaryDirectory } from '../support/directories.ts'
import { createService, type Line } from '../support/processes.ts'

const [warmUp, counted] = [2000, 4000]
const addressHeader = 'X-Forwarded-For'

/** Bytes that collections of the young generation have moved to old space. */
const promotedBytes = (lines: Line[]) =>
  lines.reduce((sum, { text = '' }) => sum + Number(/ gc=s .* promoted=(\d+)/.exec(text)?.[1] ?? 0), 0)

test('a list and a look-up promote less than 1 KB a request', async (context) => {
  const { settings, dataDirectory, startProgram } = await createService(context)
  const { lines, line } = startProgram(
    [process.execPath, '--trace-gc-nvp', '--enable-source-maps', join(root, 'dist/api.js')],
    { environment: { ...settings, PORT: '0', DATA_DIR: dataDirectory, CACHE: 'off' } },
  )
  const baseUrl = String((await line(({ message }) => message === 'listening')).url)
  const client = createClient({ baseUrl, addressHeader })
  const { token } = await client.register()
  const [task] = await atOnce(20, () => client.createTask(token, { description: 'd'.repeat(200) }))

  const request = async (path: string, times: number) => {
    await atOnce(10, async () => {
      for (let n = 0; n < times / 10; n++)
        expect((await client.request('GET', path, { token })).status).toBe(200)
    })
    return promotedBytes(lines)
  }
  for (const path of ['/api/tasks/?status=pending', taskPath(task ?? { id: 0 })]) {
    const before = await request(path, warmUp)
    const after = await request(path, counted)
    expect(after).toBeGreaterThan(0)
    expect((after - before) / counted).toBeLessThan(1024)
  }
})

test('a build fails when postgres.js no longer has the lines that it mends', async ({ onTestFinished }) => {
  const directory = await temporaryDirectory()
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const { patchPostgres } = await import(join(root, 'scripts/patch-postgres.mjs'))
  const source = join(directory, 'node_modules/postgres/src')
  await mkdir(source, { recursive: true })
  await writeFile(join(source, 'query.js'), 'this.resolve = x => resolve(x)')
  const options = { entryPoints: [join(source, 'query.js')], plugins: [patchPostgres], write: false }
  await expect(build({ ...options, logLevel: 'silent' })).rejects.toThrow('see whether it still needs to')
})
