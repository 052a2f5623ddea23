#!/usr/bin/env python3
"""Writes model.txt: the shapes of the answers that eks-doctor reads, taken from botocore's service models.

usage: model.py > model.txt, with botocore installed (pip install botocore)

The AWS CLI prints what botocore makes of an answer by these models, so answers read by them have the same names and
types as the CLI's. One line a service, operation or structure. A member of a structure is NAME=WIRE:TYPE; WIRE is left
out when it is what the protocol makes of the name, TYPE when it is string. Types: string, integer, float, boolean,
timestamp, policy (a document that the CLI decodes), [T] (list), {T} (map with string keys), or a structure.
"""
import botocore
import botocore.session

OPERATIONS = {
    "autoscaling": "DescribeAutoScalingGroups DescribeScalingActivities",
    "ec2": """DescribeAddresses DescribeAvailabilityZones DescribeDhcpOptions DescribeEgressOnlyInternetGateways
        DescribeInstanceTypes DescribeInstances DescribeInternetGateways DescribeLaunchTemplateVersions
        DescribeManagedPrefixLists DescribeNatGateways DescribeNetworkAcls DescribeNetworkInterfaces
        DescribePrefixLists DescribeRouteTables DescribeSecurityGroupRules DescribeSecurityGroups DescribeSubnets
        DescribeTransitGatewayAttachments DescribeTransitGatewayRouteTables DescribeTransitGatewayVpcAttachments
        DescribeTransitGateways DescribeVpcAttribute DescribeVpcEndpoints DescribeVpcPeeringConnections DescribeVpcs
        GetManagedPrefixListEntries GetSubnetCidrReservations SearchTransitGatewayRoutes""",
    "eks": """DescribeAccessEntry DescribeAddon DescribeCluster DescribeFargateProfile DescribeNodegroup
        DescribePodIdentityAssociation ListAccessEntries ListAddons ListClusters ListFargateProfiles ListInsights
        ListNodegroups ListPodIdentityAssociations""",
    "elbv2": """DescribeAccountLimits DescribeListeners DescribeLoadBalancerAttributes DescribeLoadBalancers
        DescribeTargetGroupAttributes DescribeTargetGroups DescribeTargetHealth""",
    "iam": """GetInstanceProfile GetOpenIDConnectProvider GetPolicy GetPolicyVersion GetRole GetRolePolicy
        ListAttachedRolePolicies ListOpenIDConnectProviders ListRolePolicies""",
    "kms": "GetKeyPolicy",
    "sts": "GetCallerIdentity",
}
SCALARS = {"integer": "integer", "long": "integer", "double": "float", "float": "float", "boolean": "boolean",
           "timestamp": "timestamp", "string": "string", "character": "string", "blob": "string"}


def type_of(shape, found):
    if shape.name == "policyDocumentType":
        return "policy"
    if shape.type_name in SCALARS:
        return SCALARS[shape.type_name]
    if shape.type_name == "list":
        assert not shape.serialization.get("flattened"), shape.name
        return f"[{type_of(shape.member, found)}]"
    if shape.type_name == "map":
        return "{" + type_of(shape.value, found) + "}"
    assert shape.type_name == "structure", shape.name
    if shape.name not in found:
        members = found[shape.name] = []
        for name, member in shape.members.items():
            members.append((name, member.serialization.get("name", name), type_of(member, found)))
    return shape.name


def text_of(member, protocol):
    name, wire, kind = member
    usual = name[0].lower() + name[1:] if protocol == "ec2" else name
    return name + (f"={wire}" if wire != usual else "") + (f":{kind}" if kind != "string" else "")


def main():
    session = botocore.session.get_session()
    print(f"# Written by model.py from botocore {botocore.__version__}.")
    for service, names in OPERATIONS.items():
        model = session.get_service_model(service)
        protocol = model.metadata["protocol"]
        print(f"service {service} {model.api_version}")
        found = {}
        for name in names.split():
            print("operation", name, type_of(model.operation_model(name).output_shape, found))
        for name, members in sorted(found.items()):
            print("structure", name, *(text_of(member, protocol) for member in members))


main()
