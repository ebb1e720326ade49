/** Somebody else in the same account, who makes or removes a bucket: `node test/drill/stranger.ts create|delete NAME`. */
import { CreateBucketCommand, DeleteBucketCommand, S3Client } from '@aws-sdk/client-s3';

const [act, Bucket = ''] = process.argv.slice(2);
const s3 = new S3Client({ region: 'us-west-2' });
if (act === 'create')
  await s3.send(new CreateBucketCommand({ Bucket, CreateBucketConfiguration: { LocationConstraint: 'us-west-2' } }));
else await s3.send(new DeleteBucketCommand({ Bucket }));
