"""
Limits of the local AWS's quotas: as the file QUOTAS says, else as an account that has grown. Read each time, so that a
raised quota holds at once.
"""

import json
import os

FILE = os.environ["QUOTAS"]

# By service and code: https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html (2026-11). AWS's own default
# for a new account, and what this account has been given.
KNOWN = {
    ("ec2", "L-1216C47A"): ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 5.0, 1920.0),
    ("vpc", "L-F678F1CE"): ("VPCs per Region", 5.0, 100.0),
    ("s3", "L-DC2B2D3D"): ("General purpose buckets", 10000.0, 10000.0),
}


def told() -> dict:
    try:
        with open(FILE) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def limit(code: str, region: str) -> float:
    set_to = told()
    grown = next(given for (_, known), (_, _, given) in KNOWN.items() if known == code)
    return set_to.get(f"{code}@{region}", set_to.get(code, grown))


def answer(action: str, asked: dict, region: str, account: str) -> tuple[int, dict]:
    """Status and body of a call to Service Quotas."""
    service, code = asked.get("ServiceCode", ""), asked.get("QuotaCode", "")
    if action not in ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
        return 400, {"__type": "UnknownOperationException", "message": f"{action} is not served here"}
    if (service, code) not in KNOWN:
        return 400, {"__type": "NoSuchResourceException", "message": "The request failed because the specified quota does not exist"}
    name, default, _ = KNOWN[service, code]
    applied = limit(code, region)
    if action == "GetServiceQuota" and applied == default:
        # One that was never changed may be known by its default alone.
        return 400, {"__type": "NoSuchResourceException", "message": "The quota has no applied value"}
    return 200, {
        "Quota": {
            "ServiceCode": service,
            "QuotaCode": code,
            "QuotaName": name,
            "QuotaArn": f"arn:aws:servicequotas:{region}:{account}:{service}/{code}",
            "Value": default if action == "GetAWSDefaultServiceQuota" else applied,
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": service == "s3",
        }
    }
