/** Starts Apache with `deploy/apache/task-api.conf`. */
import { deployed, startFrontEnd } from './front-end.ts'

const modules = ['mpm_event', 'authz_core', 'filter', 'deflate', 'brotli', 'proxy', 'proxy_http']

/** @param upstream the API's base URL */
export function startApache(upstream: string) {
  return startFrontEnd(
    'apache2',
    async ({ directory, port }) => {
      const site = await deployed('apache/task-api.conf', {
        '*:80': `127.0.0.1:${port}`,
        'http://127.0.0.1:3000': new URL(upstream).origin,
      })
      return `
ServerName localhost
Listen 127.0.0.1:${port}
User www-data
Group www-data
PidFile ${directory}/pid
DefaultRuntimeDir ${directory}
ErrorLog "|/bin/sh -c 'cat >&2'"
${modules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
${site}`
    },
    (configuration) => ['-D', 'FOREGROUND', '-f', configuration],
  )
}
