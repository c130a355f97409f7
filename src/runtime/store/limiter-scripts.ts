/**
 * The two scripts of @upstash/ratelimit 2.2.0 that a sliding window runs, by SHA-1. They begin with a line
 * that only Upstash's own servers accept (`#!lua flags=allow-key-locking`). A stock Redis gets them without
 * it, under another hash.
 */
export const limitScript = {
  published: '74740bb3d7792848093cdef586b6b6037c455fd6',
  stock: '433177fc5bbe571478bf6dff0c2bdc6e3d0a69be',
}
export const remainingScript = {
  published: '7ca36169e0fc9caedd81b4eef8e99854c157f9b5',
  stock: '209adfca45d535f9fb918f647c11237a97300b8e',
}

export const stockHash = (sha: string) =>
  [limitScript, remainingScript].find(({ published }) => published === sha)?.stock ?? sha
export const stockScript = (script: string) => script.replace(/^#!lua[^\n]*\n/, '')
