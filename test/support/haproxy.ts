/** Starts HAProxy with `deploy/haproxy/task-api.cfg` for two instances of the API. */
import { deployed, startFrontEnd } from './front-end.ts'

/** @param upstreams the base URLs of both */
export function startHaproxy(...upstreams: [string, string]) {
  const [a, b] = upstreams.map((url) => new URL(url).host)
  return startFrontEnd(
    'haproxy',
    ({ port }) =>
      deployed('haproxy/task-api.cfg', {
        'bind *:80': `bind 127.0.0.1:${port}`,
        'server a 127.0.0.1:3000': `server a ${a}`,
        'server b 127.0.0.1:3010': `server b ${b}`,
      }),
    (configuration) => ['-db', '-f', configuration],
  )
}
