import type { Logger } from '#lib';
import type { ExchangeRecord } from '#model';

/** What somebody should look at soon goes to the log of the stack, too. */
export const alertOf = (log: Logger): ((record: ExchangeRecord) => void) => {
  const echoed = 'an upstream said back the credential that was injected; it was taken out of the answer';
  const withheld = 'an answer could not be searched for the credential that was injected, and was withheld';
  return ({ reason, credentialsEchoed, decisionId, gateway, route, host, namespace, agent, invocation }) => {
    const about = { decisionId, gateway, route, host, agent: agent && `${namespace}/${agent}`, invocation };
    if (credentialsEchoed.length > 0) log.warn(echoed, { ...about, places: credentialsEchoed });
    else if (reason === 'RedactionFailed') log.warn(withheld, about);
  };
};
