import { RE2JS } from '@bufbuild/re2';
import { messageOf } from './errors.ts';

/** A regular expression of RE2 (https://github.com/google/re2/wiki/Syntax): linear in its input, whatever the pattern. */
export interface Pattern {
  /** Whether the pattern is found anywhere in the text. */
  test(text: string): boolean;
}

/** Compiles a pattern; a text that is none gives the reason instead. */
export const compilePattern = (pattern: string): Pattern | { readonly invalid: string } => {
  try {
    const compiled = RE2JS.compile(pattern);
    return { test: (text) => compiled.test(text) };
  } catch (error) {
    return { invalid: messageOf(error) };
  }
};
