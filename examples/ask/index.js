// Asks models. Each line of the text it is sent is `PROVIDER MODEL QUESTION`; each answer is a line of its own: what was used and said, or the refusal.
// It has no key of any provider; API_KEY, if there is one, is sent to OpenAI as its SDK would. Where a provider is at an address of your own, the
// environment says which:
//   AZURE_OPENAI_ENDPOINT=https://RESOURCE.openai.azure.com   AWS_REGION=us-east-1   LLM_BASE_URL=https://llm.example.com/v1
//   GOOGLE_CLOUD_PROJECT=my-project   GOOGLE_CLOUD_LOCATION=us-central1   (provider `vertex`)
import { json } from 'node:stream/consumers';

const { API_KEY, AZURE_OPENAI_ENDPOINT, AWS_REGION = 'us-east-1', GOOGLE_CLOUD_PROJECT, GOOGLE_CLOUD_LOCATION = 'us-central1', LLM_BASE_URL } = process.env;

const messages = (content) => [{ role: 'user', content }];
/** OpenAI's API, at whoever speaks it. */
const chat = (url) => ({
  url,
  body: (model, question) => ({ model, messages: messages(question) }),
  read: ({ choices, usage }) => ({ text: choices[0].message.content, input: usage.prompt_tokens, output: usage.completion_tokens }),
});

/** Gemini, at Google AI and at Vertex AI. */
const gemini = (url) => ({
  url,
  body: (_, question) => ({ contents: [{ role: 'user', parts: [{ text: question }] }] }),
  read: ({ candidates: [{ content }], usageMetadata: { promptTokenCount, candidatesTokenCount = 0, thoughtsTokenCount = 0 } }) => ({
    text: (content.parts ?? []).map(({ text }) => text).join(''),
    input: promptTokenCount,
    output: candidatesTokenCount + thoughtsTokenCount,
  }),
});

const PROVIDERS = {
  openai: { ...chat(() => 'https://api.openai.com/v1/chat/completions'), headers: API_KEY ? { authorization: `Bearer ${API_KEY}` } : {} },
  'azure-openai': chat((deployment) => `${AZURE_OPENAI_ENDPOINT}/openai/deployments/${deployment}/chat/completions?api-version=2024-10-21`),
  custom: chat(() => `${LLM_BASE_URL}/chat/completions`),
  anthropic: {
    url: () => 'https://api.anthropic.com/v1/messages',
    headers: { 'anthropic-version': '2023-06-01' },
    body: (model, question) => ({ model, max_tokens: 1024, messages: messages(question) }),
    read: ({ content, usage }) => ({ text: content.map(({ text }) => text).join(''), input: usage.input_tokens, output: usage.output_tokens }),
  },
  google: gemini((model) => `https://generativelanguage.googleapis.com/v1beta/models/${model}:generateContent`),
  vertex: gemini(
    (model) =>
      `https://${GOOGLE_CLOUD_LOCATION}-aiplatform.googleapis.com/v1/projects/${GOOGLE_CLOUD_PROJECT}/locations/${GOOGLE_CLOUD_LOCATION}/publishers/google/models/${model}:generateContent`,
  ),
  bedrock: {
    url: (model) => `https://bedrock-runtime.${AWS_REGION}.amazonaws.com/model/${encodeURIComponent(model)}/converse`,
    body: (_, question) => ({ messages: [{ role: 'user', content: [{ text: question }] }] }),
    read: ({ output, usage }) => ({
      text: output.message.content.map(({ text = '' }) => text).join(''),
      input: usage.inputTokens,
      output: usage.outputTokens,
    }),
  },
};

const ask = async (name, model, question) => {
  const provider = PROVIDERS[name];
  if (!provider) return `known providers are ${Object.keys(PROVIDERS).join(', ')}`;
  const response = await fetch(provider.url(model), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...provider.headers },
    body: JSON.stringify(provider.body(model, question)),
  });
  const answer = await response.json();
  // A refusal has the shape that the provider's SDK knows, with `code` and `message` of the gateway in it.
  if (!response.ok) return `${response.status} ${answer.error?.code ?? ''}: ${answer.error?.message ?? answer.message}`;
  const { text, input, output } = provider.read(answer);
  return `${input} tokens in, ${output} out: ${text.replaceAll(/\s+/g, ' ').slice(0, 60) || '(no text)'}`;
};

const event = await json(process.stdin);
for (const line of String(event.data ?? '')
  .split('\n')
  .filter(Boolean)) {
  const [name, model, ...words] = line.split(' ');
  try {
    console.log(`${name} -> ${await ask(name, model, words.join(' '))}`);
  } catch (error) {
    console.log(`${name} -> ${error.cause?.code ?? error.message}`);
  }
}
process.exit(0);
