import type { IncomingMessage } from 'node:http';

/**
 * The ingress asks nobody for a password, so it answers only those who mean this machine: a foreign Host header is a name
 * somebody pointed at loopback (DNS rebinding), and a request a browser marks as coming from another site is a web page's.
 * A browser marks a POST with Origin and Sec-Fetch-Site; for old ones Referer and the header of a form's navigation count too.
 * Returns why a request is refused, or undefined. Source: https://www.w3.org/TR/fetch-metadata/
 */
export const refusalOf = (request: IncomingMessage, address: string, port: number): { reason: string; message: string } | undefined => {
  const own = [...new Set(['127.0.0.1', 'localhost', '[::1]', address.includes(':') ? `[${address}]` : address])].flatMap((host) =>
    port === 80 ? [host, `${host}:80`] : [`${host}:${port}`],
  );
  const { host = [], origin = [], referer = [], 'sec-fetch-site': site = [], 'upgrade-insecure-requests': navigation = [] } = request.headersDistinct;
  if (host.length !== 1 || !own.includes(host[0]!.toLowerCase())) {
    return { reason: 'ForeignHost', message: `The Host header must name this ingress: ${own[0]}.` };
  }
  const isOwn = (from: string): boolean => own.some((name) => from.toLowerCase() === `http://${name}`);
  const crossSite =
    site.some((value) => value !== 'same-origin' && value !== 'none') ||
    origin.some((value) => !isOwn(value)) ||
    referer.some((value) => !isOwn(URL.parse(value)?.origin ?? '')) ||
    (site.length === 0 && navigation.length > 0);
  return crossSite ? { reason: 'CrossSite', message: 'The ingress does not answer web pages of other sites.' } : undefined;
};
