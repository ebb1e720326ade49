/** `Microsoft.Insights/autoscaleSettings` (version 2022-10-01): kept and shown; nothing is measured, so nothing scales. */
import { z } from 'zod';
import { accept, asObject, Refusal } from './accept.ts';
import type { ArmKind } from './kind.ts';
import { keyOf } from './resource-id.ts';

const duration = z.string().regex(/^P(T\d+[HMS])+$|^PT\d+[HMS]$/);
const count = z.string().regex(/^\d+$/);
const Rule = z.strictObject({
  metricTrigger: z.strictObject({
    metricName: z.string(),
    metricNamespace: z.string().optional(),
    metricResourceUri: z.string(),
    metricResourceLocation: z.string().optional(),
    timeGrain: duration,
    statistic: z.enum(['Average', 'Min', 'Max', 'Sum', 'Count']),
    timeWindow: duration,
    timeAggregation: z.enum(['Average', 'Minimum', 'Maximum', 'Total', 'Count', 'Last']),
    operator: z.enum(['Equals', 'NotEquals', 'GreaterThan', 'GreaterThanOrEqual', 'LessThan', 'LessThanOrEqual']),
    threshold: z.number(),
    dimensions: z.array(z.json()).nullish(),
    dividePerInstance: z.boolean().optional(),
  }),
  scaleAction: z.strictObject({
    direction: z.enum(['None', 'Increase', 'Decrease']),
    type: z.enum(['ChangeCount', 'PercentChangeCount', 'ExactCount', 'ServiceAllowedNextValue']),
    value: count.optional(),
    cooldown: duration,
  }),
});
const Settings = z.strictObject({
  name: z.string().optional(),
  enabled: z.boolean().default(true),
  targetResourceUri: z.string(),
  targetResourceLocation: z.string().optional(),
  notifications: z.array(z.json()).max(0).nullish(),
  profiles: z
    .array(
      z.strictObject({
        name: z.string(),
        capacity: z.strictObject({ minimum: count, maximum: count, default: count }),
        rules: z.array(Rule).max(10),
      }),
    )
    .min(1)
    .max(20),
});

const type = 'Microsoft.Insights/autoscaleSettings';

export const insightsKinds: ArmKind[] = [
  {
    type,
    tracked: true,
    statuses: { created: 201, updated: 200, deleted: 200 },
    longRunning: false,
    ifMatch: false,
    global: false,
    make: ({ id, body, list }) => {
      const given = accept(Settings, asObject(body.properties));
      for (const { capacity } of given.profiles) {
        const [least, start, most] = [capacity.minimum, capacity.default, capacity.maximum].map(Number);
        if (!(Number(least) <= Number(start) && Number(start) <= Number(most)))
          throw new Refusal(400, 'InvalidRequestContent', 'minimum, default and maximum must be in this order.');
      }
      for (const other of list(type))
        if (
          keyOf(other.id) !== keyOf(id) &&
          keyOf(String(other.properties.targetResourceUri)) === keyOf(given.targetResourceUri)
        )
          throw new Refusal(409, 'Conflict', `${other.id} scales the same resource already.`);
      return { properties: given };
    },
  },
];
