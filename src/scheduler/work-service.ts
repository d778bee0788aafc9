import { AsyncQueue, messageOf, type Logger } from '#lib';
import type { Assignment, RunUpdate } from '#model';
import { RpcError, Work, type FromWorker, type Implementation } from '#wire';
import type { Attachment, Scheduler, WorkerMessage } from './scheduler.ts';

const PHASES: readonly string[] = ['Running', 'Succeeded', 'Failed', 'Timeout'] satisfies RunUpdate['phase'][];

/** Serves `Work`: one stream a worker. The first message says who it is, and the end of the stream, however it came, means that it is lost. */
export const workService = (scheduler: Scheduler, log: Logger): Implementation<typeof Work> => ({
  async *attach(messages, { signal }) {
    const down = new AsyncQueue<WorkerMessage>();
    const incoming = messages[Symbol.asyncIterator]();
    const first = await incoming.next();
    if (first.done) return;
    const { message: hello } = first.value;
    if (hello.case !== 'hello' || !hello.value.worker) throw new RpcError('INVALID_ARGUMENT', 'the first message of a worker is its hello');
    const attachment = scheduler.attach(
      hello.value,
      (message) => down.push(message),
      () => down.end(),
    );
    void receive(incoming, attachment, log).finally(() => down.end());
    signal.addEventListener('abort', () => down.end(), { once: true });
    try {
      for await (const message of down) yield { message: toWire(message) };
    } finally {
      attachment.lost();
    }
  },
});

/** Messages of the wire have mutable lists. */
const toWire = (message: WorkerMessage) => {
  if (message.case === 'assignment') return { case: message.case, value: mutable(message.value) };
  if (message.case === 'announcement') return { case: message.case, value: mutable(message.value) };
  return message;
};

const mutable = ({ command, args, env, gateways, ...rest }: Assignment) => ({
  ...rest,
  command: [...command],
  args: [...args],
  env: [...env],
  gateways: [...gateways],
});

const receive = async (incoming: AsyncIterator<FromWorker>, attachment: Attachment, log: Logger): Promise<void> => {
  for (;;) {
    const next = await incoming.next();
    if (next.done) return;
    const { message } = next.value;
    try {
      if (message.case === 'stdout') attachment.output(message.value.invocation, message.value.data);
      else if (message.case === 'warm') attachment.warm(message.value.counts);
      else if (message.case === 'update' && PHASES.includes(message.value.phase)) attachment.update(message.value as typeof message.value & RunUpdate);
      else if (message.case === 'drain') attachment.drain();
      else log.warn('a worker sent a message that is not understood', { message: message.case });
    } catch (error) {
      log.error(`a worker's message was not processed: ${messageOf(error)}`, { err: error });
    }
  }
};
