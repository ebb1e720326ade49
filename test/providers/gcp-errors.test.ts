import { classify } from '../../activities/providers/gcp/errors.ts';

const failure = (fields: object, message = ''): Error => Object.assign(new Error(message), fields);

it.each([
  ['a gRPC code', failure({ code: 5 }, '5 NOT_FOUND: Resource not found'), 'NotFound'],
  ['an HTTP code', failure({ code: 404, errors: [{ reason: 'notFound' }] }), 'NotFound'],
  ['a taken name', failure({ code: 409, errors: [{ reason: 'conflict' }] }), 'AlreadyExists'],
  ['a failed precondition', failure({ code: 412 }), 'PreconditionFailed'],
  ['a dataset that is not empty', failure({ code: 400, errors: [{ reason: 'resourceInUse' }] }), 'PreconditionFailed'],
  [
    'a policy changed meanwhile',
    failure({ status: 409, response: { status: 409, data: { error: { status: 'ABORTED' } } } }),
    'PreconditionFailed',
  ],
  ['too many calls', failure({ code: 403, errors: [{ reason: 'rateLimitExceeded' }] }), 'Throttled'],
  ['a quota that is used up', failure({ code: 403, errors: [{ reason: 'quotaExceeded' }] }), 'QuotaExceeded'],
  [
    'a refused token',
    failure(
      { response: { status: 400, data: { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' } } },
      'invalid_grant',
    ),
    'Unauthenticated',
  ],
  [
    'a wrong clock',
    failure(
      {
        response: {
          status: 400,
          data: {
            error: 'invalid_grant',
            error_description: 'Token must be a short-lived token (60 minutes) and in a reasonable timeframe.',
          },
        },
      },
      'invalid_grant',
    ),
    'ClockSkewed',
  ],
  ['no credentials at all', failure({}, 'Could not load the default credentials.'), 'Unauthenticated'],
  ['a broken connection', failure({ code: 'ECONNRESET' }, 'socket hang up'), 'Unavailable'],
  ['what nobody knows', 'thrown text', 'Unavailable'],
])('knows %s', (_, error, kind) => {
  expect(classify(error).kind).toBe(kind);
});

it('names the missing permission and the wait that the cloud asks for', () => {
  const denied = failure({ code: 403 }, "Permission 'pubsub.topics.create' denied on resource (or it may not exist).");
  expect(classify(denied)).toMatchObject({ kind: 'PermissionDenied', missing: 'pubsub.topics.create' });
  const gcs = failure(
    { code: 403 },
    'me@p.iam.gserviceaccount.com does not have storage.buckets.get access to the bucket.',
  );
  expect(classify(gcs).missing).toBe('storage.buckets.get');
  const busy = failure({ code: 429, response: { status: 429, data: undefined, headers: { 'retry-after': '7' } } });
  expect(classify(busy)).toMatchObject({ kind: 'Throttled', retryAfterMs: 7000 });
});
