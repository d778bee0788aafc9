import { describe, expect, test } from 'vitest';
import { billingOf, unpricedHeader } from '#policy';

describe('what is not paid by the list', () => {
  test.each([
    [{ service_tier: 'priority' }, 'service_tier'],
    [{ service_tier: 'Flex' }, undefined],
    [{ service_tier: null }, undefined],
    [{ service_tier: 7 }, 'service_tier'],
    [{ serviceTier: { type: 'priority' } }, 'serviceTier.type'],
    [{ serviceTier: { type: 'default' } }, undefined],
    [{ performanceConfig: { latency: 'optimized' } }, 'performanceConfig.latency'],
    [{ performanceConfig: { latency: 'standard' } }, undefined],
    [{ speed: 'fast' }, 'speed'],
    [{ additionalModelRequestFields: { speed: 'fast' } }, 'additionalModelRequestFields.speed'],
    [{ inference_geo: 'us' }, 'inference_geo'],
    [{ generation_config: { service_tier: 'priority' } }, 'generation_config.service_tier'],
    [{ messages: [{ content: 'service_tier' }] }, undefined],
  ])('%j', (body, unpriced) => expect(billingOf(body).unpriced).toBe(unpriced));

  test.each([
    [{ 'x-amzn-bedrock-service-tier': 'priority' }, 'x-amzn-bedrock-service-tier'],
    [{ 'x-amzn-bedrock-service-tier': 'flex' }, undefined],
    [{ accept: 'x' }, undefined],
  ])('header %j', (headers, unpriced) => expect(unpricedHeader(new Map(Object.entries(headers)))).toBe(unpriced));

  test.each([
    [{ messages: [{ content: [{ type: 'text', cache_control: { type: 'ephemeral', ttl: '1h' } }] }] }, true],
    [{ messages: [{ content: [{ type: 'text', cache_control: { type: 'ephemeral', ttl: '5m' } }] }] }, false],
    [{ messages: [{ content: 'say "ttl":"1h"' }] }, false],
    [undefined, false],
  ])('a longer cache in %j: %s', (body, dearer) => expect(billingOf(body).dearer).toBe(dearer));
});
