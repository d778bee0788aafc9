const STAR = Symbol('*');
/** A string stands for itself. */
type Token = typeof STAR | string | ((char: string) => boolean);

interface Glob {
  readonly tokens: readonly Token[];
  /** What stands for itself before and after all the rest. */
  readonly head: string;
  readonly tail: string;
  /** What is between them: nothing, any text, or what only its tokens say. */
  readonly between: 'nothing' | 'any' | 'tokens';
}

/** A way to read patterns: whether a slash is like any other character. */
interface Reading {
  readonly crosses: boolean;
  readonly cache: Map<string, Glob>;
}
const PATHS: Reading = { crosses: false, cache: new Map() };
const TEXTS: Reading = { crosses: true, cache: new Map() };

/**
 * Whether `text` matches a shell-style pattern: `*` and `?` do not cross `/`, `[a-z]` and `[^a-z]` are classes, `\` escapes.
 * Patterns and texts come from people and agents, so this is not a regular expression: time is at most pattern x text.
 */
export const globMatch = (pattern: string, text: string): boolean => fits(PATHS, pattern, text);

/** The same, in texts in which `/` is a character like any other: `*` and `?` stand for it, too, and so do classes. */
export const textMatch = (pattern: string, text: string): boolean => fits(TEXTS, pattern, text);

const fits = (reading: Reading, pattern: string, text: string): boolean => {
  const { tokens, head, tail, between } = globOf(reading, pattern);
  // Most patterns are decided here, and texts can be long.
  if (!text.startsWith(head) || !text.endsWith(tail)) return false;
  if (between === 'nothing') return text.length === head.length;
  return between === 'any' ? text.length >= head.length + tail.length : matches(tokens, [...text], reading.crosses);
};

const globOf = ({ crosses, cache }: Reading, pattern: string): Glob => {
  let glob = cache.get(pattern);
  if (!glob) {
    if (cache.size > 10_000) cache.clear();
    const tokens = parse([...pattern], crosses);
    const isLiteral = (token: Token): token is string => typeof token === 'string';
    const from = tokens.findIndex((token) => !isLiteral(token));
    const to = tokens.findLastIndex((token) => !isLiteral(token));
    const [head, tail] = from < 0 ? [tokens, []] : [tokens.slice(0, from), tokens.slice(to + 1)];
    const between = from < 0 ? 'nothing' : crosses && from === to && tokens[from] === STAR ? 'any' : 'tokens';
    cache.set(pattern, (glob = { tokens, head: head.filter(isLiteral).join(''), tail: tail.filter(isLiteral).join(''), between }));
  }
  return glob;
};

const isOne = (token: Token | undefined, char: string): boolean =>
  typeof token === 'string' ? token === char : typeof token === 'function' ? token(char) : false;

/** Greedy, returning to the last star only: enough because either every star crosses `/` or none does, so what came before the last one stays right. */
const matches = (tokens: readonly Token[], text: readonly string[], crosses: boolean): boolean => {
  let t = 0;
  let star = -1;
  let resume = 0;
  for (let i = 0; i < text.length || t < tokens.length;) {
    const token = tokens[t];
    if (token === STAR) {
      star = t++;
      resume = i;
    } else if (i < text.length && isOne(token, text[i]!)) {
      t++;
      i++;
    } else if (star >= 0 && resume < text.length && (crosses || text[resume] !== '/')) {
      i = ++resume;
      t = star + 1;
    } else return false;
  }
  return true;
};

const parse = (pattern: readonly string[], crosses: boolean): Token[] => {
  const tokens: Token[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    const end = char === '[' ? pattern.indexOf(']', i + 2) : -1;
    if (char === '*') {
      if (tokens.at(-1) !== STAR) tokens.push(STAR);
    } else if (char === '?') tokens.push((c) => crosses || c !== '/');
    else if (char === '\\' && i + 1 < pattern.length) tokens.push(pattern[++i]!);
    else if (end > 0) {
      tokens.push(classOf(pattern.slice(i + 1, end), crosses));
      i = end;
    } else tokens.push(char);
  }
  return tokens;
};

const classOf = (body: readonly string[], crosses: boolean): ((char: string) => boolean) => {
  const negated = body.length > 1 && (body[0] === '^' || body[0] === '!');
  const items = negated ? body.slice(1) : body;
  const ranges: [string, string][] = [];
  for (let i = 0; i < items.length; i++) {
    const range = items[i + 1] === '-' && items[i + 2] !== undefined;
    ranges.push([items[i]!, range ? items[i + 2]! : items[i]!]);
    if (range) i += 2;
  }
  return (char) => (crosses || char !== '/') && ranges.some(([from, to]) => char >= from && char <= to) !== negated;
};
