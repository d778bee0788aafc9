import { ApiError } from '#kube';
import { ClrkError } from '#lib';
import { stringify } from 'yaml';
import { NAMESPACE_FLAG, type CommandContext, type CommandSpec } from '../command.ts';
import { explanationText, fetchExplanation } from '../explanation.ts';
import { outputOf } from '../objects.ts';
import { printable, printError } from '../output.ts';
import { targetOf } from '../target.ts';

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'tcp', 'udp'];
/** The question could not be answered; 1 would mean that the answer is no. */
const UNANSWERED = 2;

const agentOf = ({ args, flag }: CommandContext): { readonly namespace: string | undefined; readonly agent: string } => {
  const [first = '', second, ...more] = args[0]!.split('/');
  if (first === '' || second === '' || more.length > 0)
    throw new ClrkError('BadArgument', { what: `${printable(args[0]!)} is neither AGENT nor NAMESPACE/AGENT.`, fix: 'For example: default/summarizer' });
  if (second === undefined) return { namespace: flag('namespace'), agent: first };
  if (flag('namespace') !== undefined && flag('namespace') !== first)
    throw new ClrkError('BadArgument', {
      what: `${printable(args[0]!)} and -n ${printable(flag('namespace')!)} name two namespaces.`,
      fix: 'Leave one of them away.',
    });
  return { namespace: first, agent: second };
};

/** What the API says of a question is a sentence without its end. */
const explained = (error: unknown): unknown => {
  if (!(error instanceof ApiError) || (error.code !== 400 && error.code !== 404)) return error;
  // A server that does not have the resource says nothing of an agent.
  if (error.code === 404 && error.reason === '')
    return new ClrkError('ApiRefused', { what: 'The API server does not have `explain`; is it of another version?' });
  return new ClrkError('BadArgument', { what: `${error.message.replace(/\.$/, '')}.`, fix: 'See `clrk explain --help`.' });
};

const ask = async (context: CommandContext): Promise<number> => {
  const { io, global, args, flag } = context;
  const output = outputOf(context, ['json', 'yaml']);
  const { namespace, agent } = agentOf(context);
  const target = await targetOf(global, io);
  const message = { mcpMethod: flag('mcp-method'), tool: flag('tool'), resource: flag('resource') };
  const asked = { namespace: namespace ?? target.namespace, agent, method: args[1]!, to: args[2]!, sni: flag('sni'), model: flag('model'), ...message };
  const explanation = await fetchExplanation(target, asked);
  if (output === 'json') io.out(`${JSON.stringify(explanation, null, 2)}\n`);
  else if (output === 'yaml') io.out(stringify(explanation, { lineWidth: 0 }));
  else io.out(explanationText(io, explanation));
  return explanation.verdict === 'Allowed' ? 0 : 1;
};

export const explainCommand: CommandSpec = {
  path: ['explain'],
  summary: 'Say what the gateway would decide about a request or connection of an agent, and why',
  details:
    'METHOD and a URL (https, http, wss, ws) ask about a request; tcp or udp and HOST:PORT about a connection, where a client is assumed to speak cleartext\n' +
    'unless --sni says what its TLS hello names. Decided with the newest rules; a warning says where they are not in force yet. Nothing is sent. Each match\n' +
    'of a route that does not hold is listed with the reason and the field to change. Exit code: 0 allowed, 1 denied, 2 for a question without an answer.',
  args: [
    { name: 'AGENT', help: 'the agent, or NAMESPACE/AGENT', complete: 'placed-agent' },
    { name: 'METHOD', help: 'an HTTP method, tcp or udp', complete: METHODS },
    { name: 'URL', help: 'where to: a URL, or HOST:PORT for tcp and udp' },
  ],
  flags: [
    { name: 'sni', value: 'NAME', help: "server name of the TLS hello (default: the host of the URL); '' = TLS without one" },
    { name: 'model', value: 'MODEL', help: 'model that the request asks for' },
    { name: 'tool', value: 'NAME', help: 'tool of an MCP server that is called' },
    { name: 'resource', value: 'URI', help: 'resource of an MCP server that is read' },
    {
      name: 'mcp-method',
      value: 'METHOD',
      help: 'JSON-RPC method that is sent to an MCP server (default: tools/call with --tool, resources/read with --resource, else initialize)',
    },
    { name: 'output', short: 'o', value: 'FORMAT', help: 'json or yaml', complete: ['json', 'yaml'] },
    NAMESPACE_FLAG,
  ],
  examples: [
    'clrk explain summarizer POST https://api.openai.com/v1/chat/completions --model gpt-4.1-mini',
    'clrk explain summarizer POST https://mcp.example.com/mcp --tool search',
    'clrk explain finance/reporter tcp db.example.com:5432',
    'clrk explain finance/reporter tcp 10.40.0.5:443 --sni db.example.com',
    "clrk explain finance/reporter udp '[2001:db8::53]:53' -o json",
  ],
  run: async (context) => {
    try {
      return await ask(context);
    } catch (error) {
      printError(context.io, explained(error));
      return UNANSWERED;
    }
  },
};
