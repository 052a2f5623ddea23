//! Functions for the rules of nodes-cannot-join.

use std::sync::Arc;

use super::{Function, Subject, Ty, method};
use crate::cluster::Cluster;
use crate::cluster::access::{NodeRole, UnmappedRoles};
use crate::cluster::bootstrap::Bootstrap;
use crate::cluster::cluster_subnets::ClusterSubnet;
use crate::cluster::far_side::NodePeering;
use crate::cluster::fargate_role::FargateRole;
use crate::cluster::identity::role_name;
use crate::cluster::node_exit::{NodeEndpoint, NodeExit, PublicAccessGap};
use crate::cluster::node_groups::NodeGap;
use crate::cluster::node_labels::RefusedLabels;
use crate::cluster::node_path::BlockedPath;
use crate::cluster::private_need::PrivateNeed;
use crate::cluster::reference::MissingReference;
use crate::cluster::spot_role::SpotRole;
use crate::cluster::stray::{StrayNodes, UntaggedNodes};
use crate::cluster::transit_drop::TransitDrop;
use crate::cluster::volume_key::VolumeKey;
use crate::cluster::webhook::{NodeWebhook, SystemWebhook};
use crate::rule::value::Value;
use crate::shape::ec2::{
    self, Activity, AutoScalingGroup, DhcpOptions, LaunchTemplateVersion, NatGateway, VpcAttribute, VpcEndpoint,
};
use crate::shape::eks::{self, Nodegroup};
use crate::shape::iam::InstanceProfile;
use crate::shape::k8s::{Condition, Container, Deployment, EC2NodeClass, NodeClass, NodePool};
use crate::shape::{Described, Shape, Str};
use crate::snapshot::{Known, Missing};

const STR: Ty = Ty::Str;
const NODES: &[&str] = &["ec2:DescribeInstances", "k8s:nodes"];

/// Codes of node groups and clusters that name the object that has to change.
const CAUSES: &[&str] = &[
    "Ec2SubnetInvalidConfiguration",
    "Ec2SubnetMissingIpv6Assignment",
    "Ec2SubnetNotFound",
    "Ec2SecurityGroupNotFound",
    "Ec2LaunchTemplateNotFound",
    "Ec2LaunchTemplateVersionMismatch",
    "Ec2InstanceTypeDoesNotExist",
    "IamInstanceProfileNotFound",
    "IamNodeRoleNotFound",
    "AutoScalingGroupNotFound",
    "AutoScalingGroupInvalidConfiguration",
    "InstanceLimitExceeded",
    "Ec2SubnetListTooLong",
    "VpcNotFound",
    "SubnetNotFound",
    "SecurityGroupNotFound",
    "IamRoleNotFound",
    "StsRegionalEndpointDisabled",
    "KmsKeyNotFound",
    "KmsKeyDisabled",
    "KmsKeyMarkedForDeletion",
    "KmsGrantRevoked",
];

/// Both spellings of a health code alike: `Ec2SubnetNotFound` and `EC2_SUBNET_NOT_FOUND`.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn names_cause<'a>(mut codes: impl Iterator<Item = &'a Str>) -> bool {
    codes
        .any(|code| CAUSES.iter().any(|c| plain(c) == plain(code) || plain(c).trim_start_matches("ec2") == plain(code)))
}

fn cut(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{} ...", &text[..at]),
        None => text.trim_end_matches('.').to_owned(),
    }
}

fn failed(conditions: &[Condition]) -> Vec<&Condition> {
    let real: Vec<&Condition> =
        conditions.iter().filter(|c| c.status == "False" && c.r#type != "Ready" && !c.reason.is_empty()).collect();
    if real.is_empty() { conditions.iter().filter(|c| c.status == "False").collect() } else { real }
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        method::<LaunchTemplateVersion>(
            "knowsEndpoint",
            &[],
            Ty::Bool,
            &["ec2:DescribeLaunchTemplateVersions"],
            "Whether nodes of the template need not ask EKS for the cluster's endpoint.",
            |c, this, _| {
                let row = this.handle.row();
                Ok((!c.bootstraps()?.iter().any(|b| Some(b.template.row) == row && b.fault == "lookup")).into())
            },
        ),
        method::<eks::Cluster>(
            "hasEndpoint",
            &[("service", STR)],
            Ty::Bool,
            &["ec2:DescribeVpcEndpoints"],
            "Whether the VPC has an interface endpoint for a service.",
            |c, _, a| Ok((!c.endpoints_of(&super::text(a, 0))?.is_empty()).into()),
        ),
        method::<NodeRole>(
            "lacks",
            &[],
            STR,
            &["iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:GetPolicyVersion"],
            "Actions that nodes need to start and the role may not do.",
            |c, this, _| Ok(c.node_role_lacks(this.value)?.into()),
        ),
        method::<FargateRole>(
            "lacks",
            &[],
            STR,
            &["iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:GetPolicyVersion"],
            "Actions that Fargate needs to start a pod and the role may not do.",
            |c, this, _| Ok(c.fargate_role_lacks(this.value)?.into()),
        ),
        method::<InstanceProfile>(
            "instances",
            &[],
            Ty::List(&Ty::Object("Instance")),
            &["ec2:DescribeInstances"],
            "The cluster's machines that run with this profile.",
            |c, this, _| {
                let workers = c.workers()?.iter().filter(|w| w.instanceProfile == this.Arn);
                Ok(workers.filter_map(|w| w.instance).map(|i| i.row).collect::<Vec<_>>().into())
            },
        ),
        method::<InstanceProfile>(
            "wantedRole",
            &[],
            STR,
            &[],
            "The name of the role that belongs in this profile: that of its node group; else a placeholder.",
            |c, this, _| {
                let mut workers = c.workers()?.iter().filter(|w| w.instanceProfile == this.Arn);
                let group = workers
                    .find_map(|w| w.nodegroup)
                    .map(|g| &c.snapshot.tables.nodegroups.at(g.row.index).value.nodeRole);
                let role = group.filter(|role| !role.is_empty());
                Ok(role.map_or("<node-role>", |role| role_name(role)).into())
            },
        ),
        method::<eks::Cluster>(
            "serviceOverlap",
            &[],
            STR,
            &["ec2:DescribeVpcs"],
            "The range of the VPC that overlaps the service addresses; empty when none does.",
            |c, _, _| Ok(c.service_overlap()?.into()),
        ),
        method::<eks::Cluster>(
            "dnsHostnames",
            &[],
            Ty::Object("VpcAttribute"),
            &["ec2:DescribeVpcAttribute"],
            "The enableDnsHostnames of the VPC, as it was read.",
            |c, _, _| vpc_attribute(c, |a| a.EnableDnsHostnames.is_some()),
        ),
        method::<eks::Cluster>(
            "dnsSupport",
            &[],
            Ty::Object("VpcAttribute"),
            &["ec2:DescribeVpcAttribute"],
            "The enableDnsSupport of the VPC, as it was read.",
            |c, _, _| vpc_attribute(c, |a| a.EnableDnsSupport.is_some()),
        ),
        method::<eks::Cluster>(
            "usesPrivateDns",
            &[],
            Ty::Bool,
            &["ec2:DescribeVpcEndpoints"],
            "Whether nodes reach the API server or AWS only by private names.",
            |c, this, _| {
                let config = &this.value.resourcesVpcConfig;
                Ok((config.endpointPublicAccess == Some(false)
                    || c.node_exits()?.iter().any(|x| x.closed && x.endpoints > 0))
                .into())
            },
        ),
        method::<eks::Cluster>(
            "freeAddresses",
            &[],
            Ty::Int,
            &["ec2:DescribeSubnets"],
            "Free addresses of all the cluster's subnets together.",
            |c, this, _| {
                let mut sum = 0;
                for id in &this.value.resourcesVpcConfig.subnetIds {
                    let subnet = c.snapshot.find::<crate::shape::ec2::Subnet>(id)?;
                    sum += subnet.value.AvailableIpAddressCount.unwrap_or(0);
                }
                Ok(sum.into())
            },
        ),
        method::<eks::Cluster>("healthText", &[], STR, &[], "EKS's health issues, in one text.", |_, this, _| {
            Ok(cut(&this
                .health
                .issues
                .iter()
                .map(|i| format!("{}: {}", i.code, i.message))
                .collect::<Vec<_>>()
                .join("; "))
            .into())
        }),
        method::<eks::Cluster>(
            "healthNamesCause",
            &[],
            Ty::Bool,
            &[],
            "Whether a health issue names what has to change.",
            |_, this, _| Ok(names_cause(this.health.issues.iter().map(|i| &i.code)).into()),
        ),
        method::<Nodegroup>("healthText", &[], STR, &[], "EKS's health issues, in one text.", |_, this, _| {
            Ok(cut(&this
                .health
                .issues
                .iter()
                .map(|i| format!("{}: {}", i.code, i.message))
                .collect::<Vec<_>>()
                .join("; "))
            .into())
        }),
        method::<Nodegroup>(
            "healthNamesCause",
            &[],
            Ty::Bool,
            &[],
            "Whether a health issue names what has to change.",
            |_, this, _| Ok(names_cause(this.health.issues.iter().map(|i| &i.code)).into()),
        ),
        method::<Activity>(
            "failed",
            &[],
            Ty::Bool,
            &[],
            "Whether a launch failed and is the last that the group tried.",
            |c, this, _| Ok(c.launch_failed(this.value).into()),
        ),
        method::<Activity>(
            "namesQuota",
            &[],
            Ty::Bool,
            &[],
            "Whether it says that a quota of the account is reached.",
            |_, this, _| {
                let said = ["current vCPU limit", "reached your quota", "Max spot instance count exceeded"];
                Ok(said.iter().any(|s| this.StatusMessage.contains(s)).into())
            },
        ),
        method::<Activity>(
            "isWanting",
            &[],
            Ty::Bool,
            &[],
            "Whether the group still has fewer instances than it should have, as far as it was recorded.",
            |c, this, _| {
                let mut groups = c.snapshot.tables.auto_scaling_groups.iter();
                let group = groups.find(|g| g.AutoScalingGroupName == this.AutoScalingGroupName);
                let wanting = |g: &AutoScalingGroup| g.DesiredCapacity.is_none_or(|wanted| present(g) < wanted);
                Ok(group.is_none_or(|g| wanting(g.value)).into())
            },
        ),
        method::<AutoScalingGroup>(
            "present",
            &[],
            Ty::Int,
            &[],
            "How many instances it has and keeps.",
            |_, this, _| Ok(present(this.value).into()),
        ),
        method::<AutoScalingGroup>(
            "isOfCluster",
            &[],
            Ty::Bool,
            &["eks:DescribeNodegroup"],
            "Whether its instances are nodes of the cluster: it belongs to a node group, or its tags say so.",
            |c, this, _| {
                let cluster = c.name();
                let owned = format!("kubernetes.io/cluster/{cluster}");
                let tagged = |key: &str| ec2::tag(&this.Tags, key);
                let managed = c
                    .nodegroups()
                    .flat_map(|n| n.value.resources.iter())
                    .flat_map(|r| r.autoScalingGroups.iter())
                    .any(|g| g.name == this.AutoScalingGroupName);
                let named = tagged("eks:cluster-name") == Some(cluster.as_str());
                Ok((managed || named || tagged(&owned).is_some()).into())
            },
        ),
        method::<eks::Cluster>(
            "autoModeLacks",
            &[],
            Ty::List(&Ty::Str),
            &["iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:GetPolicyVersion"],
            "Policies of EKS Auto Mode whose permissions the cluster's role lacks.",
            |c, _, _| Ok(c.auto_mode_lacks()?.into()),
        ),
        method::<eks::Cluster>(
            "trustsAutoMode",
            &[],
            STR,
            &["iam:GetRole"],
            "What the trust policy of the cluster's role lacks for EKS Auto Mode; empty when nothing.",
            |c, _, _| Ok(c.auto_mode_trust()?.into()),
        ),
        method::<eks::Cluster>(
            "autoModeWanted",
            &[],
            Ty::Bool,
            &[],
            "Whether EKS Auto Mode has to launch nodes now: pools want them, and none is ready or pods wait for a node.",
            |c, _, _| Ok(c.auto_mode_wanted().into()),
        ),
        method::<eks::Cluster>(
            "isForeign",
            &[("endpoint", STR)],
            Ty::Bool,
            &[],
            "Whether an API server's address is that of another EKS cluster.",
            |c, _, a| Ok(c.is_foreign(&super::text(a, 0))?.into()),
        ),
        method::<Deployment>("runsKarpenter", &[], Ty::Bool, &[], "Whether it is Karpenter.", |_, this, _| {
            Ok(karpenter(this.value).is_some().into())
        }),
        method::<Deployment>(
            "foreignCluster",
            &[],
            STR,
            &["eks:DescribeCluster"],
            "The cluster to which Karpenter sends its nodes, when it is another one; else empty.",
            |c, this, _| {
                let Some(container) = karpenter(this.value) else { return Ok("".into()) };
                let eks = c.eks()?;
                let set = |name: &str| container.env.iter().find(|e| e.name == name).map(|e| e.value.as_str());
                let endpoint = set("CLUSTER_ENDPOINT").unwrap_or_default();
                if c.is_foreign(endpoint)? {
                    return Ok(format!("CLUSTER_ENDPOINT {endpoint}").into());
                }
                Ok(match set("CLUSTER_NAME").filter(|name| !name.is_empty() && *name != eks.name) {
                    Some(name) => format!("CLUSTER_NAME {name}").into(),
                    None => "".into(),
                })
            },
        ),
        method::<Activity>("text", &[], STR, &[], "What it says about the failure.", |_, this, _| {
            Ok(cut(&this.StatusMessage).into())
        }),
        method::<NodeClass>("failure", &[], STR, &[], "What its conditions say is wrong.", |_, this, _| {
            let all: Vec<String> = failed(&this.status.conditions)
                .iter()
                .map(|c| format!("{} ({}): {}", c.r#type, c.reason, c.message))
                .collect();
            Ok(cut(&all.join("; ")).into())
        }),
        method::<EC2NodeClass>(
            "joins",
            &[],
            Ty::Bool,
            &[],
            "Whether its user data makes machines join, or Karpenter adds what does.",
            |_, this, _| Ok((this.spec.amiFamily != "Custom" || Cluster::user_data_joins(&this.spec.userData)).into()),
        ),
        method::<EC2NodeClass>(
            "hasNodes",
            &[],
            Ty::Bool,
            &["k8s:nodes"],
            "Whether a node has joined that was launched from the class as it is now, by its hash or else its images.",
            |c, this, _| {
                c.snapshot.table::<crate::shape::k8s::Node>()?;
                Ok(c.class_has_joined(this.value).into())
            },
        ),
        method::<EC2NodeClass>(
            "isWanting",
            &[],
            Ty::Bool,
            NODES,
            "Whether machines of it are missing: one has not joined, or a pool names it and it has no node.",
            |c, this, _| Ok(c.class_is_wanting(this.value).into()),
        ),
        method::<EC2NodeClass>(
            "mismatch",
            &[],
            STR,
            NODES,
            "User data for another operating system than that of its images, and which; empty when they fit.",
            |c, this, _| Ok(c.class_mismatch(this.value).into()),
        ),
        method::<NodePool>(
            "classExists",
            &[],
            Ty::Bool,
            &[],
            "Whether the node class that the pool names is there.",
            |c, this, _| {
                let class = &this.spec.template.spec.nodeClassRef;
                let tables = &c.snapshot.tables;
                Ok(match class.kind.as_str() {
                    "NodeClass" => {
                        c.snapshot.whole::<NodeClass>()?;
                        tables.node_classes.iter().any(|n| n.metadata.name == class.name)
                    }
                    "EC2NodeClass" => {
                        c.snapshot.whole::<EC2NodeClass>()?;
                        tables.ec2_node_classes.iter().any(|n| n.metadata.name == class.name)
                    }
                    // Another provider's.
                    _ => true,
                }
                .into())
            },
        ),
        method::<eks::Cluster>(
            "zones",
            &[],
            Ty::List(&Ty::Str),
            &["ec2:DescribeSubnets"],
            "The Availability Zones of the cluster's subnets.",
            |c, _, _| Ok(c.cluster_zones()?.into_iter().collect::<Vec<_>>().into()),
        ),
        method::<eks::Cluster>(
            "zonesLeft",
            &[],
            Ty::List(&Ty::Str),
            &["ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces"],
            "Zones in which the control plane has an interface and the cluster no subnet.",
            |c, _, _| Ok(c.zones_left()?.into()),
        ),
        method::<eks::Cluster>(
            "crowdedSubnets",
            &[("addresses", Ty::Int)],
            Ty::List(&Ty::Object("Subnet")),
            &["ec2:DescribeSubnets"],
            "Subnets of the cluster with fewer free addresses than so many.",
            |c, _, a| Ok(c.crowded_cluster_subnets(super::number(a, 0))?.into()),
        ),
        method::<eks::Cluster>(
            "groupsWithoutIpv6",
            &[],
            Ty::List(&Ty::Object("SecurityGroup")),
            &["ec2:DescribeSecurityGroups", "ec2:DescribeInstances"],
            "Security groups of nodes that let IPv4 out to everywhere and IPv6 nowhere, in an IPv6 cluster.",
            |c, _, _| Ok(c.groups_without_ipv6()?.into()),
        ),
        method::<eks::Cluster>(
            "aclsWithoutIpv6",
            &[],
            Ty::List(&Ty::Object("NetworkAcl")),
            &["ec2:DescribeNetworkAcls", "ec2:DescribeInstances"],
            "Network ACLs of node subnets that allow IPv4 and no IPv6, in an IPv6 cluster.",
            |c, _, _| Ok(c.acls_without_ipv6()?.into()),
        ),
        method::<eks::Cluster>(
            "unheardRanges",
            &[],
            Ty::List(&Ty::Str),
            &["ec2:DescribeVpcs", "ec2:DescribeInstances", "k8s:nodes"],
            "Later ranges of the VPC in which machines stand that are not ready.",
            |c, _, _| Ok(c.unheard_ranges()?.into()),
        ),
        method::<eks::Cluster>(
            "unjoined",
            &[],
            Ty::List(&Ty::Object("Instance")),
            NODES,
            "Instances that run for the cluster and are no nodes, just launched ones aside.",
            |c, _, _| {
                let instances = c.outsiders()?.into_iter().filter_map(|w| w.instance);
                Ok(instances.map(|i| i.row).collect::<Vec<_>>().into())
            },
        ),
        method::<eks::Cluster>(
            "nameServers",
            &[],
            STR,
            &["ec2:DescribeVpcs", "ec2:DescribeDhcpOptions"],
            "What DHCP gives the VPC's instances as name servers, with blanks; empty for none.",
            |c, _, _| Ok(name_servers(c)?.into()),
        ),
        method::<eks::Cluster>(
            "stsDisabled",
            &[],
            Ty::Bool,
            NODES,
            "Whether EKS says that the Region's STS endpoint is deactivated.",
            |c, this, _| {
                let code = |code: &Str| plain(code) == "stsregionalendpointdisabled";
                if this.health.issues.iter().any(|i| code(&i.code))
                    || c.nodegroups().any(|n| n.value.health.issues.iter().any(|i| code(&i.code)))
                {
                    return Ok(true.into());
                }
                // No answer lists it: when machines stay outside, it may be the reason.
                if !c.outsiders()?.is_empty() {
                    return Err(Missing {
                        read: "sts:GetCallerIdentity".to_owned(),
                        reason: "no answer tells whether the Region's STS endpoint is active".to_owned(),
                    });
                }
                Ok(false.into())
            },
        ),
        method::<eks::Cluster>(
            "ownTrafficLacks",
            &[],
            Ty::Bool,
            &["ec2:DescribeSecurityGroups", "ec2:DescribeInstances"],
            "Whether the cluster's security group has lost the rule that admits its own members, and no finding              about blocked nodes names it.",
            |c, this, _| {
                let id = &this.resourcesVpcConfig.clusterSecurityGroupId;
                let group = c.snapshot.find::<ec2::SecurityGroup>(id)?;
                let own = group
                    .value
                    .IpPermissions
                    .iter()
                    .any(|p| p.IpProtocol == "-1" && p.UserIdGroupPairs.iter().any(|g| g.GroupId == *id));
                let told =
                    || c.blocked_paths().is_ok_and(|b| b.iter().any(|b| b.group.map(|g| g.row) == Some(group.row)));
                Ok((!own && !told()).into())
            },
        ),
        method::<VpcEndpoint>(
            "zonesWithout",
            &[],
            Ty::List(&Ty::Str),
            &["ec2:DescribeSubnets"],
            "Zones of nodes in which an interface endpoint has no interface.",
            |c, this, _| match this.rec() {
                Some(endpoint) => Ok(c.zones_without(endpoint)?.into()),
                None => Ok(Vec::<Str>::new().into()),
            },
        ),
        method::<eks::Cluster>(
            "closedIn",
            &[],
            Ty::Bool,
            &["ec2:DescribeRouteTables"],
            "Whether nothing gets out of any node's subnet.",
            |c, _, _| Ok(c.closed_in()?.into()),
        ),
        method::<NatGateway>(
            "serves",
            &[],
            Ty::Bool,
            &["ec2:DescribeRouteTables"],
            "Whether a subnet of nodes is routed here.",
            |c, this, _| {
                let row = this.handle.row();
                Ok(c.node_exits()?.iter().any(|x| x.gateway().map(|n| n.row) == row).into())
            },
        ),
        method::<NodePool>(
            "limitRefusals",
            &[],
            Ty::List(&Ty::Object("Event")),
            &["k8s:events", "k8s:pods"],
            "Karpenter's words about pods that wait because the pool's limits are reached.",
            |c, this, _| Ok(c.limit_refusals(&this.metadata.name)?.into()),
        ),
        method::<NatGateway>(
            "replaced",
            &[],
            Ty::Bool,
            &[],
            "Whether another gateway works in its subnet.",
            |c, this, _| {
                let mut others = c.snapshot.tables.nat_gateways.iter();
                Ok(others.any(|n| n.State == "available" && n.SubnetId == this.SubnetId).into())
            },
        ),
        method::<NodeExit>(
            "usableNat",
            &[],
            STR,
            &["ec2:DescribeNatGateways"],
            "A public NAT gateway of the VPC that is available, one of the subnet's zone first.",
            |c, this, _| {
                let tables = &c.snapshot.tables;
                let here = tables.subnets.at(this.subnet.row.index);
                let mut usable: Vec<_> = tables
                    .nat_gateways
                    .iter()
                    .filter(|n| n.VpcId == here.VpcId && n.State == "available" && n.ConnectivityType != "private")
                    .collect();
                usable.sort_by_key(|n| {
                    let zone = tables.subnets.get(&n.SubnetId).map(|s| s.value.AvailabilityZone.clone());
                    (zone.as_ref() != Some(&here.AvailabilityZone), n.NatGatewayId.clone())
                });
                Ok(usable.first().map(|n| n.NatGatewayId.clone()).unwrap_or_default().into())
            },
        ),
        method::<NodeExit>(
            "natTable",
            &[],
            STR,
            &["ec2:DescribeRouteTables"],
            "A route table of the VPC whose default route leads to a NAT gateway.",
            |c, this, _| {
                let tables = &c.snapshot.tables;
                let vpc = &tables.subnets.at(this.subnet.row.index).VpcId;
                let found = tables.route_tables.iter().find(|t| {
                    t.VpcId == *vpc
                        && t.value.Routes.iter().any(|r| {
                            r.DestinationCidrBlock == "0.0.0.0/0"
                                && !r.NatGatewayId.is_empty()
                                && r.State != "blackhole"
                        })
                });
                Ok(found.map(|t| t.RouteTableId.clone()).unwrap_or_default().into())
            },
        ),
        method::<eks::Cluster>(
            "egressOnlyGateway",
            &[],
            STR,
            &["ec2:DescribeEgressOnlyInternetGateways"],
            "The egress-only internet gateway of the VPC; empty when there is none.",
            |c, _, _| {
                let vpc = c.vpc_id()?;
                let found = c
                    .snapshot
                    .tables
                    .egress_only_internet_gateways
                    .iter()
                    .find(|g| g.value.Attachments.iter().any(|a| a.VpcId == vpc));
                Ok(found.map(|g| g.EgressOnlyInternetGatewayId.clone()).unwrap_or_default().into())
            },
        ),
        method::<NodeExit>(
            "ownNat",
            &[],
            STR,
            &["ec2:DescribeNatGateways"],
            "A NAT gateway of the subnet's zone, when the subnet is routed through one of another zone.",
            |c, this, _| {
                let tables = &c.snapshot.tables;
                let zone =
                    |id: &str| tables.subnets.get(id).map(|s| s.value.AvailabilityZone.clone()).unwrap_or_default();
                let Some(nat) = this.gateway().map(|n| tables.nat_gateways.at(n.row.index)) else {
                    return Ok("".into());
                };
                let here = tables.subnets.at(this.subnet.row.index);
                if nat.SubnetId.is_empty() || zone(&nat.SubnetId) == here.AvailabilityZone {
                    return Ok("".into());
                }
                let own = tables.nat_gateways.iter().find(|n| {
                    n.VpcId == here.VpcId
                        && n.State == "available"
                        && n.ConnectivityType != "private"
                        && !n.SubnetId.is_empty()
                        && zone(&n.SubnetId) == here.AvailabilityZone
                });
                Ok(own.map(|n| n.NatGatewayId.clone()).unwrap_or_default().into())
            },
        ),
        method::<EC2NodeClass>("failure", &[], STR, &[], "What its conditions say is wrong.", |_, this, _| {
            let all: Vec<String> = failed(&this.status.conditions)
                .iter()
                .map(|c| format!("{} ({}): {}", c.r#type, c.reason, c.message))
                .collect();
            Ok(cut(&all.join("; ")).into())
        }),
        method::<EC2NodeClass>(
            "deniedByPolicy",
            &[],
            Ty::Bool,
            &[],
            "Whether a service control policy denies what Karpenter does.",
            |_, this, _| Ok(this.status.conditions.iter().any(|c| c.message.contains("service control policy")).into()),
        ),
        method::<DhcpOptions>(
            "option",
            &[("key", STR)],
            STR,
            &[],
            "The values of an option, with blanks.",
            |_, this, a| Ok(option(this.value, &super::text(a, 0)).into()),
        ),
        method::<eks::Cluster>(
            "namesNodesByDomain",
            &[],
            Ty::Bool,
            NODES,
            "Whether nodes that have not joined run an image that takes the node's name from the DHCP domain name.",
            |c, _, _| Ok(c.old_names()?.into()),
        ),
        method::<eks::Cluster>(
            "ownDomain",
            &[],
            STR,
            &["ec2:DescribeVpcs", "ec2:DescribeDhcpOptions"],
            "The domain name that DHCP gives the VPC's instances, when it is not the Region's; else empty.",
            |c, _, _| {
                let vpc = c.snapshot.find::<ec2::Vpc>(&c.vpc_id()?)?;
                if vpc.DhcpOptionsId == "default" {
                    return Ok("".into());
                }
                let options = c.snapshot.find::<DhcpOptions>(&vpc.DhcpOptionsId)?;
                let name = option(options.value, "domain-name");
                Ok(if name == c.default_domain() { "".into() } else { name.into() })
            },
        ),
        method::<eks::Cluster>("defaultDomain", &[], STR, &[], "The Region's domain name of EC2.", |c, _, _| {
            Ok(c.default_domain().into())
        }),
        method::<eks::Cluster>(
            "awsAuthDecides",
            &[],
            Ty::Bool,
            &["k8s:configmaps", "ec2:DescribeInstances"],
            "Whether a role of nodes depends on an aws-auth config map that cannot be read.",
            |c, _, _| Ok(c.node_roles()?.iter().any(|r| r.mapping == "malformed").into()),
        ),
        method::<eks::Cluster>(
            "malformedAwsAuth",
            &[],
            Ty::List(&Ty::Object("ConfigMap")),
            &["k8s:configmaps"],
            "The aws-auth config map when its mapRoles cannot be read.",
            |c, _, _| Ok(c.malformed_aws_auth()?.into_iter().collect::<Vec<_>>().into()),
        ),
    ]
}

/// How many instances an Auto Scaling group has and keeps.
fn present(group: &AutoScalingGroup) -> i64 {
    let leaves = |state: &str| state.starts_with("Terminat") || state.starts_with("Detach");
    group.Instances.iter().filter(|i| !leaves(&i.LifecycleState)).count() as i64
}

/// The controller's container, when the deployment is Karpenter for AWS.
fn karpenter(deployment: &Deployment) -> Option<&Container> {
    let mut containers = deployment.spec.template.spec.containers.iter();
    containers.find(|c| c.image.contains("karpenter/controller"))
}

/// The answer about one attribute of the cluster's VPC; each is asked for by itself.
fn vpc_attribute(c: &Cluster, wanted: impl Fn(&VpcAttribute) -> bool) -> Known<Value> {
    let vpc = c.vpc_id()?;
    let read = c.snapshot.table::<VpcAttribute>()?.iter().find(|a| a.VpcId == vpc && wanted(a.value));
    read.map(Value::from).ok_or_else(|| c.snapshot.missing("ec2:DescribeVpcAttribute", Some(&vpc)))
}

/// The name servers of the cluster's VPC, as its DHCP options give them.
fn name_servers(c: &Cluster) -> Known<Str> {
    let vpc = c.snapshot.find::<ec2::Vpc>(&c.vpc_id()?)?;
    if vpc.DhcpOptionsId == "default" {
        return Ok(Str::default());
    }
    let options = c.snapshot.find::<DhcpOptions>(&vpc.DhcpOptionsId)?;
    Ok(Str::from(option(options.value, "domain-name-servers")))
}

/// The values of a DHCP option, with blanks.
fn option(options: &DhcpOptions, key: &str) -> String {
    let values = options.DhcpConfigurations.iter().filter(|c| c.Key == key).flat_map(|c| &c.Values);
    values.map(|v| v.Value.as_str()).collect::<Vec<_>>().join(" ")
}

macro_rules! subject {
    ($shape:ty, $list:ident, $reads:expr) => {
        Subject {
            schema: <$shape>::described,
            reads: $reads,
            list: |c| Ok(c.$list()?.into_iter().map(|s| s as Arc<dyn Shape>).collect()),
        }
    };
}

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        subject!(NodeRole, node_roles, &["eks:DescribeCluster", "ec2:DescribeInstances", "k8s:nodes"]),
        subject!(
            FargateRole,
            fargate_roles,
            &["eks:DescribeFargateProfile", "k8s:pods", "k8s:configmaps", "eks:ListAccessEntries", "iam:GetRole"]
        ),
        subject!(UnmappedRoles, unmapped_roles, &["eks:DescribeCluster", "k8s:configmaps", "eks:ListAccessEntries"]),
        subject!(Bootstrap, bootstraps, &["ec2:DescribeLaunchTemplateVersions", "ec2:DescribeInstances"]),
        subject!(
            NodeExit,
            node_exits,
            &["ec2:DescribeSubnets", "ec2:DescribeRouteTables", "ec2:DescribeVpcEndpoints", "ec2:DescribeInstances"]
        ),
        subject!(NodeEndpoint, node_endpoints, &["ec2:DescribeVpcEndpoints", "ec2:DescribeRouteTables"]),
        subject!(PublicAccessGap, public_access_gaps, &["eks:DescribeCluster", "ec2:DescribeNatGateways"]),
        subject!(
            BlockedPath,
            blocked_paths,
            &[
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeNetworkAcls",
                "ec2:DescribeRouteTables"
            ]
        ),
        subject!(ClusterSubnet, cluster_subnets, &["eks:DescribeCluster", "ec2:DescribeSubnets"]),
        subject!(
            MissingReference,
            missing_references,
            &["ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces"]
        ),
        subject!(NodeGap, node_gaps, &["ec2:DescribeSecurityGroups", "ec2:DescribeNetworkInterfaces"]),
        subject!(
            PrivateNeed,
            private_needs,
            &[
                "ec2:DescribeVpcEndpoints",
                "ec2:DescribeRouteTables",
                "eks:ListPodIdentityAssociations",
                "k8s:pods",
                "k8s:daemonsets.apps",
                "k8s:deployments.apps",
                "k8s:serviceaccounts",
            ]
        ),
        subject!(StrayNodes, stray_nodes, &["ec2:DescribeInstances"]),
        subject!(UntaggedNodes, untagged_nodes, &["ec2:DescribeLaunchTemplateVersions", "ec2:DescribeInstances"]),
        subject!(NodePeering, node_peerings, &["ec2:DescribeVpcPeeringConnections", "ec2:DescribeRouteTables"]),
        subject!(
            TransitDrop,
            transit_drops,
            &[
                "ec2:DescribeRouteTables",
                "ec2:DescribeAvailabilityZones",
                "ec2:DescribeInstances",
                "ec2:DescribeTransitGateways",
                "ec2:DescribeTransitGatewayVpcAttachments",
                "ec2:DescribeTransitGatewayAttachments",
                "ec2:SearchTransitGatewayRoutes"
            ]
        ),
        subject!(VolumeKey, volume_keys, &["autoscaling:DescribeAutoScalingGroups", "kms:GetKeyPolicy"]),
        subject!(
            SystemWebhook,
            system_webhooks,
            &[
                "k8s:mutatingwebhookconfigurations.admissionregistration.k8s.io",
                "k8s:validatingwebhookconfigurations.admissionregistration.k8s.io",
                "k8s:daemonsets.apps",
                "k8s:endpointslices.discovery.k8s.io",
            ]
        ),
        subject!(
            NodeWebhook,
            node_webhooks,
            &[
                "k8s:mutatingwebhookconfigurations.admissionregistration.k8s.io",
                "k8s:validatingwebhookconfigurations.admissionregistration.k8s.io",
                "k8s:endpointslices.discovery.k8s.io",
                "k8s:namespaces",
                "k8s:nodes",
                "k8s:services",
                "ec2:DescribeInstances",
            ]
        ),
        subject!(
            RefusedLabels,
            refused_labels,
            &[
                "eks:DescribeNodegroup",
                "ec2:DescribeLaunchTemplateVersions",
                "ec2:DescribeInstances",
                "k8s:nodes",
                "k8s:ec2nodeclasses.karpenter.k8s.aws"
            ]
        ),
        subject!(
            SpotRole,
            spot_roles,
            &["k8s:events", "autoscaling:DescribeScalingActivities", "k8s:nodes", "k8s:nodepools.karpenter.sh"]
        ),
    ]
}
