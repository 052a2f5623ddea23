//! EKS, EC2, Auto Scaling, Elastic Load Balancing and STS.

use std::net::Ipv6Addr;

use serde_json::{Value, json};

use super::{Body, Branch, ENDPOINTS, Eni, Estate, FARGATE, Managed, Mode, Role, Subnet, ip, tags};

/// The VPC's IPv6 range, of which each subnet has a /64.
pub(super) const VPC6: &str = "2600:1f14:abc:1200::/56";
const CREATED: &str = "2026-03-02T08:15:00+00:00";
pub(super) const CNI: &str = "v1.20.4-eksbuild.2";
pub(super) const COREDNS: &str = "v1.12.4-eksbuild.1";
pub(super) const KUBE_PROXY: &str = "v1.33.3-eksbuild.10";

impl Estate {
    pub(super) fn aws_files<'a>(&'a self, files: &mut Vec<(String, Body<'a>)>) {
        let mut whole = |path: String, body: Value| files.push((format!("aws/{path}.json"), Body::Whole(body)));
        self.eks_files(&mut whole);
        self.vpc_files(&mut whole);
        self.autoscaling_files(&mut whole);
        self.elb_files(&mut whole);
        whole(
            "sts/get-caller-identity".to_owned(),
            json!({"UserId": "AROAREADONLY000000000:recorder", "Account": self.options.account,
                "Arn": format!("arn:aws:sts::{}:assumed-role/ReadOnly/recorder", self.options.account)}),
        );
        let interfaces = self.managed.iter().map(|m| self.managed_interface(m)).chain(
            self.nodes.iter().enumerate().flat_map(move |(n, node)| {
                let own = node.enis.iter().map(move |e| self.interface(n, e));
                own.chain(node.branches.iter().map(move |b| self.branch_interface(n, b)))
            }),
        );
        files.push((
            "aws/ec2/describe-network-interfaces.json".to_owned(),
            Body::List("NetworkInterfaces", Box::new(interfaces)),
        ));
        files.push((
            "aws/ec2/describe-instances.json".to_owned(),
            Body::List("Reservations", Box::new((0..self.nodes.len()).map(|n| self.reservation(n)))),
        ));
    }

    fn eks_files(&self, whole: &mut impl FnMut(String, Value)) {
        let o = &self.options;
        let subnets: Vec<&str> = self.cluster_subnets().iter().map(|&i| self.subnets[i].id.as_str()).collect();
        let mut services = json!({
            "serviceIpv4Cidr": "172.20.0.0/16", "ipFamily": "ipv4", "elasticLoadBalancing": {"enabled": self.auto()},
        });
        if self.v6() {
            services = json!({
                "serviceIpv6Cidr": "fd5c:1a2b:3c4d::/108", "ipFamily": "ipv6", "elasticLoadBalancing": {"enabled": false},
            });
        }
        let mut cluster = json!({"cluster": {
            "name": o.name,
            "arn": self.arn("eks", &format!("cluster/{}", o.name)),
            "createdAt": "2026-03-02T08:00:00.123000+00:00",
            "version": "1.33",
            "endpoint": self.endpoint(),
            "roleArn": self.iam(&format!("role/{}-cluster", o.name)),
            "resourcesVpcConfig": {
                "subnetIds": subnets,
                "securityGroupIds": [],
                "clusterSecurityGroupId": self.group("cluster"),
                "vpcId": self.vpc(),
                "endpointPublicAccess": !self.private(),
                "endpointPrivateAccess": true,
                "publicAccessCidrs": if self.private() { json!([]) } else { json!(["0.0.0.0/0"]) },
            },
            "kubernetesNetworkConfig": services,
            "logging": {"clusterLogging": [{"types": ["api", "audit", "authenticator", "controllerManager", "scheduler"], "enabled": false}]},
            "identity": {"oidc": {"issuer": format!("https://{}", self.issuer())}},
            "status": "ACTIVE",
            "certificateAuthority": {"data": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="},
            "platformVersion": "eks.15",
            "tags": {},
            "health": {"issues": []},
            "accessConfig": {"bootstrapClusterCreatorAdminPermissions": true, "authenticationMode": "API_AND_CONFIG_MAP"},
            "upgradePolicy": {"supportType": "EXTENDED"},
            "deletionProtection": false,
        }});
        if self.auto() {
            cluster["cluster"]["computeConfig"] = json!({
                "enabled": true, "nodePools": ["general-purpose"], "nodeRoleArn": self.iam(&format!("role/{}", self.node_role(0))),
            });
            cluster["cluster"]["storageConfig"] = json!({"blockStorage": {"enabled": true}});
        }
        whole(format!("eks/describe-cluster/{}", o.name), cluster);
        let grouped = self.grouped().count();
        whole(
            "eks/list-nodegroups".to_owned(),
            json!({"nodegroups": if self.auto() { vec![] } else { vec!["workers"] }}),
        );
        let node_subnets: Vec<&str> = self.of_role(Role::Private).map(|(_, s)| s.id.as_str()).collect();
        if !self.auto() {
            whole(
                "eks/describe-nodegroup/workers".to_owned(),
                json!({"nodegroup": {
                    "nodegroupName": "workers",
                    "nodegroupArn": self.arn("eks", &format!("nodegroup/{}/workers/{}", o.name, self.nodegroup_uuid())),
                    "clusterName": o.name,
                    "version": "1.33",
                    "releaseVersion": "1.33.5-20260520",
                    "createdAt": "2026-03-02T08:17:00.444000+00:00",
                    "modifiedAt": "2026-05-21T08:17:00.444000+00:00",
                    "status": "ACTIVE",
                    "capacityType": "ON_DEMAND",
                    "scalingConfig": {"minSize": 1, "maxSize": grouped * 2, "desiredSize": grouped},
                    "instanceTypes": [self.machine.0],
                    "subnets": node_subnets,
                    "amiType": "AL2023_x86_64_STANDARD",
                    "nodeRole": self.iam(&format!("role/{}-node", o.name)),
                    "labels": {},
                    "resources": {"autoScalingGroups": [{"name": self.asg()}]},
                    "health": {"issues": []},
                    "updateConfig": {"maxUnavailable": 1},
                    "launchTemplate": {"name": format!("{}-workers", o.name), "version": "1", "id": self.id("lt", "workers")},
                    "tags": {},
                }}),
            );
        }
        let fargate = self.fargate();
        whole(
            "eks/list-fargate-profiles".to_owned(),
            json!({"fargateProfileNames": if fargate { vec!["batch"] } else { vec![] }}),
        );
        if fargate {
            whole(
                "eks/describe-fargate-profile/batch".to_owned(),
                json!({"fargateProfile": {
                    "fargateProfileName": "batch",
                    "fargateProfileArn": self.arn("eks", &format!("fargateprofile/{}/batch/{}", o.name, self.uuid("fargate"))),
                    "clusterName": o.name,
                    "createdAt": CREATED,
                    "podExecutionRoleArn": self.iam(&format!("role/{}-fargate", o.name)),
                    "subnets": subnets,
                    "selectors": [{"namespace": "batch", "labels": {}}],
                    "status": "ACTIVE",
                    "health": {"issues": []},
                    "tags": {},
                }}),
            );
        }
        let mut addons = vec![("coredns", COREDNS), ("kube-proxy", KUBE_PROXY), ("vpc-cni", CNI)];
        if self.auto() {
            addons.clear();
        }
        whole("eks/list-addons".to_owned(), json!({"addons": addons.iter().map(|(name, _)| name).collect::<Vec<_>>()}));
        for (addon, version) in addons {
            let mut body = json!({
                "addonName": addon,
                "clusterName": o.name,
                "status": "ACTIVE",
                "addonVersion": version,
                "health": {"issues": []},
                "addonArn": self.arn("eks", &format!("addon/{}/{addon}/{}", o.name, self.uuid(addon))),
                "createdAt": "2026-03-02T08:20:00.111000+00:00",
                "modifiedAt": "2026-05-20T08:22:00.222000+00:00",
                "tags": {},
            });
            let settings = match addon {
                "vpc-cni" if self.custom() => Some(
                    json!({"env": {"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "true", "ENI_CONFIG_LABEL_DEF": "topology.kubernetes.io/zone"}}),
                ),
                "vpc-cni" if self.prefix() => {
                    Some(json!({"env": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"}}))
                }
                "vpc-cni" if self.pod_groups() => Some(
                    json!({"env": {"ENABLE_POD_ENI": "true"}, "init": {"env": {"DISABLE_TCP_EARLY_DEMUX": "true"}}}),
                ),
                _ => None,
            };
            if let Some(settings) = settings {
                body["configurationValues"] = Value::String(settings.to_string());
            }
            whole(format!("eks/describe-addon/{addon}"), json!({"addon": body}));
        }
        let mut principals =
            vec![("Admin".to_owned(), "STANDARD"), (self.node_role(0), if self.auto() { "EC2" } else { "EC2_LINUX" })];
        if o.mode == Mode::Karpenter {
            principals.push((self.node_role(1), "EC2_LINUX"));
        }
        if fargate {
            principals.push((format!("{}-fargate", o.name), "FARGATE_LINUX"));
        }
        let arns: Vec<String> = principals.iter().map(|(role, _)| self.iam(&format!("role/{role}"))).collect();
        whole("eks/list-access-entries".to_owned(), json!({"accessEntries": arns}));
        for (role, kind) in principals {
            let node = kind != "STANDARD";
            whole(
                format!("eks/describe-access-entry/{role}"),
                json!({"accessEntry": {
                    "clusterName": o.name,
                    "principalArn": self.iam(&format!("role/{role}")),
                    "kubernetesGroups": if node { vec!["system:nodes"] } else { vec![] },
                    "accessEntryArn": self.arn("eks", &format!("access-entry/{}/role/{}/{role}/{}", o.name, o.account, self.uuid(&role))),
                    "createdAt": "2026-03-02T08:15:00.500000+00:00",
                    "modifiedAt": "2026-03-02T08:15:00.500000+00:00",
                    "tags": {},
                    "username": match kind {
                        "STANDARD" => format!("arn:aws:sts::{}:assumed-role/{role}/{{{{SessionName}}}}", o.account),
                        "FARGATE_LINUX" => "system:node:{{SessionName}}".to_owned(),
                        _ => "system:node:{{EC2PrivateDNSName}}".to_owned(),
                    },
                    "type": kind,
                }}),
            );
        }
        whole("eks/list-pod-identity-associations".to_owned(), json!({"associations": []}));
        whole(
            "eks/list-insights".to_owned(),
            json!({"insights": [{
                "id": self.uuid("insight"),
                "name": "Kubelet version skew",
                "category": "UPGRADE_READINESS",
                "kubernetesVersion": "1.34",
                "lastRefreshTime": "2026-05-31T10:00:00+00:00",
                "lastTransitionTime": "2026-03-02T10:00:00+00:00",
                "description": "Checks for kubelet versions of worker nodes in the cluster to see if upgrade would cause noncompliance with supported Kubernetes kubelet version skew policy.",
                "insightStatus": {"status": "PASSING", "reason": "Node kubelet versions match the cluster version."},
            }]}),
        );
    }

    fn vpc_files(&self, whole: &mut impl FnMut(String, Value)) {
        let o = &self.options;
        let vpc = self.vpc();
        let off = json!({"InternetGatewayBlockMode": "off"});
        let cidrs: Vec<Value> = self
            .vpc_cidrs
            .iter()
            .map(|(base, bits)| json!({
                "AssociationId": self.id("vpc-cidr-assoc", &ip(*base)), "CidrBlock": format!("{}/{bits}", ip(*base)),
                "CidrBlockState": {"State": "associated"},
            }))
            .collect();
        let mut described = json!({
            "OwnerId": o.account, "InstanceTenancy": "default", "CidrBlockAssociationSet": cidrs, "IsDefault": false,
            "Tags": tags(&[("Name", &o.name)]), "BlockPublicAccessStates": off, "VpcId": vpc, "State": "available",
            "CidrBlock": "10.0.0.0/16", "DhcpOptionsId": self.id("dopt", "main"),
        });
        if self.v6() {
            described["Ipv6CidrBlockAssociationSet"] = json!([{
                "AssociationId": self.id("vpc-cidr-assoc", "six"), "Ipv6CidrBlock": VPC6, "Ipv6CidrBlockState": {"State": "associated"},
                "NetworkBorderGroup": o.region, "Ipv6Pool": "Amazon", "Ipv6AddressAttribute": "public", "IpSource": "amazon",
            }]);
        }
        whole("ec2/describe-vpcs".to_owned(), json!({"Vpcs": [described]}));
        for (attribute, key) in [("enableDnsSupport", "EnableDnsSupport"), ("enableDnsHostnames", "EnableDnsHostnames")]
        {
            whole(format!("ec2/describe-vpc-attribute/{vpc}.{attribute}"), json!({"VpcId": vpc, key: {"Value": true}}));
        }
        let domain =
            if o.region == "us-east-1" { "ec2.internal".to_owned() } else { format!("{}.compute.internal", o.region) };
        whole(
            "ec2/describe-dhcp-options".to_owned(),
            json!({"DhcpOptions": [{
                "OwnerId": o.account, "Tags": [], "DhcpOptionsId": self.id("dopt", "main"),
                "DhcpConfigurations": [
                    {"Key": "domain-name", "Values": [{"Value": domain}]},
                    {"Key": "domain-name-servers", "Values": [{"Value": "AmazonProvidedDNS"}]},
                ],
            }]}),
        );
        whole(
            "ec2/describe-subnets".to_owned(),
            json!({"Subnets": self.subnets.iter().map(|s| self.subnet(s)).collect::<Vec<_>>()}),
        );
        for subnet in &self.subnets {
            whole(
                format!("ec2/get-subnet-cidr-reservations/{}", subnet.id),
                json!({"SubnetIpv4CidrReservations": [], "SubnetIpv6CidrReservations": []}),
            );
        }
        whole("ec2/describe-route-tables".to_owned(), json!({"RouteTables": self.route_tables()}));
        let gateways = if self.private() {
            json!([])
        } else {
            json!([{"Attachments": [{"State": "available", "VpcId": vpc}], "InternetGatewayId": self.id("igw", "main"),
                "OwnerId": o.account, "Tags": tags(&[("Name", &o.name)])}])
        };
        whole("ec2/describe-internet-gateways".to_owned(), json!({"InternetGateways": gateways}));
        let outward = if self.v6() {
            json!([{"Attachments": [{"State": "attached", "VpcId": vpc}], "EgressOnlyInternetGatewayId": self.id("eigw", "main"),
                "Tags": tags(&[("Name", &o.name)])}])
        } else {
            json!([])
        };
        whole("ec2/describe-egress-only-internet-gateways".to_owned(), json!({"EgressOnlyInternetGateways": outward}));
        let nat = self.managed.iter().find(|m| m.kind == "nat_gateway");
        let nats: Vec<Value> = nat
            .iter()
            .map(|m| json!({
                "CreateTime": CREATED,
                "NatGatewayAddresses": [{
                    "AllocationId": self.id("eipalloc", &m.id), "NetworkInterfaceId": m.id, "PrivateIp": ip(m.address),
                    "PublicIp": m.public.map(ip), "AssociationId": self.id("eipassoc", &m.id), "IsPrimary": true, "Status": "succeeded",
                }],
                "NatGatewayId": self.id("nat", "a"), "State": "available", "SubnetId": self.subnets[m.subnet].id, "VpcId": vpc,
                "Tags": tags(&[("Name", &format!("{}-a", o.name))]), "ConnectivityType": "public",
            }))
            .collect();
        whole("ec2/describe-nat-gateways".to_owned(), json!({"NatGateways": nats}));
        let addresses: Vec<Value> = nat
            .iter()
            .map(|m| json!({
                "AllocationId": self.id("eipalloc", &m.id), "AssociationId": self.id("eipassoc", &m.id), "Domain": "vpc",
                "NetworkInterfaceId": m.id, "NetworkInterfaceOwnerId": o.account, "PrivateIpAddress": ip(m.address),
                "Tags": tags(&[("Name", &format!("{}-nat-a", o.name))]), "PublicIpv4Pool": "amazon", "NetworkBorderGroup": o.region,
                "PublicIp": m.public.map(ip),
            }))
            .collect();
        whole("ec2/describe-addresses".to_owned(), json!({"Addresses": addresses}));
        for (operation, key) in [
            ("describe-transit-gateways", "TransitGateways"),
            ("describe-transit-gateway-attachments", "TransitGatewayAttachments"),
            ("describe-transit-gateway-vpc-attachments", "TransitGatewayVpcAttachments"),
            ("describe-transit-gateway-route-tables", "TransitGatewayRouteTables"),
            ("describe-vpc-peering-connections", "VpcPeeringConnections"),
        ] {
            whole(format!("ec2/{operation}"), json!({key: []}));
        }
        whole("ec2/describe-vpc-endpoints".to_owned(), json!({"VpcEndpoints": self.endpoints()}));
        let lists = [
            ("pl-68a54001", "s3", &["3.5.76.0/22", "18.34.48.0/20", "52.92.128.0/17", "52.218.128.0/17"][..]),
            ("pl-00a54069", "dynamodb", &["3.218.180.0/23", "35.71.64.0/22", "52.94.8.0/24"][..]),
        ];
        whole(
            "ec2/describe-managed-prefix-lists".to_owned(),
            json!({"PrefixLists": lists.iter().map(|(id, service, _)| json!({
            "PrefixListId": id, "AddressFamily": "IPv4", "State": "create-complete",
            "PrefixListArn": format!("arn:aws:ec2:{}:aws:prefix-list/{id}", o.region),
            "PrefixListName": format!("com.amazonaws.{}.{service}", o.region), "Tags": [], "OwnerId": "AWS",
        })).collect::<Vec<_>>()}),
        );
        for (id, _, cidrs) in lists {
            whole(
                format!("ec2/get-managed-prefix-list-entries/{id}"),
                json!({"Entries": cidrs.iter().map(|c| json!({"Cidr": c})).collect::<Vec<_>>()}),
            );
        }
        let (groups, rules) = self.groups();
        whole("ec2/describe-security-groups".to_owned(), json!({"SecurityGroups": groups}));
        whole("ec2/describe-security-group-rules".to_owned(), json!({"SecurityGroupRules": rules}));
        let acl = self.id("acl", "default");
        let entry = |egress: bool, number: u32, action: &str| json!({"CidrBlock": "0.0.0.0/0", "Egress": egress, "Protocol": "-1", "RuleAction": action, "RuleNumber": number});
        let mut entries = vec![
            entry(true, 100, "allow"),
            entry(true, 32767, "deny"),
            entry(false, 100, "allow"),
            entry(false, 32767, "deny"),
        ];
        if self.v6() {
            for egress in [true, false] {
                for (number, action) in [(101, "allow"), (32768, "deny")] {
                    entries.push(json!({"Ipv6CidrBlock": "::/0", "Egress": egress, "Protocol": "-1", "RuleAction": action, "RuleNumber": number}));
                }
            }
        }
        if o.acl_drops_dns {
            let mut deny = entry(false, 90, "deny");
            deny["Protocol"] = json!("17");
            deny["PortRange"] = json!({"From": 53, "To": 53});
            entries.insert(2, deny);
        }
        whole(
            "ec2/describe-network-acls".to_owned(),
            json!({"NetworkAcls": [{
                "Associations": self.subnets.iter().map(|s| json!({
                    "NetworkAclAssociationId": self.id("aclassoc", &s.name), "NetworkAclId": acl, "SubnetId": s.id,
                })).collect::<Vec<_>>(),
                "Entries": entries,
                "IsDefault": true, "NetworkAclId": acl, "Tags": [], "VpcId": vpc, "OwnerId": o.account,
            }]}),
        );
        let (kind, enis, each, processors, mib) = self.machine;
        whole(
            "ec2/describe-instance-types".to_owned(),
            json!({"InstanceTypes": [{
                "BareMetal": false, "BurstablePerformanceSupported": false, "CurrentGeneration": true, "Hypervisor": "nitro", "InstanceType": kind,
                "MemoryInfo": {"SizeInMiB": mib},
                "NetworkInfo": {
                    "DefaultNetworkCardIndex": 0, "EnaSupport": "required", "Ipv4AddressesPerInterface": each, "Ipv6AddressesPerInterface": each,
                    "Ipv6Supported": true, "MaximumNetworkCards": 1, "MaximumNetworkInterfaces": enis,
                    "NetworkCards": [{"MaximumNetworkInterfaces": enis, "NetworkCardIndex": 0, "NetworkPerformance": "Up to 10 Gigabit"}],
                    "NetworkPerformance": "Up to 10 Gigabit",
                },
                "ProcessorInfo": {"Manufacturer": "Intel", "SupportedArchitectures": ["x86_64"], "SustainedClockSpeedInGhz": 3.1},
                "SupportedUsageClasses": ["on-demand", "spot"], "SupportedVirtualizationTypes": ["hvm"],
                "VCpuInfo": {"DefaultCores": processors / 2, "DefaultThreadsPerCore": 2, "DefaultVCpus": processors},
            }]}),
        );
        let mut data = json!({
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": true, "VolumeSize": 50, "VolumeType": "gp3"}}],
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled"},
            "SecurityGroupIds": [self.group("node")],
            "TagSpecifications": [{"ResourceType": "instance", "Tags": tags(&[("Name", &format!("{}-workers", o.name))])}],
        });
        if self.custom() || self.prefix() {
            data["UserData"] = Value::String(base64(&self.user_data()));
        }
        let template = self.id("lt", "workers");
        if !self.auto() {
            whole(
                format!("ec2/describe-launch-template-versions/{template}"),
                json!({"LaunchTemplateVersions": [{
                    "LaunchTemplateId": template, "LaunchTemplateName": format!("{}-workers", o.name), "VersionNumber": 1, "CreateTime": CREATED,
                    "CreatedBy": format!("arn:aws:sts::{}:assumed-role/Admin/terraform", o.account), "DefaultVersion": true, "LaunchTemplateData": data,
                }]}),
            );
        }
        whole(
            "ec2/describe-availability-zones".to_owned(),
            json!({"AvailabilityZones": (0..3).map(|z| json!({
            "OptInStatus": "opt-in-not-required", "Messages": [], "RegionName": o.region, "ZoneName": self.zone(z), "ZoneId": self.zone_id(z),
            "GroupName": format!("{}-zg-1", o.region), "NetworkBorderGroup": o.region, "ZoneType": "availability-zone", "State": "available",
        })).collect::<Vec<_>>()}),
        );
    }

    /// The node configuration that sets the number of pods, which the CNI's mode changes.
    fn user_data(&self) -> String {
        format!(
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"BOUNDARY\"\n\n--BOUNDARY\nContent-Type: application/node.eks.aws\n\n---\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    config:\n      maxPods: {}\n\n--BOUNDARY--\n",
            self.max_pods()
        )
    }

    fn subnet(&self, s: &Subnet) -> Value {
        let o = &self.options;
        let mut list = vec![("Name".to_owned(), format!("{}-{}", o.name, s.name))];
        match s.role {
            Role::Public => list.push(("kubernetes.io/role/elb".to_owned(), "1".to_owned())),
            Role::Private if s.name.matches('-').count() == 1 => {
                list.push(("kubernetes.io/role/internal-elb".to_owned(), "1".to_owned()));
            }
            _ => {}
        }
        if o.mode == Mode::Karpenter && s.role == Role::Private {
            list.push(("karpenter.sh/discovery".to_owned(), o.name.clone()));
        }
        let pairs: Vec<(&str, &str)> = list.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let number = self.subnets.iter().position(|other| other.id == s.id).unwrap_or_default();
        let six = if self.v6() {
            json!([{
                "AssociationId": self.id("subnet-cidr-assoc", &s.name), "Ipv6CidrBlock": format!("{}/64", Ipv6Addr::from(self.net6(number))),
                "Ipv6CidrBlockState": {"State": "associated"}, "Ipv6AddressAttribute": "public", "IpSource": "amazon",
            }])
        } else {
            json!([])
        };
        json!({
            "AvailabilityZoneId": self.zone_id(s.zone), "MapCustomerOwnedIpOnLaunch": false, "OwnerId": o.account,
            "AssignIpv6AddressOnCreation": self.v6(), "Ipv6CidrBlockAssociationSet": six, "Tags": tags(&pairs),
            "SubnetArn": self.arn("ec2", &format!("subnet/{}", s.id)), "EnableDns64": false, "Ipv6Native": false,
            "PrivateDnsNameOptionsOnLaunch": {"HostnameType": "ip-name", "EnableResourceNameDnsARecord": false, "EnableResourceNameDnsAAAARecord": false},
            "BlockPublicAccessStates": {"InternetGatewayBlockMode": "off"}, "SubnetId": s.id, "State": "available", "VpcId": self.vpc(),
            "CidrBlock": s.cidr(), "AvailableIpAddressCount": s.free(), "AvailabilityZone": self.zone(s.zone), "DefaultForAz": false,
            "MapPublicIpOnLaunch": s.role == Role::Public,
        })
    }

    fn route_tables(&self) -> Vec<Value> {
        let names = if self.private() {
            vec!["main", "private"]
        } else {
            vec!["main", "public", "private-a", "private-b", "private-c"]
        };
        names
            .iter()
            .enumerate()
            .map(|(n, name)| {
                let id = self.id("rtb", name);
                let associated = json!({"State": "associated"});
                let mut associations: Vec<Value> = self
                    .subnets
                    .iter()
                    .filter(|s| s.table == n)
                    .map(|s| json!({"Main": false, "RouteTableAssociationId": self.id("rtbassoc", &s.name), "RouteTableId": id, "SubnetId": s.id, "AssociationState": associated}))
                    .collect();
                if n == 0 {
                    associations.push(json!({"Main": true, "RouteTableAssociationId": self.id("rtbassoc", "main"), "RouteTableId": id, "AssociationState": associated}));
                }
                let mut routes: Vec<Value> = self
                    .vpc_cidrs
                    .iter()
                    .map(|(base, bits)| json!({"DestinationCidrBlock": format!("{}/{bits}", ip(*base)), "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"}))
                    .collect();
                if self.v6() {
                    routes.push(json!({"DestinationIpv6CidrBlock": VPC6, "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"}));
                    match *name {
                        "public" => routes.push(json!({"DestinationIpv6CidrBlock": "::/0", "GatewayId": self.id("igw", "main"), "Origin": "CreateRoute", "State": "active"})),
                        "main" => {}
                        _ => routes.push(json!({"DestinationIpv6CidrBlock": "::/0", "EgressOnlyInternetGatewayId": self.id("eigw", "main"), "Origin": "CreateRoute", "State": "active"})),
                    }
                }
                match (*name, self.private()) {
                    ("public", _) => routes.push(json!({"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": self.id("igw", "main"), "Origin": "CreateRoute", "State": "active"})),
                    ("private", true) => routes.push(json!({"DestinationPrefixListId": "pl-68a54001", "GatewayId": self.id("vpce", "s3"), "Origin": "CreateRoute", "State": "active"})),
                    ("main", _) => {}
                    _ => routes.push(json!({"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": self.id("nat", "a"), "Origin": "CreateRoute", "State": "active"})),
                }
                let label = tags(&[("Name", &format!("{}-{name}", self.options.name))]);
                json!({"Associations": associations, "PropagatingVgws": [], "RouteTableId": id, "Routes": routes, "Tags": label, "VpcId": self.vpc(), "OwnerId": self.options.account})
            })
            .collect()
    }

    fn endpoints(&self) -> Vec<Value> {
        if !self.private() {
            return Vec::new();
        }
        let o = &self.options;
        let all =
            r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;
        let mut endpoints = vec![json!({
            "VpcEndpointId": self.id("vpce", "s3"), "VpcEndpointType": "Gateway", "VpcId": self.vpc(),
            "ServiceName": format!("com.amazonaws.{}.s3", o.region), "State": "available", "PolicyDocument": all,
            "RouteTableIds": [self.id("rtb", "private")], "SubnetIds": [], "Groups": [], "PrivateDnsEnabled": false, "RequesterManaged": false,
            "NetworkInterfaceIds": [], "DnsEntries": [], "CreationTimestamp": CREATED, "Tags": tags(&[("Name", &format!("{}-s3", o.name))]), "OwnerId": o.account,
        })];
        for service in ENDPOINTS {
            let id = self.id("vpce", service);
            let interfaces: Vec<&Managed> = self.managed.iter().filter(|m| m.description.ends_with(&id)).collect();
            // ecr.api is api.ecr in names.
            let host = service.split('.').rev().collect::<Vec<_>>().join(".");
            let private = match service {
                "ecr.dkr" => format!("*.dkr.ecr.{}.amazonaws.com", o.region),
                "eks-auth" => format!("eks-auth.{}.api.aws", o.region),
                _ => format!("{host}.{}.amazonaws.com", o.region),
            };
            let suffix = self.hex(&id, 8);
            endpoints.push(json!({
                "VpcEndpointId": id, "VpcEndpointType": "Interface", "VpcId": self.vpc(),
                "ServiceName": format!("com.amazonaws.{}.{service}", o.region), "State": "available", "PolicyDocument": all,
                "RouteTableIds": [], "SubnetIds": interfaces.iter().map(|m| self.subnets[m.subnet].id.as_str()).collect::<Vec<_>>(),
                "Groups": [{"GroupId": self.group("endpoints"), "GroupName": self.group_name("endpoints")}],
                "IpAddressType": "ipv4", "DnsOptions": {"DnsRecordIpType": "ipv4"}, "PrivateDnsEnabled": true, "RequesterManaged": false,
                "NetworkInterfaceIds": interfaces.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(),
                "DnsEntries": [
                    {"DnsName": format!("{id}-{suffix}.{host}.{}.vpce.amazonaws.com", o.region), "HostedZoneId": "Z1YSA3EXCYUU9Z"},
                    {"DnsName": private, "HostedZoneId": format!("Z0{}", suffix.to_uppercase())},
                ],
                "CreationTimestamp": CREATED, "Tags": tags(&[("Name", &format!("{}-{service}", o.name))]), "OwnerId": o.account, "ServiceRegion": o.region,
            }));
        }
        endpoints
    }

    /// The security groups, and their rules one by one.
    fn groups(&self) -> (Vec<Value>, Vec<Value>) {
        enum From {
            Group(&'static str),
            Cidr(String),
        }
        use From::{Cidr, Group};
        type Rules = Vec<(&'static str, Option<(u32, u32)>, From, &'static str)>;
        let o = &self.options;
        let all = || {
            let mut rules = vec![("-1", None, Cidr("0.0.0.0/0".to_owned()), "")];
            if self.v6() {
                rules.push(("-1", None, Cidr("::/0".to_owned()), ""));
            }
            rules
        };
        let owned = format!("kubernetes.io/cluster/{}", o.name);
        let binding = "elbv2.k8s.aws/targetGroupBinding=shared";
        let anyone = || if self.private() { Cidr("10.0.0.0/16".to_owned()) } else { Cidr("0.0.0.0/0".to_owned()) };
        let mut groups: Vec<(&'static str, &str, Value, Rules, Rules)> = vec![
            ("default", "default VPC security group", tags(&[]), vec![("-1", None, Group("default"), "")], all()),
            (
                "cluster",
                "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.",
                tags(&[("Name", &self.group_name("cluster")), (&owned, "owned"), ("aws:eks:cluster-name", &o.name)]),
                {
                    let mut rules = vec![
                        ("-1", None, Group("cluster"), ""),
                        ("tcp", Some((443, 443)), Group("node"), "nodes and pods to the API server"),
                    ];
                    if self.pod_groups() {
                        rules.push(("tcp", Some((443, 443)), Group("pods"), "pods to the API server"));
                    }
                    rules
                },
                all(),
            ),
            (
                "node",
                "Worker nodes",
                if o.mode == Mode::Karpenter {
                    tags(&[("Name", &self.group_name("node")), (&owned, "owned"), ("karpenter.sh/discovery", &o.name)])
                } else {
                    tags(&[("Name", &self.group_name("node")), (&owned, "owned")])
                },
                {
                    let mut rules = vec![
                        ("-1", None, Group("node"), "node to node"),
                        ("tcp", Some((443, 443)), Group("cluster"), "control plane to nodes"),
                        ("tcp", Some((1025, 65535)), Group("cluster"), "control plane to kubelet and webhooks"),
                        ("tcp", Some((8080, 8080)), Group("backend"), binding),
                        ("tcp", Some((8443, 8443)), Group("backend"), binding),
                    ];
                    if self.fargate() {
                        rules.push(("-1", None, Group("cluster"), "Fargate pods"));
                    }
                    if self.pod_groups() {
                        rules.retain(|rule| rule.1 != Some((8443, 8443)));
                        rules.push(("udp", Some((53, 53)), Group("pods"), "pods to CoreDNS"));
                        rules.push(("tcp", Some((53, 53)), Group("pods"), "pods to CoreDNS"));
                    }
                    rules
                },
                all(),
            ),
            (
                "alb",
                "[k8s] Managed SecurityGroup for LoadBalancer",
                tags(&[
                    ("elbv2.k8s.aws/cluster", &o.name),
                    ("ingress.k8s.aws/stack", "web/web"),
                    ("ingress.k8s.aws/resource", "ManagedLBSecurityGroup"),
                ]),
                if self.v6() {
                    vec![("tcp", Some((80, 80)), anyone(), ""), ("tcp", Some((80, 80)), Cidr("::/0".to_owned()), "")]
                } else {
                    vec![("tcp", Some((80, 80)), anyone(), "")]
                },
                all(),
            ),
            (
                "nlb",
                "[k8s] Managed SecurityGroup for LoadBalancer",
                tags(&[
                    ("elbv2.k8s.aws/cluster", &o.name),
                    ("service.k8s.aws/stack", "web/api"),
                    ("service.k8s.aws/resource", "ManagedLBSecurityGroup"),
                ]),
                if self.v6() {
                    vec![
                        ("tcp", Some((443, 443)), Cidr("10.0.0.0/16".to_owned()), ""),
                        ("tcp", Some((443, 443)), Cidr(VPC6.to_owned()), ""),
                    ]
                } else {
                    vec![("tcp", Some((443, 443)), Cidr("10.0.0.0/16".to_owned()), "")]
                },
                all(),
            ),
            (
                "backend",
                "[k8s] Shared Backend SecurityGroup for LoadBalancer",
                tags(&[("elbv2.k8s.aws/cluster", &o.name), ("elbv2.k8s.aws/resource", "backend-sg")]),
                vec![],
                all(),
            ),
        ];
        if self.auto() {
            // Nodes carry the cluster's security group.
            groups.retain(|g| g.0 != "node");
            groups[1].3 = vec![
                ("-1", None, Group("cluster"), ""),
                ("tcp", Some((8080, 8080)), Group("backend"), binding),
                ("tcp", Some((8443, 8443)), Group("backend"), binding),
            ];
        }
        if self.fargate() {
            groups[1].3.push(("-1", None, Group("node"), "nodes and pods to Fargate pods"));
        }
        if self.pod_groups() {
            groups.push((
                "pods",
                "Pods of api",
                tags(&[("Name", &self.group_name("pods"))]),
                vec![
                    ("tcp", Some((8443, 8443)), Group("node"), "kubelets and pods to api"),
                    ("tcp", Some((8443, 8443)), Group("backend"), binding),
                ],
                all(),
            ));
        }
        if self.private() {
            groups.push((
                "endpoints",
                "VPC endpoints",
                tags(&[("Name", &self.group_name("endpoints"))]),
                vec![("tcp", Some((443, 443)), Cidr("10.0.0.0/16".to_owned()), "from the VPC")],
                all(),
            ));
        }
        let (mut described, mut each) = (Vec::new(), Vec::new());
        for (key, description, label, ingress, egress) in groups {
            let id = self.group(key);
            let mut permissions = |rules: Rules, out: bool| {
                let mut list: Vec<Value> = Vec::new();
                for (n, (protocol, ports, from, text)) in rules.into_iter().enumerate() {
                    let mut permission = json!({"IpProtocol": protocol, "UserIdGroupPairs": [], "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": []});
                    let mut rule = json!({
                        "SecurityGroupRuleId": self.id("sgr", &format!("{key} {out} {n}")), "GroupId": id, "GroupOwnerId": o.account,
                        "IsEgress": out, "IpProtocol": protocol, "FromPort": -1, "ToPort": -1, "Tags": [],
                    });
                    if let Some((first, last)) = ports {
                        for object in [&mut permission, &mut rule] {
                            object["FromPort"] = json!(first);
                            object["ToPort"] = json!(last);
                        }
                    }
                    let mut source = match &from {
                        Group(group) => {
                            rule["ReferencedGroupInfo"] = json!({"GroupId": self.group(group), "UserId": o.account});
                            json!({"UserId": o.account, "GroupId": self.group(group)})
                        }
                        Cidr(cidr) if cidr.contains(':') => {
                            rule["CidrIpv6"] = json!(cidr);
                            json!({"CidrIpv6": cidr})
                        }
                        Cidr(cidr) => {
                            rule["CidrIpv4"] = json!(cidr);
                            json!({"CidrIp": cidr})
                        }
                    };
                    if !text.is_empty() {
                        source["Description"] = json!(text);
                        rule["Description"] = json!(text);
                    }
                    let list_of = match &from {
                        Group(_) => "UserIdGroupPairs",
                        Cidr(cidr) if cidr.contains(':') => "Ipv6Ranges",
                        Cidr(_) => "IpRanges",
                    };
                    permission[list_of] = json!([source]);
                    each.push(rule);
                    // AWS tells rules of the same protocol and ports as one permission.
                    match list
                        .iter_mut()
                        .find(|p| ["IpProtocol", "FromPort", "ToPort"].iter().all(|k| p.get(k) == permission.get(k)))
                    {
                        Some(same) => {
                            for k in ["UserIdGroupPairs", "IpRanges", "Ipv6Ranges"] {
                                if let (Some(to), Some(more)) = (same[k].as_array_mut(), permission[k].as_array()) {
                                    to.extend(more.iter().cloned());
                                }
                            }
                        }
                        None => list.push(permission),
                    }
                }
                list
            };
            let ingress = permissions(ingress, false);
            let egress = permissions(egress, true);
            described.push(json!({
                "GroupId": id, "IpPermissionsEgress": egress, "Tags": label, "VpcId": self.vpc(),
                "SecurityGroupArn": self.arn("ec2", &format!("security-group/{id}")), "OwnerId": o.account,
                "GroupName": self.group_name(key), "Description": description, "IpPermissions": ingress,
            }));
        }
        (described, each)
    }

    fn group_list(&self, groups: &[&str]) -> Vec<Value> {
        groups.iter().map(|g| json!({"GroupId": self.group(g), "GroupName": self.group_name(g)})).collect()
    }

    fn managed_interface(&self, m: &Managed) -> Value {
        let s = &self.subnets[m.subnet];
        let mut address =
            json!({"Primary": true, "PrivateDnsName": self.host(m.address), "PrivateIpAddress": ip(m.address)});
        let six = if self.v6() && m.kind != "nat_gateway" {
            json!([{"Ipv6Address": self.address6(m.subnet, m.address), "IsPrimaryIpv6": false}])
        } else {
            json!([])
        };
        let mut interface = json!({
            "Attachment": {"AttachmentId": format!("ela-attach-0{}", self.hex(&m.id, 16)), "AttachTime": CREATED, "DeleteOnTermination": false,
                "DeviceIndex": 1, "InstanceOwnerId": m.owner, "Status": "attached"},
            "AvailabilityZone": self.zone(s.zone), "AvailabilityZoneId": self.zone_id(s.zone), "Description": m.description,
            "Groups": self.group_list(&m.groups), "InterfaceType": m.kind, "Ipv6Addresses": six, "MacAddress": mac(m.address),
            "NetworkInterfaceId": m.id, "OwnerId": self.options.account, "PrivateDnsName": self.host(m.address), "PrivateIpAddress": ip(m.address),
            "RequesterId": m.requester, "RequesterManaged": true, "SourceDestCheck": m.kind != "nat_gateway" && m.kind != "network_load_balancer",
            "Status": "in-use", "SubnetId": s.id, "TagSet": [], "VpcId": self.vpc(),
        });
        if let Some(public) = m.public {
            let mut association = json!({
                "IpOwnerId": "amazon-elb", "PublicDnsName": format!("ec2-{}.{}.compute.amazonaws.com", ip(public).replace('.', "-"), self.options.region),
                "PublicIp": ip(public),
            });
            if m.kind == "nat_gateway" {
                association["IpOwnerId"] = json!(self.options.account);
                association["AllocationId"] = json!(self.id("eipalloc", &m.id));
                association["AssociationId"] = json!(self.id("eipassoc", &m.id));
            }
            address["Association"] = association.clone();
            interface["Association"] = association;
        }
        interface["PrivateIpAddresses"] = json!([address]);
        if m.kind == FARGATE {
            interface["InterfaceType"] = json!("interface");
            interface["RequesterManaged"] = json!(false);
            interface.as_object_mut().expect("it is one").remove("RequesterId");
        }
        interface
    }

    /// What the interface and its instance both tell.
    fn shared(&self, n: usize, e: &Eni) -> Value {
        let addresses: Vec<Value> = e
            .addresses
            .iter()
            .enumerate()
            .map(|(i, &a)| json!({"Primary": i == 0, "PrivateDnsName": self.host(a), "PrivateIpAddress": ip(a)}))
            .collect();
        let mut shared = json!({
            "Attachment": {"AttachTime": CREATED, "AttachmentId": format!("eni-attach-0{}", self.hex(&e.id, 16)), "DeleteOnTermination": true,
                "DeviceIndex": e.device, "NetworkCardIndex": 0, "Status": "attached"},
            "Description": match (e.device, e.kind) {
                (0, _) => String::new(),
                (_, "trunk") => "aws-k8s-trunk-eni".to_owned(),
                _ => format!("aws-K8S-{}", self.nodes[n].instance),
            },
            "Groups": self.group_list(&[self.node_group()]), "InterfaceType": e.kind, "Ipv6Addresses": [], "MacAddress": mac(e.addresses[0]),
            "NetworkInterfaceId": e.id, "OwnerId": self.options.account, "PrivateDnsName": self.host(e.addresses[0]),
            "PrivateIpAddress": ip(e.addresses[0]), "PrivateIpAddresses": addresses, "SourceDestCheck": true, "Status": "in-use",
            "SubnetId": self.subnets[e.subnet].id, "VpcId": self.vpc(),
        });
        if self.v6() {
            shared["Ipv6Addresses"] =
                json!([{"Ipv6Address": self.address6(e.subnet, e.addresses[0]), "IsPrimaryIpv6": false}]);
            shared["Ipv6Prefixes"] = json!([{"Ipv6Prefix": format!("{}/80", Ipv6Addr::from(self.prefix6(e)))}]);
        }
        if !e.prefixes.is_empty() {
            shared["Ipv4Prefixes"] =
                e.prefixes.iter().map(|p| json!({"Ipv4Prefix": format!("{}/28", ip(*p))})).collect();
        }
        shared
    }

    fn interface(&self, n: usize, e: &Eni) -> Value {
        let node = &self.nodes[n];
        let mut interface = self.shared(n, e);
        interface["Attachment"]["InstanceId"] = json!(node.instance);
        interface["Attachment"]["InstanceOwnerId"] = json!(self.options.account);
        interface["AvailabilityZone"] = json!(self.zone(node.zone));
        interface["AvailabilityZoneId"] = json!(self.zone_id(node.zone));
        interface["RequesterManaged"] = json!(false);
        interface["TagSet"] = if self.auto() {
            tags(&[("eks:eks-cluster-name", &self.options.name), ("eks:kubernetes-node-class-name", "default")])
        } else if e.device == 0 && self.karpenter(n) {
            tags(&[("karpenter.sh/nodepool", "default"), ("eks:eks-cluster-name", &self.options.name)])
        } else if e.device == 0 {
            tags(&[("eks:cluster-name", &self.options.name), ("eks:nodegroup-name", "workers")])
        } else if e.kind == "trunk" {
            tags(&[
                ("eks:eni:owner", "eks-vpc-resource-controller"),
                (&format!("kubernetes.io/cluster/{}", self.options.name), "owned"),
                ("vpcresources.k8s.aws/nodename", &self.node_name(n)),
            ])
        } else {
            tags(&[
                ("cluster.k8s.amazonaws.com/name", &self.options.name),
                ("eks:eni:owner", "amazon-vpc-cni"),
                ("node.k8s.amazonaws.com/createdAt", "2026-05-21T08:20:00Z"),
                ("node.k8s.amazonaws.com/instance_id", &node.instance),
            ])
        };
        interface
    }

    /// The interface that the VPC resource controller made for one pod.
    fn branch_interface(&self, n: usize, b: &Branch) -> Value {
        let node = &self.nodes[n];
        let trunk = node.enis.iter().find(|e| e.kind == "trunk").map_or("", |e| e.id.as_str());
        json!({
            "AvailabilityZone": self.zone(node.zone), "AvailabilityZoneId": self.zone_id(node.zone), "Description": "aws-k8s-branch-eni",
            "Groups": self.group_list(&["pods"]), "InterfaceType": "branch", "Ipv6Addresses": [], "MacAddress": mac(b.address),
            "NetworkInterfaceId": b.id, "OwnerId": self.options.account, "PrivateDnsName": self.host(b.address), "PrivateIpAddress": ip(b.address),
            "PrivateIpAddresses": [{"Primary": true, "PrivateDnsName": self.host(b.address), "PrivateIpAddress": ip(b.address)}],
            "RequesterId": "AROAEKSCONTROLPLANE00:AmazonEKS", "RequesterManaged": false, "SourceDestCheck": true, "Status": "in-use",
            "SubnetId": self.subnets[b.subnet].id, "VpcId": self.vpc(),
            "TagSet": tags(&[
                ("eks:eni:owner", "eks-vpc-resource-controller"),
                (&format!("kubernetes.io/cluster/{}", self.options.name), "owned"),
                ("vpcresources.k8s.aws/trunk-eni-id", trunk),
                ("vpcresources.k8s.aws/vlan-id", &b.vlan.to_string()),
            ]),
        })
    }

    /// What the resource controller writes on a pod about its branch interface.
    pub(super) fn branch_annotation(&self, b: &Branch) -> String {
        json!([{
            "eniId": b.id, "ifAddress": mac(b.address), "privateIp": ip(b.address), "vlanId": b.vlan,
            "subnetCidr": self.subnets[b.subnet].cidr(),
        }])
        .to_string()
    }

    fn reservation(&self, n: usize) -> Value {
        let o = &self.options;
        let node = &self.nodes[n];
        let primary = &node.enis[0];
        let address = primary.addresses[0];
        let owned = format!("kubernetes.io/cluster/{}", o.name);
        let (name, asg, template) = (format!("{}-workers", o.name), self.asg(), self.id("lt", "workers"));
        let label = if self.auto() {
            tags(&[
                ("eks:eks-cluster-name", &o.name),
                ("eks:kubernetes-node-pool-name", "general-purpose"),
                ("eks:kubernetes-node-class-name", "default"),
                (&owned, "owned"),
                ("aws:eks:cluster-name", &o.name),
            ])
        } else if self.karpenter(n) {
            tags(&[
                ("Name", &self.node_name(n)),
                ("karpenter.sh/nodepool", "default"),
                ("karpenter.sh/nodeclaim", &self.node_claim(n)),
                ("karpenter.k8s.aws/ec2nodeclass", "default"),
                ("eks:eks-cluster-name", &o.name),
                (&owned, "owned"),
            ])
        } else {
            tags(&[
                ("Name", &name),
                ("aws:autoscaling:groupName", &asg),
                ("aws:ec2launchtemplate:id", &template),
                ("aws:ec2launchtemplate:version", "1"),
                ("eks:cluster-name", &o.name),
                ("eks:nodegroup-name", "workers"),
                (&owned, "owned"),
            ])
        };
        let mut reservation = json!({
            "ReservationId": self.id("r", &node.instance), "OwnerId": o.account, "Groups": [], "RequesterId": "AROAAUTOSCALING000000",
            "Instances": [{
                "Architecture": "x86_64", "AmiLaunchIndex": 0, "ClientToken": self.uuid(&node.instance), "EbsOptimized": false, "EnaSupport": true,
                "Hypervisor": "xen", "ImageId": self.id("ami", "al2023"), "InstanceId": node.instance, "InstanceType": self.machine.0,
                "IamInstanceProfile": {"Arn": self.iam(&format!("instance-profile/{}", self.node_profile(n))), "Id": self.profile_id(&self.node_profile(n))},
                "LaunchTime": "2026-05-21T08:18:00+00:00",
                "MetadataOptions": {"State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled", "HttpProtocolIpv6": "disabled", "InstanceMetadataTags": "disabled"},
                "NetworkInterfaces": node.enis.iter().map(|e| self.shared(n, e)).collect::<Vec<_>>(),
                "Placement": {"AvailabilityZone": self.zone(node.zone), "AvailabilityZoneId": self.zone_id(node.zone), "GroupName": "", "Tenancy": "default"},
                "PlatformDetails": "Linux/UNIX", "PrivateDnsName": self.host(address), "PrivateIpAddress": ip(address), "ProductCodes": [],
                "PublicDnsName": "", "RootDeviceName": "/dev/xvda", "RootDeviceType": "ebs", "SecurityGroups": self.group_list(&["node"]),
                "SourceDestCheck": true, "State": {"Code": 16, "Name": "running"}, "StateTransitionReason": "",
                "SubnetId": self.subnets[primary.subnet].id,
                "Tags": label,
                "UsageOperation": "RunInstances", "VirtualizationType": "hvm", "VpcId": self.vpc(),
            }],
        });
        let instance = &mut reservation["Instances"][0];
        if self.v6() {
            instance["Ipv6Address"] = json!(self.address6(primary.subnet, address));
        }
        if self.auto() {
            instance["Operator"] = json!({"Managed": true, "Principal": "eks.amazonaws.com"});
            instance["ImageId"] = json!(self.id("ami", "auto"));
            instance["MetadataOptions"]["HttpPutResponseHopLimit"] = json!(1);
        }
        reservation
    }

    /// The name of the claim for which Karpenter launched the node.
    pub(super) fn node_claim(&self, n: usize) -> String {
        format!("default-{}", self.hex(&format!("claim {n}"), 5))
    }

    pub(super) fn profile_id(&self, profile: &str) -> String {
        let of = if profile.starts_with("eks-") && !self.auto() {
            "profile".to_owned()
        } else {
            format!("profile {profile}")
        };
        format!("AIPA{}", self.hex(&of, 17).to_uppercase())
    }

    fn autoscaling_files(&self, whole: &mut impl FnMut(String, Value)) {
        let o = &self.options;
        if self.auto() {
            whole("autoscaling/describe-auto-scaling-groups".to_owned(), json!({"AutoScalingGroups": []}));
            return;
        }
        let grouped = self.grouped().count();
        let name = self.asg();
        let template = json!({"LaunchTemplateId": self.id("lt", "workers"), "LaunchTemplateName": format!("{}-workers", o.name), "Version": "1"});
        let subnets: Vec<&str> = self.of_role(Role::Private).map(|(_, s)| s.id.as_str()).collect();
        let label = |key: &str, value: &str| json!({"ResourceId": name, "ResourceType": "auto-scaling-group", "Key": key, "Value": value, "PropagateAtLaunch": true});
        whole(
            "autoscaling/describe-auto-scaling-groups".to_owned(),
            json!({"AutoScalingGroups": [{
                "AutoScalingGroupName": name,
                "AutoScalingGroupARN": self.arn("autoscaling", &format!("autoScalingGroup:{}:autoScalingGroupName/{name}", self.uuid("asg"))),
                "MixedInstancesPolicy": {
                    "LaunchTemplate": {"LaunchTemplateSpecification": template, "Overrides": [{"InstanceType": self.machine.0}]},
                    "InstancesDistribution": {"OnDemandAllocationStrategy": "prioritized", "OnDemandBaseCapacity": 0, "OnDemandPercentageAboveBaseCapacity": 100, "SpotAllocationStrategy": "lowest-price", "SpotInstancePools": 2},
                },
                "MinSize": 1, "MaxSize": grouped * 2, "DesiredCapacity": grouped, "DefaultCooldown": 300,
                "AvailabilityZones": (0..3).map(|z| self.zone(z)).collect::<Vec<_>>(), "LoadBalancerNames": [], "TargetGroupARNs": [],
                "HealthCheckType": "EC2", "HealthCheckGracePeriod": 15,
                "Instances": self.grouped().map(|(_, n)| json!({
                    "InstanceId": n.instance, "InstanceType": self.machine.0, "AvailabilityZone": self.zone(n.zone), "LifecycleState": "InService",
                    "HealthStatus": "Healthy", "LaunchTemplate": template, "ProtectedFromScaleIn": false,
                })).collect::<Vec<_>>(),
                "CreatedTime": "2026-03-02T08:18:00.555000+00:00", "SuspendedProcesses": [], "VPCZoneIdentifier": subnets.join(","), "EnabledMetrics": [],
                "Tags": [
                    label("eks:cluster-name", &o.name), label("eks:nodegroup-name", "workers"),
                    label(&format!("k8s.io/cluster-autoscaler/{}", o.name), "owned"), label("k8s.io/cluster-autoscaler/enabled", "true"),
                    label(&format!("kubernetes.io/cluster/{}", o.name), "owned"),
                ],
                "TerminationPolicies": ["AllocationStrategy", "OldestLaunchTemplate", "OldestInstance"], "NewInstancesProtectedFromScaleIn": false,
                "ServiceLinkedRoleARN": self.iam("role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"), "CapacityRebalance": true,
            }]}),
        );
        whole(
            format!("autoscaling/describe-scaling-activities/{name}"),
            json!({"Activities": self.grouped().take(3).map(|(_, n)| json!({
            "ActivityId": self.uuid(&format!("activity {}", n.instance)), "AutoScalingGroupName": name,
            "Description": format!("Launching a new EC2 instance: {}", n.instance),
            "Cause": "At 2026-05-21T08:17:55Z an instance was started in response to a difference between desired and actual capacity.",
            "StartTime": "2026-05-21T08:17:58.100000+00:00", "EndTime": "2026-05-21T08:18:30+00:00", "StatusCode": "Successful", "Progress": 100,
            "Details": format!("{{\"Subnet ID\":\"{}\",\"Availability Zone\":\"{}\"}}", self.subnets[n.enis[0].subnet].id, self.zone(n.zone)),
        })).collect::<Vec<_>>()}),
        );
    }

    pub(super) fn target_group_name(&self, app: usize) -> String {
        let name = self.app(app);
        format!("k8s-web-{name}-{}", self.hex(&format!("tg {name}"), 10))
    }
    pub(super) fn target_group_arn(&self, app: usize) -> String {
        let name = self.target_group_name(app);
        self.arn("elasticloadbalancing", &format!("targetgroup/{name}/{}", self.hex(&name, 16)))
    }
    pub(super) fn alb_host(&self) -> String {
        let internal = if self.private() { "internal-" } else { "" };
        format!(
            "{internal}{}-{}.{}.elb.amazonaws.com",
            self.alb_name(),
            self.number("alb dns", 10),
            self.options.region
        )
    }
    pub(super) fn nlb_host(&self) -> String {
        format!("{}-{}.elb.{}.amazonaws.com", self.nlb_name(), self.hex("nlb arn", 16), self.options.region)
    }

    fn elb_files(&self, whole: &mut impl FnMut(String, Value)) {
        let alb = self.alb_name();
        let nlb = self.nlb_name();
        let arn = |kind: &str, path: &str, name: &str| {
            let hex = self.hex(if kind == "app" { "alb arn" } else { "nlb arn" }, 16);
            self.arn("elasticloadbalancing", &format!("{path}/{kind}/{name}/{hex}"))
        };
        let zones = |prefix: &str| -> Vec<Value> {
            self.managed
                .iter()
                .filter(|m| m.description.starts_with(prefix))
                .map(|m| json!({"ZoneName": self.zone(self.subnets[m.subnet].zone), "SubnetId": self.subnets[m.subnet].id, "LoadBalancerAddresses": []}))
                .collect()
        };
        let active = json!({"Code": "active"});
        whole(
            "elbv2/describe-load-balancers".to_owned(),
            json!({"LoadBalancers": [
                {
                    "LoadBalancerArn": arn("app", "loadbalancer", &alb), "DNSName": self.alb_host(), "CanonicalHostedZoneId": "Z1H1FL5HABSF5",
                    "CreatedTime": "2026-03-03T10:00:00.120000+00:00", "LoadBalancerName": alb, "Scheme": if self.private() { "internal" } else { "internet-facing" },
                    "VpcId": self.vpc(), "State": active, "Type": "application", "AvailabilityZones": zones("ELB app/"),
                    "SecurityGroups": [self.group("alb"), self.group("backend")], "IpAddressType": if self.v6() { "dualstack" } else { "ipv4" },
                },
                {
                    "LoadBalancerArn": arn("net", "loadbalancer", &nlb), "DNSName": self.nlb_host(), "CanonicalHostedZoneId": "Z18D5FSROUN65G",
                    "CreatedTime": "2026-03-03T10:05:00.120000+00:00", "LoadBalancerName": nlb, "Scheme": "internal",
                    "VpcId": self.vpc(), "State": active, "Type": "network", "AvailabilityZones": zones("ELB net/"),
                    "SecurityGroups": [self.group("nlb"), self.group("backend")], "IpAddressType": if self.v6() { "dualstack" } else { "ipv4" },
                },
            ]}),
        );
        let mut groups = Vec::new();
        for (app, kind, name, protocol, port) in [(0, "app", &alb, "HTTP", 80), (1, "net", &nlb, "TCP", 443)] {
            let target_group = self.target_group_arn(app);
            let tuple = if app == 0 {
                json!({"TargetGroupArn": target_group, "Weight": 1})
            } else {
                json!({"TargetGroupArn": target_group})
            };
            let load_balancer = arn(kind, "loadbalancer", name);
            whole(
                format!("elbv2/describe-listeners/{name}"),
                json!({"Listeners": [{
                    "ListenerArn": format!("{}/{}", arn(kind, "listener", name), self.hex(&format!("listener {name}"), 16)),
                    "LoadBalancerArn": load_balancer, "Port": port, "Protocol": protocol,
                    "DefaultActions": [{"Type": "forward", "TargetGroupArn": target_group, "Order": 1, "ForwardConfig": {"TargetGroups": [tuple]}}],
                }]}),
            );
            whole(
                format!("elbv2/describe-load-balancer-attributes/{name}"),
                json!({"Attributes": [
                    {"Key": "deletion_protection.enabled", "Value": "false"}, {"Key": "load_balancing.cross_zone.enabled", "Value": if app == 0 { "true" } else { "false" }},
                ]}),
            );
            whole(
                format!("elbv2/describe-target-group-attributes/{}", self.target_group_name(app)),
                json!({"Attributes": [
                    {"Key": "deregistration_delay.timeout_seconds", "Value": "300"}, {"Key": "stickiness.enabled", "Value": "false"},
                ]}),
            );
            whole(
                format!("elbv2/describe-target-health/{}", self.target_group_name(app)),
                json!({"TargetHealthDescriptions": self.pods_of_app(app).map(|pod| {
                let (node, slot) = self.pod_spot(pod);
                let port = Estate::app_port(app);
                json!({
                    "Target": {"Id": self.pod_ip(node, slot), "Port": port, "AvailabilityZone": self.zone(self.nodes[node].zone)},
                    "HealthCheckPort": port.to_string(), "TargetHealth": {"State": "healthy"},
                })
            }).collect::<Vec<_>>()}),
            );
            let mut group = json!({
                "TargetGroupArn": target_group, "TargetGroupName": self.target_group_name(app), "Protocol": protocol, "Port": Estate::app_port(app),
                "VpcId": self.vpc(), "HealthCheckProtocol": protocol, "HealthCheckPort": "traffic-port", "HealthCheckEnabled": true,
                "HealthCheckIntervalSeconds": 15, "HealthCheckTimeoutSeconds": 5, "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2,
                "LoadBalancerArns": [load_balancer], "TargetType": "ip", "IpAddressType": if self.v6() { "ipv6" } else { "ipv4" },
            });
            if app == 0 {
                group["HealthCheckPath"] = json!("/");
                group["Matcher"] = json!({"HttpCode": "200"});
                group["ProtocolVersion"] = json!("HTTP1");
            }
            groups.push(group);
        }
        whole("elbv2/describe-target-groups".to_owned(), json!({"TargetGroups": groups}));
        whole(
            "elbv2/describe-account-limits".to_owned(),
            json!({"Limits": [
                {"Name": "application-load-balancers", "Max": "50"}, {"Name": "network-load-balancers", "Max": "50"}, {"Name": "target-groups", "Max": "3000"},
                {"Name": "targets-per-application-load-balancer", "Max": "1000"}, {"Name": "listeners-per-application-load-balancer", "Max": "50"},
            ]}),
        );
    }
}

fn mac(address: u32) -> String {
    let [a, b, c, d] = address.to_be_bytes();
    format!("02:5c:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.as_bytes()
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
            (0..4).map(
                move |i| if i > chunk.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * i)) as usize & 63]) },
            )
        })
        .collect()
}
