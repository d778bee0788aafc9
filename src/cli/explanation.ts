import type { Target } from './target.ts';
import { indented, paint, printable, type Io } from './output.ts';
import { detailLines } from './details.ts';

/** What the runtime API says a gateway would decide. */
export interface Explanation {
  readonly agent: string;
  readonly asked: string;
  readonly verdict: 'Allowed' | 'Denied';
  readonly reason: string;
  readonly message: string;
  readonly status: number;
  readonly sees: string;
  readonly gateway: string;
  readonly steps: readonly string[];
  readonly listener: string;
  readonly handling: string;
  readonly route: string;
  readonly rule: number;
  readonly policies: readonly string[];
  readonly ranges: readonly string[];
  readonly revision: string;
  readonly inForce: boolean;
  readonly warnings: readonly string[];
  readonly misses: readonly {
    readonly gateway: string;
    readonly route: string;
    readonly rule: number;
    readonly match: number;
    readonly why: string;
  }[];
}

export interface Asked {
  readonly namespace: string;
  readonly agent: string;
  /** A method, or `tcp` or `udp`. */
  readonly method: string;
  /** A URL, or `HOST:PORT`. */
  readonly to: string;
  readonly sni: string | undefined;
  readonly model: string | undefined;
  readonly mcpMethod: string | undefined;
  readonly tool: string | undefined;
  readonly resource: string | undefined;
}

export const fetchExplanation = ({ client }: Target, { namespace, agent, method, to, ...more }: Asked): Promise<Explanation> => {
  const isConnection = /^(?:tcp|udp)$/i.test(method);
  const query = new URLSearchParams(isConnection ? { protocol: method, destination: to } : { method, url: to });
  for (const [name, value] of Object.entries(more)) if (value !== undefined) query.set(name, value);
  const path = `/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/${encodeURIComponent(namespace)}/explain/${encodeURIComponent(agent)}`;
  return client.json<Explanation>('GET', `${path}?${query.toString()}`);
};

const listenerOf = ({ listener, handling }: Explanation): string => (listener ? `${listener} (${handling})` : 'none');

/** One match to a block, because its reason is a sentence or two. */
const missText = (io: Io, { misses, gateway }: Explanation): string =>
  misses
    .map((miss) => {
      const where = [miss.route, miss.rule < 0 ? '' : `rule ${miss.rule}`, miss.match < 0 ? '' : `match ${miss.match}`].filter(Boolean).join(', ');
      // The one gateway goes without saying.
      return `${paint(io, 'bold', printable(where))}${miss.gateway === gateway ? '' : ` (gateway ${printable(miss.gateway)})`}\n  ${printable(miss.why)}\n`;
    })
    .join('');

/** An explanation for people: the verdict first, then what it is made of. */
export const explanationText = (io: Io, explanation: Explanation): string => {
  const { verdict, reason, message, agent, asked, sees, gateway, steps, route, rule, policies, revision, inForce, warnings } = explanation;
  const head = `${paint(io, verdict === 'Allowed' ? 'green' : 'red', verdict)}, ${printable(reason)}: ${printable(message)}\n`;
  const facts = detailLines([
    ['Agent', agent],
    ['Asked', asked],
    ['The agent sees', sees],
    ['Gateway', gateway || 'none'],
    ['Listener', listenerOf(explanation)],
    ['Route', route ? `${route}${rule < 0 ? '' : `, rule ${rule}`}` : 'none'],
    ['Policies', policies.join(', ') || 'none'],
    ['Revision', revision && `${revision}, ${inForce ? 'in force on every worker' : 'not in force everywhere'}`],
  ]);
  const notes = warnings.map((warning) => `${paint(io, 'yellow', 'Warning:')} ${printable(warning)}\n`).join('');
  const way = steps.length > 0 ? `\nHow it got there:\n${indented(steps.map((step) => `${printable(step)}\n`).join(''))}` : '';
  const missed = explanation.misses.length > 0 ? `\nWhat did not match, the nearest miss first:\n${indented(missText(io, explanation))}` : '';
  return `${head}${facts}${notes}${way}${missed}`;
};
