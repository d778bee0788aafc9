import type { Logger } from '#lib';

/**
 * What an Envoy prints. Lines of its log begin with a mark that nobody else knows. When it crashes it also prints the requests and bytes
 * it was at work on, which have the credentials that were injected: such lines go nowhere, and only how many there were is told.
 */
export const envoyOutput = (mark: string, log: Logger): { take(line: string): void; end(): void } => {
  const start = `${mark} `;
  let withheld = 0;
  return {
    take(line) {
      if (line.startsWith(start)) log.warn('envoy', { line: line.slice(start.length) });
      else if (line.trim() !== '') withheld++;
    },
    end() {
      if (withheld > 0) log.warn('envoy printed lines that are not of its log; they are withheld, since they can show credentials', { lines: withheld });
    },
  };
};
