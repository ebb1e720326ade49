"""
Bucket policies: what they deny is refused, whoever asks. MiniStack evaluates them only where it enforces all of IAM
(AUTH); here its evaluator judges this one thing, for the identity that a request's access key belongs to. What a policy
allows needs no look: nothing else denies.
"""

from ministack.core import iam_actions, iam_evaluator, responses
from ministack.services import s3


def denial(method: str, path: str, headers: dict, body: bytes, query: dict) -> tuple | None:
    """The answer to a request that the bucket's policy denies, or None."""
    bucket = path.lstrip("/").partition("/")[0]
    found = s3.bucket_policy_for_arn(f"arn:aws:s3:::{bucket}")
    action = iam_actions._s3_action(method, path, query)
    if not found or not found[0] or not action:
        return None
    account, region = responses.get_account_id(), responses.get_region()
    caller = _caller(iam_actions._query_param(query, "X-Amz-Credential").partition("/")[0] or _signing_key(headers))
    resource = iam_actions.extract_resource_arn("s3", method, path, headers, body, query, region, account)
    needed = [(f"s3:{action}", resource), *iam_actions.s3_additional_checks(method, path, headers, body, query)]
    for name, arn in needed:
        context = iam_actions.s3_service_context(name, query, path, headers)
        request = iam_evaluator.EvalContext(
            principal_arn=caller.arn,
            principal_type=caller.type,
            principal_account=caller.account,
            action=name,
            resource_arn=arn,
            region=region,
            secure_transport=True,  # the gateway ends TLS
            service_context={key.lower(): value for key, value in context.items()},
            principal_keys=caller.keys,
        )
        policy = found[0] if arn.startswith(f"arn:aws:s3:::{bucket}") else None
        if iam_evaluator.evaluate_resource_policy(policy, request).decision == "Deny":
            return iam_actions.access_denied_response(
                "s3", name, caller.arn, "", explicit_deny=True, resource_arn=arn, resource_policy_arn=arn
            )
    return None


def _caller(access_key: str) -> iam_evaluator.PrincipalInfo:
    if not access_key:
        return iam_evaluator.PrincipalInfo(arn="*", type="Anonymous", account="", policies=[], keys={}, limits=[])
    account = responses.get_account_id()
    known = iam_evaluator.resolve_principal(access_key, account)
    # Access keys are not checked here: whoever has one that nobody was given is the account itself.
    return iam_evaluator.resolve_principal("", account) if isinstance(known, iam_evaluator.AuthError) else known


def _signing_key(headers: dict) -> str:
    """`AWS4-HMAC-SHA256 Credential=<access key>/<date>/…`"""
    return headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


_handle_request = s3.handle_request


async def handle_request(method, path, headers, body, query_params, **more):
    denied = None if more.get("internal") else denial(method, path, headers, body, query_params)
    return denied or await _handle_request(
        method, path, headers, body, query_params, **more
    )


s3.handle_request = handle_request
