/** Conditional requests of a client whose answers a proxy compresses. */
import { expect, test } from 'vitest'
import { startApache } from '../support/apache.ts'
import { createClient, taskPath } from '../support/client.ts'
import { startNginx } from '../support/nginx.ts'
import { createService } from '../support/processes.ts'

const cases = [
  { name: 'nginx', start: startNginx, accepted: 'gzip', form: /^W\/"[\d.]+"$/ },
  { name: 'Apache', start: startApache, accepted: 'gzip', form: /^"[\d.]+-gzip"$/ },
  { name: 'Apache', start: startApache, accepted: 'br, gzip', form: /^"[\d.]+-br"$/ },
]

test.for(cases)(
  '$name, encoding $accepted: a tag from a compressed answer works in preconditions',
  async (front, context) => {
    const service = await createService(context)
    const api = await service.start()
    const proxy = await front.start(api.baseUrl)
    context.onTestFinished(proxy.stop)
    const { request, register, createTask } = createClient({ ...api, baseUrl: proxy.baseUrl })
    const { token } = await register()
    const task = await createTask(token, { title: 'Buy milk', description: 'x'.repeat(2000) })
    const send = (method: string, headers: Record<string, string>, json?: object) =>
      request(method, taskPath(task), {
        token,
        json,
        headers: { 'Accept-Encoding': front.accepted, ...headers },
      })
    const etagOf = ({ headers }: Awaited<ReturnType<typeof send>>) => headers.get('ETag') ?? ''

    const read = await send('GET', {})
    const etag = etagOf(read)
    expect(read.body).toEqual(task)
    expect(read.headers.get('Content-Encoding')).toMatch(/^(gzip|br)$/)
    // The proxy has changed the tag.
    expect(etag).toMatch(front.form)

    for (const method of ['GET', 'HEAD']) {
      const { status, body } = await send(method, { 'If-None-Match': etag })
      expect([method, status, body]).toEqual([method, 304, ''])
    }
    expect((await send('GET', { 'If-Match': etag })).status).toBe(200)

    const changed = await send('PATCH', { 'If-Match': etag }, { status: 'completed' })
    expect([changed.status, changed.body.status]).toEqual([200, 'completed'])
    expect(etagOf(changed)).not.toBe(etag)
    expect((await send('GET', { 'If-None-Match': etag })).status).toBe(200)

    // A refusal has the current tag.
    const refused = await send('PATCH', { 'If-Match': etag }, { title: 'Buy oat milk' })
    expect(refused.status).toBe(412)
    const retried = await send('PATCH', { 'If-Match': etagOf(refused) }, { title: 'Buy oat milk' })
    expect([retried.status, retried.body.title]).toEqual([200, 'Buy oat milk'])
    expect((await send('DELETE', { 'If-Match': etagOf(retried) })).status).toBe(204)
  },
)
