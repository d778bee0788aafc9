import { get, labelValueErrors, qualifiedNameErrors, type JsonObject } from '#admission';
import { badRequest } from './status.ts';

/**
 * Label selectors. Grammar and messages: k8s.io/apimachinery, labels/selector.go.
 * Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
 */

export type LabelMatch = (labels: JsonObject) => boolean;

const SYMBOLS = ['==', '!=', '=', '!', '(', ')', ',', '>', '<'] as const;
const OPERATORS = ['=', '==', '!=', 'in', 'notin', '>', '<'];
const OPERATOR_NAMES = 'in, notin, =, ==, !=, gt, lt';

interface Token {
  readonly text: string;
  readonly symbol: boolean;
}
const END: Token = { text: '', symbol: true };

/** Words and symbols; whatever is neither white space nor a symbol is part of a word. */
const tokensOf = (text: string): Token[] => {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length;) {
    if (/\s/.test(text[at]!)) {
      at++;
      continue;
    }
    const symbol = SYMBOLS.find((candidate) => text.startsWith(candidate, at));
    const word = symbol ? '' : /^[^\s=!(),<>]+/.exec(text.slice(at))![0];
    tokens.push(symbol ? { text: symbol, symbol: true } : { text: word, symbol: false });
    at += (symbol ?? word).length;
  }
  return tokens;
};

const found = (token: Token): string => `found '${token.text}'`;
const requirement = (why: string): Error => badRequest(`unable to parse requirement: ${why}`);

class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(text: string) {
    this.#tokens = tokensOf(text);
  }

  parse(): LabelMatch[] {
    const tests: LabelMatch[] = [];
    for (let next = this.#peek(); next !== END; next = this.#peek()) {
      if (next.symbol && next.text !== '!') throw badRequest(`${found(next)}, expected: !, identifier, or 'end of string'`);
      tests.push(this.#requirement());
      const after = this.#take();
      if (after === END) break;
      if (after.text !== ',' || !after.symbol) throw badRequest(`${found(after)}, expected: ',' or 'end of string'`);
      const following = this.#peek();
      if (following.symbol && following.text !== '!') throw badRequest(`${found(following)}, expected: identifier after ','`);
    }
    return tests;
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? END;
  }

  #take(): Token {
    return this.#tokens[this.#at++] ?? END;
  }

  #requirement(): LabelMatch {
    const absent = this.#peek().text === '!' && this.#peek().symbol;
    if (absent) this.#take();
    const key = this.#take();
    if (key.symbol) throw requirement(`${found(key)}, expected: identifier`);
    const bad = qualifiedNameErrors(key.text)[0];
    if (bad) throw requirement(`<nil>: Invalid value: ${JSON.stringify(key.text)}: ${bad}`);
    const value = (labels: JsonObject): unknown => get(labels, key.text);
    if (absent) return (labels) => value(labels) === undefined;
    const next = this.#peek();
    if (next === END || (next.symbol && next.text === ',')) return (labels) => value(labels) !== undefined;
    const { text: operator } = this.#take();
    if (!OPERATORS.includes(operator)) throw requirement(`found '${operator}', expected: ${OPERATOR_NAMES}`);
    if (operator === 'in' || operator === 'notin') {
      const wanted = new Set<unknown>(this.#values(key.text));
      return (labels) => wanted.has(value(labels)) === (operator === 'in');
    }
    const wanted = this.#value(key.text);
    if (operator === '!=') return (labels) => value(labels) !== wanted;
    if (operator !== '>' && operator !== '<') return (labels) => value(labels) === wanted;
    if (!/^[+-]?\d+$/.test(wanted))
      throw requirement(`values[0][${key.text}]: Invalid value: ${JSON.stringify(wanted)}: for 'Gt', 'Lt' operators, the value must be an integer`);
    return (labels) => {
      const own = value(labels);
      if (typeof own !== 'string' || !/^[+-]?\d+$/.test(own)) return false;
      return operator === '>' ? BigInt(own) > BigInt(wanted) : BigInt(own) < BigInt(wanted);
    };
  }

  #checked(value: string, key: string, index: number): string {
    const bad = labelValueErrors(value)[0];
    if (bad) throw requirement(`values[${index}][${key}]: Invalid value: ${JSON.stringify(value)}: ${bad}`);
    return value;
  }

  /** One value; none at all is empty text. */
  #value(key: string): string {
    const next = this.#peek();
    if (next === END || (next.symbol && next.text === ',')) return '';
    const token = this.#take();
    if (token.symbol) throw requirement(`${found(token)}, expected: identifier`);
    return this.#checked(token.text, key, 0);
  }

  #values(key: string): string[] {
    const open = this.#take();
    if (open.text !== '(') throw requirement(`${found(open)} expected: '('`);
    const values: string[] = [];
    for (let wanting = true; ;) {
      const token = this.#take();
      if (!token.symbol) {
        if (!wanting) throw requirement(`${found(token)}, expected: ',' or ')'`);
        values.push(this.#checked(token.text, key, values.length));
        wanting = false;
      } else if (token.text === ',' || token.text === ')') {
        if (wanting) values.push('');
        if (token.text === ')') return values;
        wanting = true;
      } else throw requirement(`${found(token)}, expected: ',' or ')'`);
    }
  }
}

/** Throws StatusError 400. */
export const parseLabelSelector = (text: string): LabelMatch => {
  const tests = new Parser(text).parse();
  return (labels) => tests.every((test) => test(labels));
};
