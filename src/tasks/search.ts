/** The search parameter of lists. Postgres folds its words and the tasks' text alike. */
import { text } from '../http/text.ts'
import { filter } from '../resource/list.ts'

/** White space by Unicode, and U+FEFF, which JavaScript adds. A word without a letter is left out. */
const wordsOf = (search: string) =>
  search.split(/[\s\p{White_Space}]+/u).filter((word) => /[^\p{M} ]/u.test(word.normalize('NFKD')))

/** Undefined for a search without words. */
const Search = text({ maximum: 100 })
  .transform((value) => (wordsOf(value).length > 0 ? value : undefined))
  .describe('Words that title and description together contain; case, accents and Unicode forms are ignored')

/**
 * True where no word is missing. Words and text are compared literally. `strpos` is the fastest for ordinary
 * text, but takes the product of both lengths for text such as `aaaa…`: so it looks for the start of a word
 * only, and a regular expression, linear in the text, for all of it. The start of the longest word comes
 * first, as few tasks have it.
 */
export const search = filter(Search, (search, add) => {
  const folded = `coalesce(t.search_text, fold_text(concat_ws(E'\\n', t.title, t.description)))`
  // A subquery without columns of the task is evaluated once.
  const words = `(select search_words(${add(wordsOf(search ?? '').join('\n'))}))`
  return `strpos(${folded}, (select coalesce(left(${words}[1], 8), ''))) > 0
    and not exists (
      select from (select ${folded} || '' as folded offset 0) read_once, unnest(${words}) word
      where strpos(folded, left(word, 8)) = 0 or length(word) > 8 and folded !~ ('***=' || word))`
})
