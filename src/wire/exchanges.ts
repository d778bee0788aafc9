import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ExchangeRecord } from '#model';
import type { ExchangeBatchSchema } from './gen/clrk/control_pb.js';

/** Records as they are sent. A message is only read on its way out, so the lists in records stay what they are: read-only. */
export const exchangeBatch = (records: readonly ExchangeRecord[]): MessageInitShape<typeof ExchangeBatchSchema> =>
  ({ records }) as unknown as MessageInitShape<typeof ExchangeBatchSchema>;
