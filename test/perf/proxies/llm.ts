import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { spawnChild } from '#lib';
import { ensureLitellm, ensurePortkey } from '../tools.ts';
import { proxyOf, withHosts, type Proxy, type ProxyOptions } from './proxy.ts';

/**
 * LLM gateways other than ours. Their clients speak plain HTTP to them, and choose the upstream by model or header; everything
 * they can leave out is left out: no database, no budget, no record of requests.
 */

/** A model that `LiteLLM` has at another name than the provider's: the upstream that streams slowly. */
export const STREAMED_MODEL = 'gpt-4.1-mini-streamed';

/** Source: https://docs.litellm.ai/docs/proxy/configs */
const litellmConfig = (streams: string): string =>
  JSON.stringify({
    model_list: [
      {
        model_name: 'gpt-4.1-mini',
        litellm_params: { model: 'openai/gpt-4.1-mini', api_base: 'https://api.openai.com/v1', api_key: 'os.environ/UPSTREAM_KEY' },
      },
      { model_name: STREAMED_MODEL, litellm_params: { model: 'openai/gpt-4.1-mini', api_base: `https://${streams}/v1`, api_key: 'os.environ/UPSTREAM_KEY' } },
    ],
    litellm_settings: { telemetry: false, num_retries: 0, turn_off_message_logging: true },
    general_settings: { disable_spend_logs: true },
  });

/** One worker, which is what it starts by default. */
export const startLitellm = async (options: ProxyOptions, streams: string): Promise<Proxy> => {
  const { netns, dir, port, upstreamCaFile, authorization } = options;
  const config = join(dir, 'config.yaml');
  await writeFile(config, litellmConfig(streams)); // JSON is YAML
  const program = await ensureLitellm();
  const [command, args] = await withHosts(options, [program, '--config', config, '--host', '0.0.0.0', '--port', String(port), '--num_workers', '1']);
  const env = {
    PATH: `${dirname(program)}:${process.env['PATH']}`,
    HOME: dir,
    SSL_CERT_FILE: upstreamCaFile,
    UPSTREAM_KEY: authorization.replace('Bearer ', ''),
    LITELLM_LOCAL_MODEL_COST_MAP: 'True', // else it asks for one on the Internet
    LITELLM_LOG: 'ERROR',
  };
  return proxyOf(spawnChild(command, args, { netns, env, stdio: ['ignore', 'ignore', 'inherit'] }), options);
};

/** Source: https://github.com/Portkey-AI/gateway */
export const startPortkey = async (options: ProxyOptions): Promise<Proxy> => {
  const { netns, dir, port, upstreamCaFile } = options;
  const [command, args] = await withHosts(options, [process.execPath, await ensurePortkey(), '--headless', `--port=${port}`]);
  const env = { PATH: process.env['PATH'], HOME: dir, NODE_ENV: 'production', NODE_EXTRA_CA_CERTS: upstreamCaFile };
  return proxyOf(spawnChild(command, args, { netns, env, stdio: ['ignore', 'ignore', 'inherit'] }), options);
};

/** It has no credentials of its own: each request brings them, with where it goes. */
export const portkeyHeaders = (authorization: string, host?: string): Readonly<Record<string, string>> => ({
  authorization,
  'x-portkey-provider': 'openai',
  ...(host !== undefined && { 'x-portkey-custom-host': `https://${host}/v1` }),
});
