#!/usr/bin/env python3
"""Seeds the emulator with clusters and their networks, and prints what Kubernetes must know of them as JSON.

usage: seed_aws.py ENDPOINT REGION CLUSTER:NODES...

Each cluster has a VPC of its own with public and private subnets in three zones, an internet gateway, NAT gateways, an
egress-only gateway, route tables, a network ACL, security groups, endpoints, a launch template, two nodegroups with
their instances, a Fargate profile, an identity for the load balancer controller, an ALB and an NLB. A transit gateway
and peerings lead to a VPC of services that all share; a prefix list names another network behind it. Faults of the
first cluster, found by eks-doctor: the NAT gateway of the third zone is gone, and the network ACL of the private
subnets drops UDP.
"""
import base64
import json
import sys
import urllib.request

import boto3

ACCOUNT = "123456789012"
endpoint, region, wanted = sys.argv[1], sys.argv[2], sys.argv[3:]
session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=region)
ec2, eks, elb, iam, autoscaling = (
    session.client(name, endpoint_url=endpoint) for name in ("ec2", "eks", "elbv2", "iam", "autoscaling")
)
zones = [region + letter for letter in "abc"]


def trust(service):
    actions = ["sts:AssumeRole", "sts:TagSession"] if service == "pods.eks.amazonaws.com" else "sts:AssumeRole"
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": actions}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def tags(kind, name, **more):
    pairs = [{"Key": "Name", "Value": name}] + [{"Key": key, "Value": value} for key, value in more.items()]
    return [{"ResourceType": kind, "Tags": pairs}]


def roles():
    nodes = ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"]
    for name, service, policies in (
        ("eks-cluster-role", "eks.amazonaws.com", ["AmazonEKSClusterPolicy"]),
        ("node-role", "ec2.amazonaws.com", nodes),
        ("spot-role", "ec2.amazonaws.com", nodes),
        ("fargate-role", "eks-fargate-pods.amazonaws.com", ["AmazonEKSFargatePodExecutionRolePolicy"]),
        ("controller-role", "pods.eks.amazonaws.com", []),
    ):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))
        for policy in policies:
            iam.attach_role_policy(RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
    own = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    policy = iam.create_policy(PolicyName="node-extras", PolicyDocument=json.dumps(own))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="node-role", PolicyArn=policy)
    iam.put_role_policy(RoleName="node-role", PolicyName="inline", PolicyDocument=json.dumps(own))
    calls = ["ec2:Describe*", "ec2:*SecurityGroup*", "ec2:CreateTags", "elasticloadbalancing:*", "acm:*", "iam:*"]
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": calls, "Resource": "*"}]}
    policy = iam.create_policy(PolicyName="controller", PolicyDocument=json.dumps(allowed))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="controller-role", PolicyArn=policy)
    iam.create_instance_profile(InstanceProfileName="node-profile")
    iam.add_role_to_instance_profile(InstanceProfileName="node-profile", RoleName="node-role")


def services():
    """The VPC that all clusters share, the transit gateway to it, and the prefix list of what lies behind it."""
    vpc = ec2.create_vpc(CidrBlock="10.240.0.0/16", TagSpecifications=tags("vpc", "services"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.240.0.0/24", AvailabilityZone=zones[0])["Subnet"]["SubnetId"]
    gateway = ec2.create_transit_gateway(
        Options={"DefaultRouteTableAssociation": "enable", "DefaultRouteTablePropagation": "enable"}
    )["TransitGateway"]["TransitGatewayId"]
    ec2.create_transit_gateway_route_table(TransitGatewayId=gateway)
    ec2.create_transit_gateway_vpc_attachment(TransitGatewayId=gateway, VpcId=vpc, SubnetIds=[subnet])
    entries = [{"Cidr": "192.168.0.0/16", "Description": "office"}]
    listed = ec2.create_managed_prefix_list(
        PrefixListName="offices", MaxEntries=5, AddressFamily="IPv4", Entries=entries
    )["PrefixList"]["PrefixListId"]
    return vpc, gateway, listed


def network(index, name, shared_vpc, transit, listed):
    base = 16 * index
    shared = {f"kubernetes.io/cluster/{name}": "shared"}
    vpc = ec2.create_vpc(
        CidrBlock=f"10.{base}.0.0/16", AmazonProvidedIpv6CidrBlock=True, TagSpecifications=tags("vpc", name)
    )["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
    options = [
        {"Key": "domain-name-servers", "Values": ["AmazonProvidedDNS"]},
        {"Key": "domain-name", "Values": [f"{region}.compute.internal"]},
    ]
    dhcp = ec2.create_dhcp_options(DhcpConfigurations=options)["DhcpOptions"]["DhcpOptionsId"]
    ec2.associate_dhcp_options(DhcpOptionsId=dhcp, VpcId=vpc)
    public, private = [], []
    for zone, letter in zip(zones, range(3)):
        for kind, cidr, role, found in (
            ("public", f"10.{base}.{letter}.0/24", "elb", public),
            ("private", f"10.{base}.{16 * (letter + 1)}.0/20", "internal-elb", private),
        ):
            subnet = ec2.create_subnet(
                VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone,
                TagSpecifications=tags("subnet", f"{name}-{kind}-{zone}", **shared, **{f"kubernetes.io/role/{role}": "1"}),
            )["Subnet"]["SubnetId"]
            found.append(subnet)
            if kind == "public":
                ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    ec2.create_subnet_cidr_reservation(SubnetId=private[0], Cidr=f"10.{base}.16.64/26", ReservationType="prefix")
    ec2.create_transit_gateway_vpc_attachment(TransitGatewayId=transit, VpcId=vpc, SubnetIds=private)
    peering = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=shared_vpc)["VpcPeeringConnection"]
    peering = peering["VpcPeeringConnectionId"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)
    egress_only = ec2.create_egress_only_internet_gateway(VpcId=vpc)["EgressOnlyInternetGateway"]
    egress_only = egress_only["EgressOnlyInternetGatewayId"]
    igw = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=igw, VpcId=vpc)

    def table(kind, subnets, **route):
        table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tags("route-table", f"{name}-{kind}"))
        table = table["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **route)
        for subnet in subnets:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        return table

    table("public", public, GatewayId=igw)
    tables, nats = [], []
    for zone in range(3):
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = ec2.create_nat_gateway(SubnetId=public[zone], AllocationId=address)["NatGateway"]["NatGatewayId"]
        nats.append(nat)
        tables.append(table(f"private-{zone}", [private[zone]], NatGatewayId=nat))
        for route in (
            {"DestinationCidrBlock": "10.240.0.0/16", "VpcPeeringConnectionId": peering},
            {"DestinationCidrBlock": "172.31.0.0/16", "TransitGatewayId": transit},
            {"DestinationPrefixListId": listed, "TransitGatewayId": transit},
            {"DestinationIpv6CidrBlock": "::/0", "EgressOnlyInternetGatewayId": egress_only},
        ):
            ec2.create_route(RouteTableId=tables[-1], **route)
    acl = ec2.create_network_acl(VpcId=vpc, TagSpecifications=tags("network-acl", name))["NetworkAcl"]["NetworkAclId"]
    # moto does not add what every network ACL ends with.
    for egress in (False, True):
        ec2.create_network_acl_entry(
            NetworkAclId=acl, RuleNumber=32766, Protocol="-1", RuleAction="deny", Egress=egress, CidrBlock="0.0.0.0/0"
        )
        ec2.create_network_acl_entry(
            NetworkAclId=acl, RuleNumber=100, Protocol="6" if index == 0 and not egress else "-1", RuleAction="allow",
            Egress=egress, CidrBlock="0.0.0.0/0", PortRange={"From": 0, "To": 65535},
        )
    for other in ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"]:
        for association in other["Associations"]:
            if association.get("SubnetId") in private:
                ec2.replace_network_acl_association(
                    AssociationId=association["NetworkAclAssociationId"], NetworkAclId=acl
                )
    if index == 0:
        ec2.delete_nat_gateway(NatGatewayId=nats[2])
    return vpc, public, private, tables


def cluster(index, name, count, shared):
    vpc, public, private, tables = network(index, name, *shared)
    made = eks.create_cluster(
        name=name, version="1.32", roleArn=f"arn:aws:iam::{ACCOUNT}:role/eks-cluster-role",
        resourcesVpcConfig={"subnetIds": private, "endpointPublicAccess": True, "endpointPrivateAccess": True},
        kubernetesNetworkConfig={"serviceIpv4Cidr": "172.20.0.0/16"},
    )["cluster"]
    group = eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"]["clusterSecurityGroupId"]
    offices = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "PrefixListIds": [{"PrefixListId": shared[2]}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[offices])
    ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName=f"com.amazonaws.{region}.s3", VpcEndpointType="Gateway", RouteTableIds=tables
    )
    for service in ("ecr.api", "sts"):
        ec2.create_vpc_endpoint(
            VpcId=vpc, ServiceName=f"com.amazonaws.{region}.{service}", VpcEndpointType="Interface", SubnetIds=private,
            SecurityGroupIds=[group], PrivateDnsEnabled=True,
        )
    data = base64.b64encode(f"#!/bin/bash\n/etc/eks/bootstrap.sh {name}\n".encode()).decode()
    image = "ami-12c6146b"
    template = ec2.create_launch_template(
        LaunchTemplateName=f"{name}-nodes",
        LaunchTemplateData={
            "ImageId": image, "InstanceType": "m5.large", "SecurityGroupIds": [group], "UserData": data,
            "IamInstanceProfile": {"Name": "node-profile"},
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        },
    )["LaunchTemplate"]["LaunchTemplateId"]
    for nodegroup, role, size in (("workers", "node-role", count), ("spot", "spot-role", 0)):
        eks.create_nodegroup(
            clusterName=name, nodegroupName=nodegroup, nodeRole=f"arn:aws:iam::{ACCOUNT}:role/{role}", subnets=private,
            scalingConfig={"minSize": 0, "maxSize": count, "desiredSize": size}, instanceTypes=["m5.large"],
        )
    eks.create_fargate_profile(
        clusterName=name, fargateProfileName="serverless", subnets=private, selectors=[{"namespace": "serverless"}],
        podExecutionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/fargate-role",
    )
    nodes = []
    for zone, subnet in enumerate(private):
        left = count // 3 + (zone < count % 3)
        while left:
            batch = min(left, 50)
            left -= batch
            launched = ec2.run_instances(
                ImageId=image, InstanceType="m5.large", MinCount=batch, MaxCount=batch, SubnetId=subnet,
                SecurityGroupIds=[group], IamInstanceProfile={"Name": "node-profile"},
                TagSpecifications=tags("instance", f"{name}-workers", **{
                    f"kubernetes.io/cluster/{name}": "owned", "eks:cluster-name": name, "eks:nodegroup-name": "workers",
                }),
            )["Instances"]
            for instance in launched:
                # Pods run in the first cluster only.
                interface = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
                more = {"AssignedPrivateIpAddresses": [{"PrivateIpAddress": instance["PrivateIpAddress"]}]}
                if index == 0:
                    more = ec2.assign_private_ip_addresses(
                        NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=5
                    )
                nodes.append({
                    "id": instance["InstanceId"], "zone": zones[zone], "name": instance["PrivateDnsName"],
                    "address": instance["PrivateIpAddress"],
                    "more": [a["PrivateIpAddress"] for a in more["AssignedPrivateIpAddresses"]],
                })
    balancers = {}
    for kind, subnets, scheme, protocol, target in (
        ("application", public, "internet-facing", "HTTP", "ip"), ("network", private, "internal", "TCP", "instance"),
    ):
        balancer = elb.create_load_balancer(
            Name=f"k8s-web-{kind[:3]}{index}", Subnets=subnets, Scheme=scheme, Type=kind,
            **({"SecurityGroups": [group]} if kind == "application" else {}),
            Tags=[{"Key": "elbv2.k8s.aws/cluster", "Value": name}],
        )["LoadBalancers"][0]
        made_group = elb.create_target_group(
            Name=f"k8s-web-{kind[:3]}{index}", Protocol=protocol, Port=8080, VpcId=vpc, TargetType=target
        )["TargetGroups"][0]["TargetGroupArn"]
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"], Protocol=protocol, Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": made_group}],
        )
        targets = [{"Id": node["more"][0] if target == "ip" else node["id"]} for node in nodes[:3]]
        elb.register_targets(TargetGroupArn=made_group, Targets=targets)
        balancers[kind] = balancer["DNSName"]
    replay(name, made["arn"])
    return {"cluster": name, "region": region, "nodes": nodes, "balancers": balancers, "subnets": private, "group": group}


def replay(name, arn):
    """What moto's EKS does not answer."""
    path = f"/clusters/{name}"
    addons = ["coredns", "eks-pod-identity-agent", "kube-proxy", "vpc-cni"]
    node_roles = [f"arn:aws:iam::{ACCOUNT}:role/{role}" for role in ("node-role", "spot-role")]
    association = {
        "clusterName": name, "namespace": "kube-system", "serviceAccount": "aws-load-balancer-controller",
        "associationArn": f"{arn.replace(':cluster/', ':podidentityassociation/')}/a-1", "associationId": "a-1",
    }
    whole = {**association, "roleArn": f"arn:aws:iam::{ACCOUNT}:role/controller-role", "tags": {}}
    answers = {
        f"GET {path}/addons": {"addons": addons},
        f"GET {path}/access-entries": {"accessEntries": node_roles},
        f"GET {path}/pod-identity-associations": {"associations": [association]},
        f"GET {path}/pod-identity-associations/a-1": {"association": whole},
        f"GET {path}/insights": {"insights": [{
            "id": "d4c9d5ac-0000-4000-8000-000000000001", "name": "kubelet version skew", "category": "UPGRADE_READINESS",
            "kubernetesVersion": "1.33", "lastRefreshTime": 1769904000, "lastTransitionTime": 1769904000,
            "description": "Checks for versions of kubelet", "insightStatus": {"status": "PASSING", "reason": "ok"},
        }]},
    }
    for role in node_roles:
        entry = f"{arn.replace(':cluster/', ':access-entry/')}/role/{ACCOUNT}/{role.split('/')[-1]}/1"
        answers[f"GET {path}/access-entries/{role}"] = {"accessEntry": {
            "clusterName": name, "principalArn": role, "kubernetesGroups": ["system:nodes"], "type": "EC2_LINUX",
            "accessEntryArn": entry, "tags": {}, "createdAt": 1769904000.5, "modifiedAt": 1769904000.5,
            "username": "system:node:{{EC2PrivateDNSName}}",
        }}
    for addon in addons:
        answers[f"GET {path}/addons/{addon}"] = {"addon": {
            "addonName": addon, "clusterName": name, "status": "ACTIVE", "addonVersion": "v1.0.0-eksbuild.1",
            "health": {"issues": []}, "addonArn": f"{arn.replace(':cluster/', ':addon/')}/{addon}/1",
            "createdAt": 1769904000, "modifiedAt": 1769904000, "tags": {},
        }}
    body = json.dumps(answers).encode()
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/_replay", body, method="POST")).read()


roles()
shared = services()
pairs = (text.split(":") for text in wanted)
print(json.dumps([cluster(index, name, int(count), shared) for index, (name, count) in enumerate(pairs)]))
