/** What is told of an incident, and to whom: what the workflows ask of `activities/notify`. No secret is in it. */
import { z } from 'zod';
import { LagDirection, Watched } from './incident.ts';

const Name = z.string().min(1).max(200);
const Ms = z.number().min(0);

/** One message: that an incident has begun, or that it has ended. Names are shown as text, whatever is in them. */
export const Alert = z.strictObject({
  estate: Name,
  service: Name,
  /** The same in both messages and in each repeat. */
  incident: z.string().regex(/^[A-Za-z0-9._-]{1,200}$/),
  event: z.enum(['begin', 'end']),
  direction: LagDirection,
  thresholdMs: Ms,
  /** When it was observed, and when the incident has begun; ms since 1970. */
  at: Ms,
  begunAt: Ms,
  /** At this observation, and the longest so far. */
  lagMs: Ms,
  worstMs: Ms,
  /** Why it has ended where the lag has not fallen: `replication was stopped`. */
  why: Name.optional(),
  /** The run that tells it. */
  workflowId: z.string().min(1).max(1000),
});
export type Alert = z.infer<typeof Alert>;

/** Devices have refused to go where they were told: somebody else may have told them. */
export const RedirectAlert = z.strictObject({
  ...Alert.pick({ estate: true, service: true, incident: true, at: true, workflowId: true }).shape,
  event: z.literal('begin'),
  /** Where they are. */
  provider: Name,
  refused: z
    .array(z.strictObject({ device: Name, reason: Name }))
    .min(1)
    .max(20),
});
export type RedirectAlert = z.infer<typeof RedirectAlert>;
export type AnyAlert = Alert | RedirectAlert;

/** A channel of the estate file by what it is: the same as long as the file says the same of it. */
export const ChannelId = z.string().regex(/^(slack|webhook|email)-[0-9a-f]{12}$/);
export type ChannelId = z.infer<typeof ChannelId>;

/** A message on its way to one channel. `lost`: how often it was sent and no answer came. */
const Delivery = z.strictObject({ alert: Alert, channel: ChannelId, lost: z.int().min(0) });
export type Delivery = z.infer<typeof Delivery>;

/** A direction, what is known of it, and the lag that was observed last, ms. */
export const WatchedDirection = z.strictObject({ direction: LagDirection, watched: Watched, lagMs: Ms });
export type WatchedDirection = z.infer<typeof WatchedDirection>;

/** What the next run of a workflow that continues as new is given. */
export const HandedIncidents = z.strictObject({
  directions: z.array(WatchedDirection),
  /** Whose channels are not known yet. */
  alerts: z.array(Alert),
  deliveries: z.array(Delivery),
});
export type HandedIncidents = z.infer<typeof HandedIncidents>;

export const SendAlertInput = z.strictObject({ channel: ChannelId, alert: z.union([Alert, RedirectAlert]) });
export type SendAlertInput = z.infer<typeof SendAlertInput>;

/**
 * `lost`: it was sent and no answer came, so it may have arrived; whoever asked decides whether it is sent again. `gone`: the
 * estate file has no such channel any more. A channel that is away or refuses is thrown: then nothing has arrived.
 */
export type SentAlert = { how: 'sent' } | { how: 'gone' } | { how: 'lost'; why: string };
