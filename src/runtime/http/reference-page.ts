/** Serves the files of the reference page from a folder, on runtimes with a file system. */
import { serveStatic } from '@hono/node-server/serve-static'
import type { MiddlewareHandler } from 'hono'

/** @param root the folder `public` of the build */
export function serveReferencePage(root: string): MiddlewareHandler {
  const files = serveStatic({
    root,
    rewriteRequestPath: (path) => (path === '/docs' ? '/docs.html' : path),
  })
  return (c, next) => {
    // A server may ignore Range (RFC 9110 section 14.2), which nobody needs for files this small.
    c.req.raw.headers.delete('Range')
    return files(c, next)
  }
}
