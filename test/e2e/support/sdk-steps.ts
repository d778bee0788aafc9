/** Steps for the programs of test/fixtures/sdks. */

const INSTRUCTIONS = 'Summarise the document you are given in two sentences.';
const DOCUMENT = 'The keeper lights the lamp at dusk. Ships see it from far away. In fog it is seen from two miles only.';

/** Asks for a stream whose end says what it used. */
export const STREAMED = { stream: true, stream_options: { include_usage: true } };

export const chat = (model: string, more: object = {}) => ({
  resource: 'chat.completions',
  request: {
    model,
    max_completion_tokens: 50,
    messages: [
      { role: 'system', content: INSTRUCTIONS },
      { role: 'user', content: DOCUMENT },
    ],
    ...more,
  },
});

export const response = (model: string, more: object = {}) => ({
  resource: 'responses',
  request: { model, instructions: INSTRUCTIONS, input: DOCUMENT, max_output_tokens: 100, ...more },
});

export const embeddings = () => ({ resource: 'embeddings', request: { model: 'text-embedding-3-small', input: [INSTRUCTIONS, DOCUMENT] } });

export const message = (model: string, more: object = {}) => ({
  resource: 'messages',
  request: { model, max_tokens: 50, system: INSTRUCTIONS, messages: [{ role: 'user', content: DOCUMENT }], ...more },
});

export const generate = (model: string, method = 'generateContent') => ({
  method,
  request: {
    model,
    contents: DOCUMENT,
    ...(method !== 'countTokens' && { config: { systemInstruction: INSTRUCTIONS, maxOutputTokens: 200 } }),
  },
});

export const converse = (modelId: string, command = 'Converse') => ({
  command,
  request: { modelId, system: [{ text: INSTRUCTIONS }], messages: [{ role: 'user', content: [{ text: DOCUMENT }] }], inferenceConfig: { maxTokens: 50 } },
});

export const invoke = (modelId: string, command = 'InvokeModel') => ({
  command,
  request: {
    modelId,
    contentType: 'application/json',
    body: { anthropic_version: 'bedrock-2023-05-31', max_tokens: 50, system: INSTRUCTIONS, messages: [{ role: 'user', content: DOCUMENT }] },
  },
});
