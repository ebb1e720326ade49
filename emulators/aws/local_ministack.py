"""
IoT, S3, SQS, Kinesis, Glue, KMS, IAM and STS: MiniStack with its state kept over kill -9, and with the answers corrected
that differ from AWS in what our cells touch. Environment: MiniStack's own, and MQTT_CERT, MQTT_KEY, OPERATION_MS,
NAME_HELD_MS, CLOCK_MS, QUOTAS.
"""

import asyncio
import asyncio.base_events
import contextvars
import hashlib
import html
import json
import os
import re
import ssl
import time
from urllib.parse import parse_qs

import lifeline

lifeline.hold()
import clock  # noqa: E402, F401  before MiniStack looks at the time

# MiniStack listens for MQTT on all interfaces, whatever BIND_HOST says.
_create_server = asyncio.base_events.BaseEventLoop.create_server


async def create_server(self, factory, host=None, port=None, **options):
    if options.get("sock") is None and host in (None, "", "0.0.0.0"):
        host = "127.0.0.1"
    return await _create_server(self, factory, host, port, **options)


asyncio.base_events.BaseEventLoop.create_server = create_server

from cryptography import x509  # noqa: E402
from ministack import app as ministack  # noqa: E402
from ministack.core import iam_evaluator, persistence, responses  # noqa: E402
from ministack.core.router import detect_service  # noqa: E402
from ministack.services import iot, kinesis, s3, sqs  # noqa: E402

import bucket_policy  # noqa: E402, F401  what the policies of buckets deny
import quotas  # noqa: E402

OPERATION_S = int(os.environ.get("OPERATION_MS", "0")) / 1000
NAME_HELD_S = int(os.environ.get("NAME_HELD_MS", "0")) / 1000


# State: MiniStack writes it when it stops; here each change is on disk before it is answered.

# Copying a state blocks everybody; a large one (a queue that nobody empties) is copied again only after this many times as long.
REST = 4

class Journal:
    """Writes the state of one service; whoever asks while a write runs shares the next one."""

    def __init__(self):
        self._running = {}
        self._next = {}
        self._copying = {}

    async def commit(self, key: str) -> None:
        current = self._running.get(key)
        # The next write begins only some time after the present one has ended.
        if current is None and key not in self._next:
            self._running[key] = asyncio.ensure_future(self._write(key))
            await asyncio.shield(self._running[key])
            return
        if key not in self._next:
            self._next[key] = asyncio.ensure_future(self._after(key, current))
        await asyncio.shield(self._next[key])

    async def _after(self, key: str, current) -> None:
        await asyncio.wait([current])
        await asyncio.sleep(REST * self._copying.get(key, 0))
        self._next.pop(key, None)
        self._running[key] = asyncio.ensure_future(self._write(key))
        await asyncio.shield(self._running[key])

    async def _write(self, key: str) -> None:
        try:
            module = ministack._get_module(ministack._state_map[key])
            # The copy is taken on the loop, where nothing changes meanwhile; only the writing leaves it.
            began = time.perf_counter()
            state = module.get_state()
            self._copying[key] = time.perf_counter() - began
            await asyncio.to_thread(persistence.save_state, key, state)
        finally:
            self._running.pop(key, None)


journal = Journal()
READS = re.compile(r"^(Get|List|Describe|Head|Search|Receive|BatchGet|Lookup|Validate|Simulate)")
# Object data and its versions are written by MiniStack itself, one file an object.
S3_BUCKET_PATH = re.compile(r"^/[^/]*/?$")


def state_to_write(scope, service: str, headers: dict, body: bytes) -> str | None:
    """The state file that this request changes, or None for one that only looks."""
    method, path = scope["method"], scope["path"]
    module = ministack.SERVICE_REGISTRY.get(service, {}).get("module")
    if module is None or module not in ministack._state_map:
        return None
    if service == "s3":
        host = headers.get("host", "")
        virtual = ministack._extract_s3_vhost_bucket(host)
        on_bucket = path in ("", "/") if virtual else bool(S3_BUCKET_PATH.match(path))
        return "s3" if on_bucket and method in ("PUT", "DELETE", "POST") else None
    if method in ("GET", "HEAD", "OPTIONS"):
        return None
    target = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
    action = target or (parse_qs(body.decode("latin-1")).get("Action") or [""])[0]
    if action and READS.match(action):
        return None
    return module


class Durable:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["path"].startswith("/_"):
            await self.inner(scope, receive, send)
            return
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        service = detect_service(scope["method"], scope["path"], headers, query)
        body = b""

        async def read():
            nonlocal body
            message = await receive()
            if service != "s3":
                body += message.get("body", b"")
            return message

        held = []

        async def hold(message):
            held.append(message)

        looks = scope["method"] in ("GET", "HEAD") or (service == "s3" and not state_to_write(scope, service, headers, b""))
        if looks:
            await self.inner(scope, receive, send)
            return
        await self.inner(scope, read, hold)
        key = state_to_write(scope, service, headers, body)
        if key:
            await journal.commit(key)
        for message in held:
            await send(message)


ministack.app = Durable(ministack.app)

# A telemetry message that a rule puts into a queue changes SQS without a request of its own.
_dispatch_sqs = iot._dispatch_rule_sqs


def dispatch_sqs(*args, **kwargs):
    _dispatch_sqs(*args, **kwargs)
    loop = ministack._MAIN_LOOP
    if loop is not None:
        loop.call_soon_threadsafe(lambda: asyncio.ensure_future(journal.commit("sqs")))


iot._dispatch_rule_sqs = dispatch_sqs


# IoT: DescribeEndpoint answers the host that AWS would; MQTT takes certificates only, under a certificate for that host,
# and holds devices to their policies.

_describe_endpoint = iot._describe_endpoint


def describe_endpoint(query):
    status, headers, body = _describe_endpoint(query)
    answer = json.loads(body)
    if "endpointAddress" in answer:
        name = answer["endpointAddress"].split(":")[0]
        answer["endpointAddress"] = name.removesuffix("localhost") + "amazonaws.com"
    return status, headers, json.dumps(answer).encode()


iot._describe_endpoint = describe_endpoint


def server_certificate():
    with open(os.environ["MQTT_CERT"]) as cert, open(os.environ["MQTT_KEY"]) as key:
        return cert.read() + "\n", key.read()


iot._mtls_ensure_server_cert = server_certificate
_build_context = iot._mtls_build_ssl_context


def build_context():
    context = _build_context()
    context.verify_mode = ssl.CERT_REQUIRED
    return context


iot._mtls_build_ssl_context = build_context
_session = next(
    value for value in vars(iot).values() if isinstance(value, type) and hasattr(value, "_evaluates_policies")
)
_session._evaluates_policies = lambda self: self.certificate_id is not None or self.iam_credential is not None

_delete_thing_type = iot._delete_thing_type


def delete_thing_type(name):
    """A thing type can be deleted five minutes after it was deprecated; here after `OPERATION_MS`."""
    found = iot._thing_types.get(name)
    since = found and found["thingTypeMetadata"].get("deprecationDate")
    if since and time.time() - float(since) < OPERATION_S:
        return responses.error_response_json(
            "InvalidRequestException", f"Please wait for 5 minutes after deprecation and then retry : {name}", 400
        )
    return _delete_thing_type(name)


iot._delete_thing_type = delete_thing_type


_update_thing = iot._update_thing


def update_thing(name, payload):
    """A change may depend on the version that was read; MiniStack lets only a deletion."""
    found = iot._things.get(name)
    expected = payload.get("expectedVersion")
    if found is not None and expected is not None and int(expected) != found.get("version", 1):
        return responses.error_response_json(
            "VersionConflictException", f"The version for thing {name} does not match the expected version.", 409
        )
    return _update_thing(name, payload)


iot._update_thing = update_thing


# IoT: just-in-time provisioning. A certificate that its authority registers on a first connection becomes that of a device, as
# the template of the authority says; the connection is closed all the same, and the device comes again.
# https://docs.aws.amazon.com/iot/latest/developerguide/jit-provisioning.html

_SUBJECT_NAMES = {
    "2.5.4.3": "CommonName",
    "2.5.4.5": "SerialNumber",
    "2.5.4.6": "Country",
    "2.5.4.8": "StateName",
    "2.5.4.10": "Organization",
    "2.5.4.11": "OrganizationalUnit",
    "2.5.4.46": "DistinguishedNameQualifier",
}
_auto_register = iot._mtls_auto_register


async def auto_register(der, peername, server_name=None):
    if not await _auto_register(der, peername, server_name):
        return False
    certificate_id = hashlib.sha256(der).hexdigest()
    [(account, region, record)] = iot._mtls_active_registrations(certificate_id, status=None)
    with iot.request_scope(account, region):
        authority = iot._ca_certificates.get(record["caCertificateId"])
        configuration = (authority or {}).get("registrationConfig") or {}
        if configuration.get("templateBody"):
            try:
                await provision(der, record, configuration)
            except iot._ProvisioningRejected as rejected:
                print(f"local AWS: {certificate_id} was not provisioned: {rejected}", flush=True)
    await journal.commit("iot")
    return True


async def provision(der, record, configuration):
    subject = x509.load_der_x509_certificate(der).subject
    parameters = {
        f"AWS::IoT::Certificate::{_SUBJECT_NAMES[one.oid.dotted_string]}": one.value
        for one in subject
        if one.oid.dotted_string in _SUBJECT_NAMES
    }
    version = {"templateBody": configuration["templateBody"]}
    template = {"templateName": "of an authority", "defaultVersionId": 1, "versions": {"1": version}}
    plan = iot._provisioning_plan(template, parameters, record["certificateId"])
    await iot._apply_provisioning_plan(plan, record, configuration.get("roleArn", ""))


iot._mtls_auto_register = auto_register
_handle_ca_certificate = iot._handle_ca_certificate


def handle_ca_certificate(method, path, body, qp):
    answer = _handle_ca_certificate(method, path, body, qp)
    if method == "PUT" and answer[0] == 200 and iot._parse_body(body).get("removeAutoRegistration"):
        iot._ca_certificates[path.removeprefix("/cacertificate/")].pop("registrationConfig", None)
    return answer


iot._handle_ca_certificate = handle_ca_certificate


# IoT: the members of a thing group come in pages.

_route_request = iot._route_request


async def route_request(method, path, headers, body, query_params):
    answer = await _route_request(method, path, headers, body, query_params)
    if method != "GET" or not re.fullmatch(r"/thing-groups/[^/]+/things", path) or answer[0] != 200:
        return answer
    asked = {name: value[0] if isinstance(value, list) else value for name, value in query_params.items()}
    size = min(int(asked.get("maxResults") or 25), 250)
    start = int(asked.get("nextToken") or 0)
    things = json.loads(answer[2])["things"]
    page = {"things": things[start : start + size]}
    if start + size < len(things):
        page["nextToken"] = str(start + size)
    return responses.json_response(page)


iot._route_request = route_request


# S3: a new bucket blocks public access and encrypts; the name of a deleted one stays taken for a while.

s3._new_bucket_public_access_block = lambda: {"_public_access_block": s3._NEW_BUCKET_PUBLIC_ACCESS_BLOCK}
held_names = {}
_create_bucket, _delete_bucket = s3._create_bucket, s3._delete_bucket


def create_bucket(name, *args, **kwargs):
    if held_names.get(name, 0) > time.time():
        return s3._error(
            "OperationAborted",
            "A conflicting conditional operation is currently in progress against this resource. Please try again.",
            409,
            f"/{name}",
        )
    if name not in s3._buckets and len(s3._buckets) >= quotas.limit("L-DC2B2D3D", ""):
        return s3._error(
            "TooManyBuckets", "You have attempted to create more buckets than allowed", 400, f"/{name}"
        )
    return _create_bucket(name, *args, **kwargs)


def delete_bucket(name):
    answer = _delete_bucket(name)
    if answer[0] == 204:
        held_names[name] = time.time() + NAME_HELD_S
    return answer


s3._create_bucket, s3._delete_bucket = create_bucket, delete_bucket


# S3: a multipart upload may ask for a checksum of the whole instead of one of its parts' checksums.

_create_upload, _complete_upload = s3._create_multipart_upload, s3._complete_multipart_upload
_composite_checksum = s3._composite_checksum


def create_upload(bucket, key, headers):
    status, answered, body = _create_upload(bucket, key, headers)
    if status == 200 and headers.get("x-amz-checksum-type", "").upper() == "FULL_OBJECT":
        upload = re.search(rb"<UploadId>([^<]+)", body).group(1).decode()
        s3._multipart_uploads[upload]["whole"] = True
        answered = {**answered, "x-amz-checksum-type": "FULL_OBJECT"}
    return status, answered, body


def complete_upload(bucket, key, body, query, headers=None):
    upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
    if not upload or not upload.get("whole"):
        return _complete_upload(bucket, key, body, query, headers)
    parts = sorted(int(number) for number in re.findall(rb"<PartNumber>(\d+)<", body))
    whole = b"".join(upload["parts"][number]["body"] for number in parts if number in upload["parts"])
    checksum = s3._compute_s3_checksum(upload["checksum_algorithm"], whole)
    try:
        s3._composite_checksum = lambda *_: checksum
        status, answered, said = _complete_upload(bucket, key, body, query, headers)
    finally:
        s3._composite_checksum = _composite_checksum
    if status == 200:
        stored = s3._ensure_bucket(bucket)["objects"][key]
        stored["checksum_type"] = "FULL_OBJECT"
        if s3.S3_PERSIST:
            s3._persist_object(bucket, key, stored)
    return status, answered, said.replace(b"COMPOSITE", b"FULL_OBJECT")


s3._create_multipart_upload, s3._complete_multipart_upload = create_upload, complete_upload


# S3: a list of versions encodes keys where it is asked to, as the other lists do.

_list_versions = s3._list_object_versions


def list_versions(bucket, query):
    status, headers, body = _list_versions(bucket, query)
    if status != 200 or s3._qp(query, "encoding-type", "") != "url":
        return status, headers, body

    def encode(found):
        return f"<{found[1]}>{s3._url_encode(html.unescape(found[2]))}</"

    text = re.sub(r"<(Key|KeyMarker|NextKeyMarker|Prefix)>([^<]*)</", encode, body.decode())
    return status, headers, text.replace("<KeyMarker", "<EncodingType>url</EncodingType><KeyMarker", 1).encode()


s3._list_object_versions = list_versions


# S3: a range of a version is a range.

_get_object = s3._get_object


def get_object(bucket, key, headers, query=None, *args, **kwargs):
    status, answered, body = _get_object(bucket, key, headers, query, *args, **kwargs)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
    if status != 200 or not wanted or not s3._qp(query or {}, "versionId", ""):
        return status, answered, body
    first, last = int(wanted[1]), min(int(wanted[2]), len(body) - 1)
    part = body[first : last + 1]
    whole = {name: value for name, value in answered.items() if not name.lower().startswith("x-amz-checksum-")}
    ranged = {"Content-Range": f"bytes {first}-{last}/{len(body)}", "Content-Length": str(len(part))}
    return 206, {**whole, **ranged}, part


s3._get_object = get_object


# S3: a version has its tags also where what is current was deleted.

_get_object_tagging = s3._get_object_tagging


def get_object_tagging(bucket, key, query=None):
    objects = (s3._ensure_bucket(bucket) or {}).get("objects", {})
    if key in objects or not s3._qp(query or {}, "versionId", ""):
        return _get_object_tagging(bucket, key, query)
    objects[key] = {}
    try:
        return _get_object_tagging(bucket, key, query)
    finally:
        del objects[key]


s3._get_object_tagging = get_object_tagging


# S3: what is sent to a queue is on disk soon after, and sent where the queue's policy lets S3 alone; two configurations of a
# bucket do not tell of the same events.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html


def queue_policy_allows(queue_arn, service, source_arn, source_account):
    queue = sqs._queue_by_arn(queue_arn)
    policy = queue and queue["attributes"].get("Policy")
    if not policy:
        return False
    context = iam_evaluator.EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action="sqs:SendMessage",
        resource_arn=queue_arn,
        region=responses.get_region(),
        secure_transport=True,
        service_context={"aws:sourcearn": source_arn, "aws:sourceaccount": source_account},
    )
    return iam_evaluator.evaluate_resource_policy(policy, context, service=service).decision == "Allow"


sqs.queue_policy_allows = queue_policy_allows
_deliver_to_sqs = s3._deliver_event_to_sqs
_validate_notifications = s3._validate_notification_configs


def deliver_to_sqs(*args, **kwargs):
    _deliver_to_sqs(*args, **kwargs)
    loop = ministack._MAIN_LOOP
    if loop is not None:
        loop.call_soon_threadsafe(lambda: asyncio.ensure_future(journal.commit("sqs")))


def share_events(one, other):
    return any(s3._event_matches(a.replace("*", "Any"), [b]) or s3._event_matches(b.replace("*", "Any"), [a]) for a in one["events"] for b in other["events"])


def share_keys(one, other):
    def agree(name, fits):
        a, b = one[name] or "", other[name] or ""
        return fits(a, b) or fits(b, a)

    return agree("filter_prefix", str.startswith) and agree("filter_suffix", str.endswith)


def validate_notifications(configs, *args, **kwargs):
    for index, one in enumerate(configs):
        for other in configs[index + 1 :]:
            if share_events(one, other) and share_keys(one, other):
                return s3._invalid_notification_config(
                    "Configurations overlap. Configurations on the same bucket cannot share a common event type."
                )
    return _validate_notifications(configs, *args, **kwargs)


s3._deliver_event_to_sqs, s3._validate_notification_configs = deliver_to_sqs, validate_notifications


# S3: rules of a lifecycle delete nothing here, since nobody waits for days. A DELETE with the header x-local-expiry is one that a
# rule has made, and is told of as such.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-configure-notification.html

expiring = contextvars.ContextVar("expiring", default=False)
s3._EVENT_SEQUENCED_FAMILIES = (*s3._EVENT_SEQUENCED_FAMILIES, "s3:LifecycleExpiration:")
_delete_object, _fire_event = s3._delete_object, s3._fire_s3_event_async


def delete_object(bucket, key, headers=None, query=None):
    token = expiring.set("x-local-expiry" in (headers or {}))
    try:
        return _delete_object(bucket, key, headers, query)
    finally:
        expiring.reset(token)


def fire_event(bucket, key, name, *args, **kwargs):
    if expiring.get():
        name = name.replace("s3:ObjectRemoved:", "s3:LifecycleExpiration:")
    _fire_event(bucket, key, name, *args, **kwargs)


s3._delete_object, s3._fire_s3_event_async = delete_object, fire_event


# SQS: queue URLs are https, as the SDK follows them; a deleted queue's name stays taken (60 s on AWS).

sqs.use_ssl_enabled = lambda: True
sqs.DEFAULT_PORT = "443"
sqs._CANONICAL_NETLOC = f"{sqs.DEFAULT_HOST}:443"
held_queues = {}
_create_queue, _delete_queue = sqs._act_create_queue, sqs._act_delete_queue


def create_queue(data, url):
    name = (responses.get_account_id(), responses.get_region(), data.get("QueueName", ""))
    if held_queues.get(name, 0) > time.time():
        raise sqs._Err("QueueDeletedRecently", "You must wait 60 seconds after deleting a queue before you can create another with the same name.")
    answer = _create_queue(data, url)
    queue = sqs._queues[sqs._queue_url(data["QueueName"])]
    queue["attributes"].setdefault("SqsManagedSseEnabled", "true")
    return answer


def delete_queue(data, url):
    answer = _delete_queue(data, url)
    name = (responses.get_account_id(), responses.get_region(), url.rstrip("/").rsplit("/", 1)[-1])
    held_queues[name] = time.time() + min(60, NAME_HELD_S)
    return answer


sqs._act_create_queue, sqs._act_delete_queue = create_queue, delete_queue
for table in [value for value in vars(sqs).values() if isinstance(value, dict) and "CreateQueue" in value]:
    table["CreateQueue"], table["DeleteQueue"] = create_queue, delete_queue


# Kinesis: a stream is made with its tags, has four shards in on-demand mode, and is CREATING or UPDATING for a while.

_create_stream = kinesis._create_stream
_start_encryption = kinesis._start_stream_encryption


def create_stream(data):
    if data.get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND":
        data = {**data, "ShardCount": 4}
    answer = _create_stream(data)
    if answer[0] == 200:
        stream = kinesis._streams[data["StreamName"]]
        stream.update(tags=dict(data.get("Tags") or {}), StreamStatus="CREATING", busy_until=time.time() + OPERATION_S)
    return answer


def start_encryption(data):
    _, stream = kinesis._resolve_stream(data)
    if stream and stream["StreamStatus"] != "ACTIVE":
        return responses.error_response_json("ResourceInUseException", f"Stream is {stream['StreamStatus']}", 400)
    answer = _start_encryption(data)
    if stream and answer[0] == 200:
        stream.update(StreamStatus="UPDATING", busy_until=time.time() + OPERATION_S)
    return answer


def ensure_active(stream):
    if stream["StreamStatus"] in ("CREATING", "UPDATING") and stream.get("busy_until", 0) <= time.time():
        stream["StreamStatus"] = "ACTIVE"


_resolve_stream = kinesis._resolve_stream


def resolve_stream(data):
    name, stream = _resolve_stream(data)
    if stream:
        ensure_active(stream)
    return name, stream


kinesis._create_stream = create_stream
kinesis._ensure_active = ensure_active
kinesis._resolve_stream = resolve_stream
kinesis._start_stream_encryption = start_encryption


if __name__ == "__main__":
    ministack.main()
