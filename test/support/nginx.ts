/** Starts nginx with `deploy/nginx/task-api.conf` and defaults. */
import { deployed, isRoot, startFrontEnd } from './front-end.ts'

const temporaryPaths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

/** @param upstreams the API's base URLs, one or several */
export function startNginx(...upstreams: string[]) {
  return startFrontEnd(
    'nginx',
    async ({ directory, port }) => {
      const site = await deployed('nginx/task-api.conf', {
        'listen 80;': `listen 127.0.0.1:${port};`,
        'server 127.0.0.1:3000 max_fails=0;': upstreams
          .map((url) => `server ${new URL(url).host} max_fails=0;`)
          .join(' '),
      })
      return `
daemon off;
${isRoot ? 'user root;' : ''}
pid ${directory}/pid;
error_log stderr;
events {}
http {
  access_log off;
  ${temporaryPaths.map((name) => `${name}_temp_path ${directory}/${name};`).join('\n  ')}
  ${site}
}`
    },
    (configuration) => ['-e', 'stderr', '-c', configuration],
  )
}
