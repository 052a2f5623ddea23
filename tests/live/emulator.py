#!/usr/bin/env python3
"""AWS on a loopback port: moto's server, with replayed answers for what it lacks, and faults on demand.

usage: emulator.py PORT

What moto 5.2.5 gets wrong is put right here: EKS knows the VPC and the cluster security group of a cluster, EC2 answers
in pages. What it does not have (access entries, add-ons, Pod Identity, insights) is replayed: a test or the seeder says
what an operation answers. None of this is a recording of AWS: it exercises the program, it proves nothing about AWS.

Repeated reads are answered from memory, so that the client is timed and not moto. The paths below /_ are for tests:
  POST /_replay   {"GET /clusters/demo/addons": {...}}     answers of EKS, by method and path
  POST /_fault    {"operation": "DescribeSubnets", "kind": "denied", "times": 1}
                  kinds: denied throttled expired dropped hung unknown-key old-token; operation * is any; times 0 is for ever; {} ends it
  POST /_delay    {"milliseconds": 50}                     put before every answer
  POST /_page     {"items": 5}                             EC2 gives no more at once; 0 ends it
  GET  /_calls    the calls since the last time: [{"service", "operation", "status"}]
"""
import io
import json
import os
import re
import socket
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"

from moto.ec2.models import ec2_backends  # noqa: E402
from moto.ec2.models.core import TaggedEC2Resource  # noqa: E402
from moto.ec2.models.tags import EC2_PREFIX_TO_RESOURCE, get_prefix  # noqa: E402
from moto.eks.models import EKSBackend  # noqa: E402
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, run_simple  # noqa: E402

ACCOUNT = "123456789012"
READ = re.compile(r"(Describe|Get|List|Search)")
EKS_OPERATIONS = [
    (r"GET /clusters", "ListClusters"),
    (r"GET /clusters/[^/]+", "DescribeCluster"),
    (r"GET /clusters/[^/]+/node-groups", "ListNodegroups"),
    (r"GET /clusters/[^/]+/node-groups/[^/]+", "DescribeNodegroup"),
    (r"GET /clusters/[^/]+/fargate-profiles", "ListFargateProfiles"),
    (r"GET /clusters/[^/]+/fargate-profiles/[^/]+", "DescribeFargateProfile"),
    (r"GET /clusters/[^/]+/addons", "ListAddons"),
    (r"GET /clusters/[^/]+/addons/[^/]+", "DescribeAddon"),
    (r"GET /clusters/[^/]+/access-entries", "ListAccessEntries"),
    (r"GET /clusters/[^/]+/access-entries/.+", "DescribeAccessEntry"),
    (r"GET /clusters/[^/]+/pod-identity-associations", "ListPodIdentityAssociations"),
    (r"GET /clusters/[^/]+/pod-identity-associations/[^/]+", "DescribePodIdentityAssociation"),
    (r"(GET|POST) /clusters/[^/]+/insights", "ListInsights"),
]

lock = threading.Lock()
state = {"replay": {}, "fault": {}, "delay": 0, "page": 0, "calls": [], "memory": {}, "pages": {}}


def tags_of(self):
    """moto looks through the tags of everything for those of one object."""
    kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "") if self.id else ""
    tags = self.ec2_backend.tags.get(self.id, {})
    return [{"resource_id": self.id, "key": k, "value": v, "resource_type": kind} for k, v in tags.items()]


TaggedEC2Resource.get_tags = tags_of


def complete_cluster(create):
    """What DescribeCluster lacks in moto: the VPC, the cluster security group, how access is granted."""

    def create_cluster(self, *args, **kwargs):
        cluster = create(self, *args, **kwargs)
        ec2 = ec2_backends[ACCOUNT][self.region_name]
        config = cluster.resources_vpc_config
        subnets = [ec2.get_subnet(subnet) for subnet in config.get("subnetIds", [])]
        if subnets:
            name = f"eks-cluster-sg-{cluster.name}-{abs(hash(cluster.name)) % 10**9}"
            tags = {"Name": name, f"kubernetes.io/cluster/{cluster.name}": "owned", "aws:eks:cluster-name": cluster.name}
            group = ec2.create_security_group(name, "EKS created security group", vpc_id=subnets[0].vpc_id, tags=tags)
            ec2.authorize_security_group_ingress(group.id, "-1", None, None, [], [{"GroupId": group.id}])
            config.update(vpcId=subnets[0].vpc_id, clusterSecurityGroupId=group.id)
            for key, value in (
                ("endpointPublicAccess", True),
                ("endpointPrivateAccess", False),
                ("publicAccessCidrs", ["0.0.0.0/0"]),
                ("securityGroupIds", []),
            ):
                config.setdefault(key, value)
            groups = [group.id, *config["securityGroupIds"]]
            for subnet in subnets[:2]:
                interface = ec2.create_network_interface(subnet, None, [], groups, description=f"Amazon EKS {cluster.name}")
                interface.requester_managed = True
                interface.status = "in-use"
        network = cluster.kubernetes_network_config or {}
        cluster.kubernetes_network_config = {"ipFamily": "ipv4", **network}
        cluster.health = {"issues": []}
        cluster.access_config = {"authenticationMode": "API_AND_CONFIG_MAP"}
        return cluster

    return create_cluster


EKSBackend.create_cluster = complete_cluster(EKSBackend.create_cluster)


def asked(environ, body):
    """Service and operation of a request."""
    found = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    service = found.group(1) if found else "-"
    if service == "eks":
        path = urllib.parse.unquote(environ["PATH_INFO"])
        line = f"{environ['REQUEST_METHOD']} {path}"
        return service, next((name for shape, name in EKS_OPERATIONS if re.fullmatch(shape, line)), line)
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return service, target.split(".")[-1]
    return service, urllib.parse.parse_qs(body.decode("utf8", "replace")).get("Action", ["-"])[0]


def error(service, code, message, status):
    """An error as the service words it."""
    if service == "ec2":
        text = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>0</RequestID></Response>"
        return status, [("Content-Type", "text/xml")], text.encode()
    if service in ("eks", "kms"):
        text = json.dumps({"__type": code, "message": message})
        return status, [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)], text.encode()
    text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
    return status, [("Content-Type", "text/xml")], text.encode()


def page(body, answer):
    """One page of EC2's whole answer."""
    query = urllib.parse.parse_qs(body.decode())
    size = int(query.get("MaxResults", ["0"])[0])
    if size and state["page"]:
        size = min(size, state["page"])
    start = int(query.get("NextToken", ["page-0"])[0].removeprefix("page-"))
    if not size and not start:
        return answer
    root = ElementTree.fromstring(answer)
    space = re.match(r"\{[^}]*\}", root.tag)
    space = space.group(0) if space else ""
    if space:
        ElementTree.register_namespace("", space[1:-1])
    for child in root:
        items = [item for item in child if item.tag == f"{space}item"]
        for item in items[:start] + (items[start + size :] if size else []):
            child.remove(item)
        if size and start + size < len(items):
            for old in root.findall(f"{space}nextToken"):
                root.remove(old)
            ElementTree.SubElement(root, f"{space}nextToken").text = f"page-{start + size}"
        if items:
            break
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def control(path, body):
    """The paths that tests steer by."""
    with lock:
        if path == "/_calls":
            calls, state["calls"] = state["calls"], []
            return calls
        said = json.loads(body or b"{}")
        if path == "/_replay":
            state["replay"].update(said)
            state["memory"].clear()
            state["pages"].clear()
        elif path == "/_fault":
            state["fault"] = {**said, "seen": 0}
        elif path == "/_page":
            state["page"] = said.get("items", 0)
            state["pages"].clear()
        elif path == "/_delay":
            state["delay"] = said.get("milliseconds", 0) / 1000
        return {}


def fault(service, operation, body):
    """The fault that this call meets, if any."""
    with lock:
        wanted = state["fault"]
        if not wanted.get("kind") or wanted.get("operation") not in ("*", operation, f"{service}:{operation}"):
            return None
        if wanted["kind"] == "expired" and b"NextToken=" not in body:
            return None
        wanted["seen"] += 1
        if wanted.get("times") and wanted["seen"] > wanted["times"]:
            return None
        return wanted["kind"]


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *args):
        pass


moto = DomainDispatcherApplication(create_backend_app)


def answer(environ, service, operation, body):
    """Status, headers and body of moto's answer, or the replayed one."""
    if service == "eks":
        path = urllib.parse.unquote(environ["PATH_INFO"])
        method = "GET" if operation == "ListInsights" else environ["REQUEST_METHOD"]
        with lock:
            replay = state["replay"].get(f"{method} {path}")
        if replay is not None:
            return 200, [("Content-Type", "application/json")], json.dumps(replay).encode()
    # The whole answer is remembered, and each page of it.
    whole = re.sub(rb"&(MaxResults|NextToken)=[^&]*", b"", body) if service == "ec2" else body
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    region = scope.group(1) if scope else ""
    place = (region, service, environ["REQUEST_METHOD"], environ.get("PATH_INFO"), environ.get("QUERY_STRING"))
    read = READ.match(operation)
    with lock:
        if not read:
            state["memory"].clear()
            state["pages"].clear()
        remembered = state["memory"].get((*place, whole)) if read else None
        if read and (*place, body) in state["pages"]:
            return state["pages"][(*place, body)]
    if remembered is None:
        said = {}

        def start(status, headers, exc_info=None):
            said["status"], said["headers"] = int(status[:3]), headers

        text = b"".join(moto(environ, start))
        kept = [header for header in said["headers"] if header[0].lower() != "content-length"]
        remembered = said["status"], kept, text
    status, headers, text = remembered
    if service == "ec2" and read and status == 200:
        text = page(body, text)
    if read and status == 200:
        with lock:
            state["memory"][(*place, whole)] = remembered
            state["pages"][(*place, body)] = status, headers, text
    return status, headers, text


def application(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    if environ["PATH_INFO"].startswith("/_"):
        text = json.dumps(control(environ["PATH_INFO"], body)).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
        return [text]
    service, operation = asked(environ, body)
    if state["delay"]:
        time.sleep(state["delay"])
    kind = fault(service, operation, body)
    if kind == "hung":
        time.sleep(3600)
    if kind == "denied":
        code = "UnauthorizedOperation" if service == "ec2" else "AccessDeniedException" if service in ("eks", "kms") else "AccessDenied"
        status, headers, text = error(service, code, f"not authorized to perform {operation}", 403)
    elif kind == "throttled":
        code = "ThrottlingException" if service in ("eks", "kms") else "Throttling" if service != "ec2" else "RequestLimitExceeded"
        status, headers, text = error(service, code, "Request limit exceeded.", 429 if service in ("eks", "kms") else 503)
    elif kind in ("unknown-key", "old-token"):
        code = "UnrecognizedClientException" if kind == "unknown-key" else "ExpiredTokenException"
        status, headers, text = error(service, code, "The security token included in the request is invalid", 403)
    elif kind == "expired":
        status, headers, text = error(service, "InvalidNextToken", "The token is expired.", 400)
    else:
        status, headers, text = answer(environ, service, operation, body)
    with lock:
        state["calls"].append({"service": service, "operation": operation, "status": status})
    start_response(f"{status} -", [*headers, ("Content-Length", str(len(text)))])
    if kind == "dropped":

        def half():
            yield text[: len(text) // 2]
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)

        return half()
    return [text]


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=Handler)
