/** The files of the reference page, out of a folder: for runtimes that have one. */
import { serveStatic } from '@hono/node-server/serve-static'
import type { MiddlewareHandler } from 'hono'

/** @param root the folder `public` that the build makes */
export function serveReferencePage(root: string): MiddlewareHandler {
  const files = serveStatic({
    root,
    rewriteRequestPath: (path) => (path === '/docs' ? '/docs.html' : path),
  })
  return (c, next) => {
    // Parts of a file are nobody's need here; a server may ignore the wish for them (RFC 9110 section 14.2).
    c.req.raw.headers.delete('Range')
    return files(c, next)
  }
}
