const cache = new Map<string, RegExp>();

/**
 * Whether `text` matches a shell-style pattern: `*` and `?` do not cross `/`, `[a-z]` and `[^a-z]` are classes, `\` escapes.
 * The translation has no nested repetition, so matching is linear in practice for any pattern.
 */
export const globMatch = (pattern: string, text: string): boolean => {
  let compiled = cache.get(pattern);
  if (!compiled) {
    if (cache.size > 10_000) cache.clear();
    compiled = compile(pattern);
    cache.set(pattern, compiled);
  }
  return compiled.test(text);
};

const compile = (pattern: string): RegExp => {
  let out = '';
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i]!;
    if (c === '*') {
      while (pattern[i + 1] === '*') i++;
      out += '[^/]*';
    } else if (c === '?') out += '[^/]';
    else if (c === '\\' && i + 1 < pattern.length) out += RegExp.escape(pattern[++i]!);
    else if (c === '[') {
      const end = pattern.indexOf(']', i + 2);
      if (end < 0) out += '\\[';
      else {
        const negated = /[!^]/.test(pattern[i + 1]!);
        const body = pattern.slice(i + (negated ? 2 : 1), end).replace(/[\\\]^]/g, '\\$&');
        out += `[${negated ? '^' : ''}${body}]`;
        i = end;
      }
    } else out += RegExp.escape(c);
  }
  return new RegExp(`^${out}$`, 'u');
};
