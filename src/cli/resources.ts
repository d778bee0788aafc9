import { invocations, KINDS, type Kind } from '#api';
import type { Client, ResourceKind } from '#kube';
import { ClrkError, nearest } from '#lib';

/** Kinds as people name them: `taskagents`, `taskagent`, `ta`, `TaskAgent`, `taskagents.clrk.apoxy.dev`. */

/** Every kind clrk serves; a word means the first that has it. */
export const KNOWN: readonly Kind[] = [...KINDS, invocations as unknown as Kind];

const wordsOf = ({ group, plural, singular, shortNames }: Pick<Kind, 'group' | 'plural' | 'singular' | 'shortNames'>): string[] =>
  [plural, singular, ...shortNames].flatMap((word) => [word, ...(group ? [`${word}.${group}`] : [])]);

const byWord = new Map<string, Kind>();
for (const kind of KNOWN) for (const word of wordsOf(kind)) if (!byWord.has(word)) byWord.set(word, kind);

interface Discovered {
  readonly items: readonly {
    readonly metadata?: { readonly name?: string };
    readonly versions: readonly {
      readonly version: string;
      readonly resources: readonly {
        readonly resource: string;
        readonly responseKind?: { readonly kind: string };
        readonly scope: string;
        readonly singularResource: string;
        readonly shortNames?: readonly string[];
      }[];
    }[];
  }[];
}

const AGGREGATED = { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' };

/** What else the server has, for words that clrk does not know. */
const discover = async (client: Client, word: string): Promise<ResourceKind | undefined> => {
  for (const path of ['/api', '/apis']) {
    const { items = [] } = await client.json<Partial<Discovered>>('GET', path, { headers: AGGREGATED });
    for (const { metadata, versions } of items) {
      const group = metadata?.name ?? '';
      const [preferred] = versions;
      for (const { resource, responseKind, scope, singularResource, shortNames = [] } of preferred?.resources ?? []) {
        if (!responseKind || !wordsOf({ group, plural: resource, singular: singularResource, shortNames }).includes(word)) continue;
        return { group, version: preferred!.version, kind: responseKind.kind, plural: resource, namespaced: scope === 'Namespaced' };
      }
    }
  }
  return undefined;
};

/** Throws BadArgument for a word that no kind has. */
export const resourceOf = async (client: Client, word: string): Promise<ResourceKind> => {
  const lower = word.toLowerCase();
  const found = byWord.get(lower) ?? (await discover(client, lower));
  if (found) return found;
  const meant = nearest(lower, byWord.keys());
  throw new ClrkError('BadArgument', {
    what: `There is no kind ${word}.`,
    fix: meant ? `Did you mean ${meant}?` : `Kinds of clrk: ${[...new Set(KNOWN.map(({ plural }) => plural))].join(', ')}.`,
  });
};

export interface Selection {
  readonly kind: ResourceKind;
  /** Empty = all of them. */
  readonly names: readonly string[];
}

/** `KIND[,KIND] [NAME...]` or `KIND/NAME...`. Throws BadArgument. */
export const selectionsOf = async (client: Client, args: readonly string[], command: string): Promise<Selection[]> => {
  const [first, ...names] = args;
  if (first === undefined) throw new ClrkError('BadArgument', { what: `${command} needs a kind.`, fix: `For example: ${command} taskagents` });
  if (args.some((arg) => arg.includes('/'))) {
    return Promise.all(
      args.map(async (arg) => {
        const [word = '', name = '', ...more] = arg.split('/');
        if (word === '' || name === '' || more.length > 0)
          throw new ClrkError('BadArgument', { what: `${arg} is not KIND/NAME.`, fix: `For example: ${command} taskagent/summarizer` });
        return { kind: await resourceOf(client, word), names: [name] };
      }),
    );
  }
  const words = first === 'all' ? KNOWN.filter(({ native }) => !native).map(({ plural, group }) => `${plural}.${group}`) : first.split(',').filter(Boolean);
  if (words.length > 1 && names.length > 0)
    throw new ClrkError('BadArgument', { what: 'Names can be given for one kind only.', fix: `For example: ${command} taskagent/a workerpool/b` });
  return Promise.all(words.map(async (word) => ({ kind: await resourceOf(client, word), names })));
};
