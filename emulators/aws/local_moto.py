"""
EC2 and Auto Scaling: moto's server with its state kept over kill -9, and with the answers corrected that differ from
AWS in what our cells touch; before it, the limits that Service Quotas tells. Environment: MOTO_STATE (file), MOTO_PORT,
MOTO_ACCOUNT_ID, OPERATION_MS, QUOTAS (file).
"""

import copy
import io
import json
import logging
import os
import pickle
import re
import sys
import time
from threading import RLock

import lifeline

lifeline.hold()

from moto.autoscaling import models as autoscaling  # noqa: E402
from moto.autoscaling import responses as autoscaling_responses  # noqa: E402
from moto.autoscaling.exceptions import AutoscalingClientError  # noqa: E402
from moto.backends import get_backend  # noqa: E402
from moto.core.responses import ActionResult  # noqa: E402
from moto.ec2.exceptions import DependencyViolationError, EC2ClientError  # noqa: E402
from moto.ec2.models import instance_types, instances, internet_gateways, launch_templates, subnets, vpcs  # noqa: E402
from moto.ec2.responses import launch_templates as launch_template_responses  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple  # noqa: E402

import quotas  # noqa: E402

STATE = os.environ["MOTO_STATE"]
OPERATION_S = int(os.environ.get("OPERATION_MS", "0")) / 1000
KEPT = ("ec2", "autoscaling")
# moto's models are not made for threads, and a snapshot must see them at rest.
LOCK = RLock()


# State: one pickle of all backends together, so that what Auto Scaling and EC2 share stays shared.


def save() -> None:
    kept = {
        (service, account, region): backend
        for service in KEPT
        for account, region, backend in get_backend(service).iter_backends()
    }
    temporary = STATE + ".tmp"
    with open(temporary, "wb") as file:
        pickle.dump(kept, file, protocol=pickle.HIGHEST_PROTOCOL)
    os.replace(temporary, STATE)


def load() -> None:
    if not os.path.exists(STATE):
        return
    with open(STATE, "rb") as file:
        kept = pickle.load(file)
    for (service, account, region), backend in kept.items():
        get_backend(service)[account][region] = backend


class Durable:
    """Answers a change only once it is on disk."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, environ, start_response):
        with LOCK:
            catch_up()
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(length) if length else b""
            service, _, action = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
            if service.startswith("ServiceQuotas"):
                return tell_quota(environ, start_response, action, body)
            environ["wsgi.input"] = io.BytesIO(body)
            answer = list(self.inner(environ, start_response))
            action = body.split(b"Action=", 1)[-1].split(b"&", 1)[0] if b"Action=" in body else b""
            if not action.startswith((b"Describe", b"Get", b"List")):
                save()
            return answer


# Quotas: https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html


def tell_quota(environ, start_response, action: str, body: bytes):
    # Credential=<key>/<day>/<region>/servicequotas/aws4_request
    region = environ.get("HTTP_AUTHORIZATION", "//us-east-1").split("/")[2]
    status, told = quotas.answer(action, json.loads(body or b"{}"), region, os.environ["MOTO_ACCOUNT_ID"])
    headers = [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-RequestId", os.urandom(16).hex())]
    start_response(f"{status} {'OK' if status == 200 else 'Bad Request'}", headers)
    return [json.dumps(told).encode()]


def vcpus(instance_type: str) -> int:
    """Of the families that L-1216C47A counts."""
    if not re.match(r"(a|c|d|h|i|im|is|m|r|t|z)\d", instance_type):
        return 0
    return instance_types.INSTANCE_TYPES.get(instance_type, {}).get("VCpuInfo", {}).get("DefaultVCpus", 0)


def room(backend, instance_type: str) -> int:
    """How many instances of a type may still be started."""
    each = vcpus(instance_type)
    if each == 0:
        return sys.maxsize
    on = [one for one in backend.all_instances() if one.state in ("pending", "running")]
    used = sum(vcpus(one.instance_type or "") for one in on)
    return max(0, int(quotas.limit("L-1216C47A", backend.region_name) - used) // each)


_run_instances = instances.InstanceBackend.run_instances


def run_instances(self, image_id, count, *args, **kwargs):
    if count > room(self, kwargs.get("instance_type") or ""):
        raise EC2ClientError(
            "VcpuLimitExceeded",
            "You have requested more vCPU capacity than your current vCPU limit of "
            f"{quotas.limit('L-1216C47A', self.region_name):.0f} allows for the instance bucket that the specified instance "
            "type belongs to.",
        )
    return _run_instances(self, image_id, count, *args, **kwargs)


instances.InstanceBackend.run_instances = run_instances

_start_instances = autoscaling.FakeAutoScalingGroup.replace_autoscaling_group_instances


def start_instances(self, count_needed, propagated_tags):
    """A group starts as many as the quota allows, and goes on when it was raised."""
    fitting = min(count_needed, room(self.autoscaling_backend.ec2_backend, self.instance_type or ""))
    if fitting > 0:
        _start_instances(self, fitting, propagated_tags)


autoscaling.FakeAutoScalingGroup.replace_autoscaling_group_instances = start_instances

_create_vpc = vpcs.VPCBackend.create_vpc


def create_vpc(self, *args, **kwargs):
    if not kwargs.get("is_default") and len(self.vpcs) >= quotas.limit("L-F678F1CE", self.region_name):
        raise EC2ClientError("VpcLimitExceeded", "The maximum number of VPCs has been reached.")
    return _create_vpc(self, *args, **kwargs)


vpcs.VPCBackend.create_vpc = create_vpc


# Auto Scaling


_create_group = autoscaling.AutoScalingBackend.create_auto_scaling_group


def create_group(self, name, *args, **kwargs):
    """AWS refuses a second group of a name; moto replaces it and leaks the instances of the first."""
    if name in self.autoscaling_groups:
        raise AutoscalingClientError(
            "AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name already exists"
        )
    desired, least, most = (kwargs.get(key) for key in ("desired_capacity", "min_size", "max_size"))
    if desired is not None and not int(least) <= int(desired) <= int(most):
        raise AutoscalingClientError("ValidationError", "Desired capacity must be between the min and max")
    return _create_group(self, name, *args, **kwargs)


autoscaling.AutoScalingBackend.create_auto_scaling_group = create_group

def group_instances(self):
    """Instances are Pending for a while before they are in service."""

    def shown(state):
        if state.lifecycle_state == "InService" and time.time() < state.instance.started_at + OPERATION_S:
            state = copy.copy(state)
            state.lifecycle_state = "Pending"
        return state

    return [shown(state) for state in self.instance_states]


autoscaling.FakeAutoScalingGroup.instances = property(group_instances)

_delete_group = autoscaling.AutoScalingBackend.delete_auto_scaling_group


def delete_group(self, group_name):
    """The group stays visible with a status until its instances are gone (`OPERATION_MS`)."""
    group = self.autoscaling_groups.get(group_name)
    if group is None or OPERATION_S == 0:
        return _delete_group(self, group_name)
    if not getattr(group, "delete_at", None):
        group.delete_at = time.time() + OPERATION_S
        group.status = "Delete in progress"
    return None


autoscaling.AutoScalingBackend.delete_auto_scaling_group = delete_group


def catch_up() -> None:
    """
    What has become due since the last request: groups whose instances are gone or may be started now, instances that ended
    a minute ago.
    """
    for _, _, backend in list(get_backend("autoscaling").iter_backends()):
        for name, group in list(backend.autoscaling_groups.items()):
            lacking = (group.desired_capacity or 0) - len(group.instance_states)
            if lacking > 0 and not getattr(group, "delete_at", None):
                try:
                    group.replace_autoscaling_group_instances(lacking, group.get_propagated_tags())
                    save()
                except EC2ClientError:
                    pass  # what its instances are made of is gone
            if getattr(group, "delete_at", None) and group.delete_at <= time.time():
                _delete_group(backend, name)
                save()
    for _, _, backend in list(get_backend("ec2").iter_backends()):
        for id, reservation in list(backend.reservations.items()):
            if all(ended_before(instance, time.time() - 60) for instance in reservation.instances):
                del backend.reservations[id]


def ended_before(instance, moment: float) -> bool:
    if instance.state != "terminated":
        return False
    if not hasattr(instance, "ended_at"):
        instance.ended_at = time.time()
    return instance.ended_at < moment


_delete_response = autoscaling_responses.AutoScalingResponse.delete_auto_scaling_group


def delete_response(self) -> ActionResult:
    name = self._get_param("AutoScalingGroupName")
    group = self.autoscaling_backend.autoscaling_groups.get(name)
    forced = str(self._get_param("ForceDelete", "false")).lower() == "true"
    if group and group.instance_states and not forced:
        raise AutoscalingClientError("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances")
    return _delete_response(self)


autoscaling_responses.AutoScalingResponse.delete_auto_scaling_group = delete_response


# EC2


def image_id(self) -> str:
    """`resolve:ssm:<parameter>` is resolved when an instance starts: here to some image of the right architecture."""
    asked = self.data.get("ImageId", "")
    if not asked.startswith("resolve:ssm:"):
        return asked
    wanted = "arm64" if "arm64" in asked else "x86_64"
    backend = self.template.ec2_backend
    return next((id for id, ami in backend.amis.items() if ami.architecture == wanted), next(iter(backend.amis)))


launch_templates.LaunchTemplateVersion.image_id = property(image_id)

_instance = instances.Instance.__init__


def instance(self, ec2_backend, *args, **kwargs):
    """Metadata options of the launch template hold for its instances; moto forgets them."""
    template = kwargs.get("launch_template")
    if template and not kwargs.get("metadata_options"):
        kwargs["metadata_options"] = ec2_backend._get_template_from_args(template).data.get("MetadataOptions", {})
    _instance(self, ec2_backend, *args, **kwargs)
    self.started_at = time.time()


instances.Instance.__init__ = instance

_describe_templates = launch_template_responses.LaunchTemplates.describe_launch_templates


def describe_templates(self):
    """All of them in one page: moto returns the first 15 and no token."""
    number = self._get_int_param
    self._get_int_param = lambda name, default=None: number(name, 1000 if name == "MaxResults" else default)
    return _describe_templates(self)


launch_template_responses.LaunchTemplates.describe_launch_templates = describe_templates

_create_template = launch_template_responses.LaunchTemplates.create_launch_template


def create_template(self):
    """Tags of the template itself are not tags of what it starts; moto mixes them."""
    own = self._get_param("TagSpecifications", [])
    answer = _create_template(self)
    version = self.ec2_backend.get_launch_template_by_name(self._get_param("LaunchTemplateName")).default_version()
    kept = [spec for spec in version.data.get("TagSpecifications", []) if spec.get("ResourceType") != "launch-template"]
    version.data["TagSpecifications"] = kept if own else version.data.get("TagSpecifications", [])
    return answer


launch_template_responses.LaunchTemplates.create_launch_template = create_template

_delete_subnet = subnets.SubnetBackend.delete_subnet


def delete_subnet(self, subnet_id):
    busy = any(i.subnet_id == subnet_id and i.state != "terminated" for i in self.all_instances())
    if busy:
        raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
    return _delete_subnet(self, subnet_id)


subnets.SubnetBackend.delete_subnet = delete_subnet

_delete_vpc = vpcs.VPCBackend.delete_vpc


def delete_vpc(self, vpc_id):
    attached = any(gateway.vpc and gateway.vpc.id == vpc_id for gateway in self.internet_gateways.values())
    groups = [group for group in self.groups.get(vpc_id, {}).values() if group.name != "default"]
    if attached or groups:
        raise DependencyViolationError(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
    return _delete_vpc(self, vpc_id)


vpcs.VPCBackend.delete_vpc = delete_vpc

_detach = internet_gateways.InternetGatewayBackend.detach_internet_gateway


def detach(self, internet_gateway_id, vpc_id):
    subnet_ids = {subnet.id for subnet in self.describe_subnets(filters={"vpc-id": vpc_id})}
    if any(i.subnet_id in subnet_ids and i.state != "terminated" for i in self.all_instances()):
        raise DependencyViolationError(f"Network {vpc_id} has some mapped public address(es).")
    return _detach(self, internet_gateway_id, vpc_id)


internet_gateways.InternetGatewayBackend.detach_internet_gateway = detach


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    load()
    application = Durable(DomainDispatcherApplication(create_backend_app))
    run_simple(
        "127.0.0.1",
        int(os.environ["MOTO_PORT"]),
        application,
        threaded=True,
        request_handler=MotoRequestHandler,
    )
