type Token = '*' | ((char: string) => boolean);

const cache = new Map<string, readonly Token[]>();

/**
 * Whether `text` matches a shell-style pattern: `*` and `?` do not cross `/`, `[a-z]` and `[^a-z]` are classes, `\` escapes.
 * Patterns and texts come from people and agents, so this is not a regular expression: time is at most pattern x text.
 */
export const globMatch = (pattern: string, text: string): boolean => matches(tokensOf(pattern), [...text]);

/** The same, in texts in which `/` is a character like any other: `*` and `?` stand for it, too, and so do classes. */
export const textMatch = (pattern: string, text: string): boolean => matches(tokensOf(pattern.replaceAll('/', SLASH)), [...text.replaceAll('/', SLASH)]);

/** In place of a slash: nobody writes it, and it is no other character's neighbour (U+10FFFF). */
const SLASH = '\u{10ffff}';

const tokensOf = (pattern: string): readonly Token[] => {
  let tokens = cache.get(pattern);
  if (!tokens) {
    if (cache.size > 10_000) cache.clear();
    tokens = parse([...pattern]);
    cache.set(pattern, tokens);
  }
  return tokens;
};

/** Greedy, returning to the last star only: enough because no star crosses `/`, so what came before the last one stays right. */
const matches = (tokens: readonly Token[], text: readonly string[]): boolean => {
  let t = 0;
  let star = -1;
  let resume = 0;
  for (let i = 0; i < text.length || t < tokens.length;) {
    const token = tokens[t];
    if (token === '*') {
      star = t++;
      resume = i;
    } else if (token !== undefined && i < text.length && token(text[i]!)) {
      t++;
      i++;
    } else if (star >= 0 && resume < text.length && text[resume] !== '/') {
      i = ++resume;
      t = star + 1;
    } else return false;
  }
  return true;
};

const parse = (pattern: readonly string[]): Token[] => {
  const tokens: Token[] = [];
  const literal = (char: string): void => void tokens.push((c) => c === char);
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    const end = char === '[' ? pattern.indexOf(']', i + 2) : -1;
    if (char === '*') {
      if (tokens.at(-1) !== '*') tokens.push('*');
    } else if (char === '?') tokens.push((c) => c !== '/');
    else if (char === '\\' && i + 1 < pattern.length) literal(pattern[++i]!);
    else if (end > 0) {
      tokens.push(classOf(pattern.slice(i + 1, end)));
      i = end;
    } else literal(char);
  }
  return tokens;
};

const classOf = (body: readonly string[]): ((char: string) => boolean) => {
  const negated = body.length > 1 && (body[0] === '^' || body[0] === '!');
  const items = negated ? body.slice(1) : body;
  const ranges: [string, string][] = [];
  for (let i = 0; i < items.length; i++) {
    const range = items[i + 1] === '-' && items[i + 2] !== undefined;
    ranges.push([items[i]!, range ? items[i + 2]! : items[i]!]);
    if (range) i += 2;
  }
  return (char) => char !== '/' && ranges.some(([from, to]) => char >= from && char <= to) !== negated;
};
