import type { IncomingMessage } from 'node:http';

/**
 * The ingress asks nobody for a password, so it answers only those who mean this machine: a foreign Host header is a name
 * somebody pointed at loopback (DNS rebinding), and a request a browser marks as coming from another site is a web page's.
 * Returns why a request is refused, or undefined. Source: https://www.w3.org/TR/fetch-metadata/
 */
export const refusalOf = (request: IncomingMessage, address: string, port: number): { reason: string; message: string } | undefined => {
  const own = [...new Set(['127.0.0.1', 'localhost', '[::1]', address.includes(':') ? `[${address}]` : address])].flatMap((host) =>
    port === 80 ? [host, `${host}:80`] : [`${host}:${port}`],
  );
  const { host = [], origin = [], 'sec-fetch-site': site = [] } = request.headersDistinct;
  if (host.length !== 1 || !own.includes(host[0]!.toLowerCase())) {
    return { reason: 'ForeignHost', message: `The Host header must name this ingress: ${own[0]}.` };
  }
  const crossSite = site.some((value) => value !== 'same-origin' && value !== 'none');
  const foreign = origin.some((value) => !own.some((name) => value.toLowerCase() === `http://${name}`));
  return crossSite || foreign ? { reason: 'CrossSite', message: 'The ingress does not answer web pages of other sites.' } : undefined;
};
