import { AsyncQueue } from '#lib';
import type { LedgerPort, ReserveAnswer } from '#model';
import type { Client, Ledger, LedgerReply } from '#wire';

type Sessions = Pick<Client<typeof Ledger>, 'session'>;
type LedgerCall = Parameters<Sessions['session']>[0] extends AsyncIterable<infer Call> ? Call : never;
type Reply = LedgerReply['reply'];
interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * The ledger over one session, which is opened with the first call and anew after it ended. A call fails when its session ends
 * or there is no answer in `timeoutMs`; whether it was carried out is unknown then, and it is safe to make it again.
 */
export const createLedgerClient = (client: Sessions, { timeoutMs }: { readonly timeoutMs: number }): LedgerPort => {
  let session: Session | undefined;
  const call = (of: NonNullable<LedgerCall['call']>): Promise<Reply> => {
    session ??= new Session(client, timeoutMs, (ended) => {
      if (session === ended) session = undefined;
    });
    return session.call(of);
  };
  return {
    async reserve({ entries, ...request }) {
      const reply = await call({ case: 'reserve', value: { ...request, entries: [...entries] } });
      if (reply.case !== 'reserved') throw new Error(`the ledger answered ${reply.case}`);
      return reply.value satisfies ReserveAnswer;
    },
    async settle(settlement) {
      const reply = await call({ case: 'settle', value: settlement });
      if (reply.case !== 'settled') throw new Error(`the ledger answered ${reply.case}`);
    },
  };
};

class Session {
  readonly #calls = new AsyncQueue<LedgerCall>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #timeoutMs: number;
  #number = 0;

  constructor(client: Sessions, timeoutMs: number, ended: (session: Session) => void) {
    this.#timeoutMs = timeoutMs;
    const follow = async (): Promise<void> => {
      try {
        for await (const { number, reply } of client.session(this.#calls)) this.#answer(number, reply);
        throw new Error('the session with the ledger ended');
      } catch (error) {
        ended(this);
        this.#calls.end();
        for (const number of this.#waiting.keys()) this.#take(number)?.reject(error as Error);
      }
    };
    void follow();
  }

  call(of: NonNullable<LedgerCall['call']>): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const number = ++this.#number;
      const timer = setTimeout(() => this.#take(number)?.reject(new Error(`no answer of the ledger in ${this.#timeoutMs} ms`)), this.#timeoutMs);
      this.#waiting.set(number, { resolve, reject, timer });
      this.#calls.push({ number, call: of });
    });
  }

  #answer(number: number, reply: Reply): void {
    const waiting = this.#take(number); // none after its time was over
    if (reply.case === 'error') waiting?.reject(new Error(reply.value));
    else waiting?.resolve(reply);
  }

  #take(number: number): Waiting | undefined {
    const waiting = this.#waiting.get(number);
    this.#waiting.delete(number);
    clearTimeout(waiting?.timer);
    return waiting;
  }
}
