//! What a command of the AWS CLI does to the recorded answers.

use serde_json::{Value, json};

use super::command::{self, Options};
use super::{World, list, map};
use crate::cluster::addons;
use crate::shape::Row;
use crate::snapshot::TABLES;

impl World<'_> {
    /// Nothing when the command is not known with all its options, or AWS would refuse it.
    pub(super) fn aws(&mut self, service: &str, operation: &str, options: &Options<'_>) -> Option<()> {
        match (service, operation) {
            _ if ["describe-", "get-", "list-"].iter().any(|verb| operation.starts_with(verb)) => Some(()),
            ("ec2", "authorize-security-group-ingress") => self.authorize(options, false),
            ("ec2", "authorize-security-group-egress") => self.authorize(options, true),
            ("ec2", "create-network-acl-entry" | "delete-network-acl-entry") => self.acl_entry(operation, options),
            ("ec2", "create-route") => self.route(options, false),
            ("ec2", "replace-route") => self.route(options, true),
            ("ec2", "associate-route-table") => self.associate_route_table(options),
            ("ec2", "create-tags") => self.tags(options, true),
            ("ec2", "delete-tags") => self.tags(options, false),
            ("ec2", "modify-vpc-attribute") => self.vpc_attribute(options),
            ("ec2", "associate-vpc-cidr-block") => self.vpc_range(options),
            ("ec2", "disassociate-vpc-cidr-block") => self.vpc_range_away(options),
            ("ec2", "modify-subnet-attribute") => {
                options.only(&[
                    "subnet-id",
                    "map-public-ip-on-launch",
                    "no-map-public-ip-on-launch",
                    "assign-ipv6-address-on-creation",
                    "no-assign-ipv6-address-on-creation",
                ])?;
                let subnet = self.find("Subnet", options.one("subnet-id")?)?;
                for (option, key) in [
                    ("map-public-ip-on-launch", "MapPublicIpOnLaunch"),
                    ("assign-ipv6-address-on-creation", "AssignIpv6AddressOnCreation"),
                ] {
                    if let Some(on) = options.switch(option) {
                        subnet[key] = Value::Bool(on);
                    }
                }
                Some(())
            }
            ("ec2", "modify-instance-metadata-options") => {
                options.only(&["instance-id", "http-tokens", "http-endpoint", "http-put-response-hop-limit"])?;
                let metadata = map(self.find("Instance", options.one("instance-id")?)?, "MetadataOptions")?;
                for (option, key) in [("http-tokens", "HttpTokens"), ("http-endpoint", "HttpEndpoint")] {
                    if let Some(value) = options.one(option) {
                        metadata.insert(key.to_owned(), Value::from(value));
                    }
                }
                if let Some(hops) = options.one("http-put-response-hop-limit") {
                    metadata.insert("HttpPutResponseHopLimit".to_owned(), Value::from(hops.parse::<i64>().ok()?));
                }
                Some(())
            }
            ("ec2", "modify-vpc-endpoint") => self.vpc_endpoint(options),
            ("iam", "attach-role-policy") => {
                options.only(&["role-name", "policy-arn"])?;
                let arn = options.one("policy-arn")?;
                let attached = list(self.find("AttachedRolePolicies", options.one("role-name")?)?, "AttachedPolicies")?;
                if !attached.iter().any(|policy| policy["PolicyArn"] == arn) {
                    attached.push(json!({"PolicyName": arn.rsplit('/').next()?, "PolicyArn": arn}));
                }
                Some(())
            }
            ("iam", "put-role-policy") => self.put_role_policy(options),
            ("iam", "update-assume-role-policy") => {
                options.only(&["role-name", "policy-document"])?;
                let document: Value = serde_json::from_str(options.one("policy-document")?).ok()?;
                self.find("Role", options.one("role-name")?)?["AssumeRolePolicyDocument"] = document;
                Some(())
            }
            ("eks", "update-cluster-config") => {
                options.only(&["name", "resources-vpc-config"])?;
                let change = command::value(options.one("resources-vpc-config")?)?;
                let config = map(self.find("Cluster", options.one("name")?)?, "resourcesVpcConfig")?;
                for (key, value) in change.as_object()? {
                    let several = matches!(key.as_str(), "subnetIds" | "securityGroupIds" | "publicAccessCidrs");
                    let value = if several && !value.is_array() { json!([value]) } else { value.clone() };
                    config.insert(key.clone(), value);
                }
                Some(())
            }
            ("eks", "update-addon") => self.update_cni_addon(options),
            ("eks", "create-access-entry") => self.create_access_entry(options),
            ("eks", "delete-access-entry") => self.delete_access_entry(options),
            _ => None,
        }
    }

    fn authorize(&mut self, options: &Options<'_>, egress: bool) -> Option<()> {
        options.only(&["group-id", "ip-permissions", "protocol", "port", "source-group", "cidr"])?;
        let group = options.one("group-id")?;
        let mut permissions = Vec::new();
        for text in options.all("ip-permissions") {
            match command::value(text)? {
                Value::Array(several) => permissions.extend(several),
                one => permissions.push(one),
            }
        }
        if let Some(protocol) = options.one("protocol") {
            let protocol = if protocol == "all" { "-1" } else { protocol };
            let mut one = json!({"IpProtocol": protocol});
            if protocol != "-1" {
                let port = options.one("port")?;
                let (from, to) = port.split_once('-').unwrap_or((port, port));
                one["FromPort"] = Value::from(from.parse::<i64>().ok()?);
                one["ToPort"] = Value::from(to.parse::<i64>().ok()?);
            }
            match (options.one("source-group"), options.one("cidr")) {
                (Some(source), None) => one["UserIdGroupPairs"] = json!([{"GroupId": source}]),
                (None, Some(cidr)) => one["IpRanges"] = json!([{"CidrIp": cidr}]),
                _ => return None,
            }
            permissions.push(one);
        }
        let key = if egress { "IpPermissionsEgress" } else { "IpPermissions" };
        for mut permission in permissions {
            let fields = permission.as_object_mut()?;
            if let Some(number) = fields.get("IpProtocol").and_then(Value::as_i64) {
                fields.insert("IpProtocol".to_owned(), Value::from(number.to_string()));
            }
            let there = list(self.find("SecurityGroup", group)?, key)?;
            // AWS refuses what is there already.
            if there.contains(&permission) {
                return None;
            }
            there.push(permission.clone());
            self.group_rules(group, egress, &permission)?;
        }
        Some(())
    }

    /// The same permission as rules of their own, where they were read.
    fn group_rules(&mut self, group: &str, egress: bool, permission: &Value) -> Option<()> {
        let table = TABLES.iter().find(|t| t.shape == "SecurityGroupRule")?.id;
        if self.snapshot.tables.len(table) == 0 {
            return Some(());
        }
        let rules = list(self.document(Row { table, index: 0 })?, "SecurityGroupRules")?;
        for (ranges, field, name) in [
            ("IpRanges", "CidrIp", "CidrIpv4"),
            ("Ipv6Ranges", "CidrIpv6", "CidrIpv6"),
            ("PrefixListIds", "PrefixListId", "PrefixListId"),
            ("UserIdGroupPairs", "GroupId", "ReferencedGroupInfo"),
        ] {
            for range in permission[ranges].as_array().into_iter().flatten() {
                let mut rule = json!({
                    "SecurityGroupRuleId": format!("sgr-added{}", rules.len()),
                    "GroupId": group, "IsEgress": egress, "IpProtocol": permission["IpProtocol"],
                    "FromPort": permission.get("FromPort").cloned().unwrap_or(json!(-1)),
                    "ToPort": permission.get("ToPort").cloned().unwrap_or(json!(-1)),
                });
                rule[name] = match name {
                    "ReferencedGroupInfo" => json!({"GroupId": range[field]}),
                    _ => range[field].clone(),
                };
                rules.push(rule);
            }
        }
        Some(())
    }

    fn acl_entry(&mut self, operation: &str, options: &Options<'_>) -> Option<()> {
        options.only(&[
            "network-acl-id",
            "rule-number",
            "ingress",
            "egress",
            "protocol",
            "rule-action",
            "cidr-block",
            "ipv6-cidr-block",
            "port-range",
        ])?;
        let number: i64 = options.one("rule-number")?.parse().ok()?;
        let egress = options.has("egress");
        if egress == options.has("ingress") {
            return None;
        }
        let entries = list(self.find("NetworkAcl", options.one("network-acl-id")?)?, "Entries")?;
        let before = entries.len();
        let same = |entry: &Value| entry["RuleNumber"] == number && entry["Egress"] == egress;
        match operation {
            // AWS refuses to make what is there, and to delete what is not.
            "create-network-acl-entry" if entries.iter().any(same) => return None,
            "create-network-acl-entry" => {}
            _ => {
                entries.retain(|entry| !same(entry));
                return (entries.len() < before).then_some(());
            }
        }
        let protocol = match options.one("protocol")? {
            "tcp" => "6",
            "udp" => "17",
            "icmp" => "1",
            "icmpv6" => "58",
            "all" => "-1",
            other => other,
        };
        let action = options.one("rule-action")?;
        let mut entry = json!({"RuleNumber": number, "Egress": egress, "Protocol": protocol, "RuleAction": action});
        match (options.one("cidr-block"), options.one("ipv6-cidr-block")) {
            (Some(cidr), None) => entry["CidrBlock"] = Value::from(cidr),
            (None, Some(cidr)) => entry["Ipv6CidrBlock"] = Value::from(cidr),
            _ => return None,
        }
        match (protocol, options.one("port-range")) {
            ("6" | "17", Some(range)) => {
                let range = command::value(range)?;
                entry["PortRange"] = json!({"From": range["From"].as_i64()?, "To": range["To"].as_i64()?});
            }
            // ICMP needs type and code, TCP and UDP ports.
            ("6" | "17" | "1" | "58", _) => return None,
            _ => {}
        }
        entries.push(entry);
        Some(())
    }

    fn route(&mut self, options: &Options<'_>, replace: bool) -> Option<()> {
        const DESTINATIONS: [(&str, &str); 3] = [
            ("DestinationCidrBlock", "destination-cidr-block"),
            ("DestinationIpv6CidrBlock", "destination-ipv6-cidr-block"),
            ("DestinationPrefixListId", "destination-prefix-list-id"),
        ];
        const TARGETS: [(&str, &str); 6] = [
            ("NatGatewayId", "nat-gateway-id"),
            ("GatewayId", "gateway-id"),
            ("EgressOnlyInternetGatewayId", "egress-only-internet-gateway-id"),
            ("TransitGatewayId", "transit-gateway-id"),
            ("VpcPeeringConnectionId", "vpc-peering-connection-id"),
            ("NetworkInterfaceId", "network-interface-id"),
        ];
        let known = DESTINATIONS.iter().chain(&TARGETS).map(|(_, option)| *option).chain(["route-table-id"]);
        options.only(&known.collect::<Vec<_>>())?;
        let given = |of: &[(&'static str, &str)]| {
            let mut all = of.iter().filter_map(|(key, option)| Some((*key, options.one(option)?)));
            let one = all.next()?;
            all.next().is_none().then_some(one)
        };
        let ((key, destination), (target_key, target)) = (given(&DESTINATIONS)?, given(&TARGETS)?);
        let routes = list(self.find("RouteTable", options.one("route-table-id")?)?, "Routes")?;
        let before = routes.len();
        routes.retain(|route| route[key] != destination);
        // AWS refuses to make a route that is there, and to replace one that is not.
        if replace != (routes.len() < before) {
            return None;
        }
        routes.push(json!({key: destination, target_key: target, "Origin": "CreateRoute", "State": "active"}));
        Some(())
    }

    fn associate_route_table(&mut self, options: &Options<'_>) -> Option<()> {
        options.only(&["route-table-id", "subnet-id"])?;
        let (to, subnet) = (options.one("route-table-id")?, options.one("subnet-id")?);
        let tables = TABLES.iter().find(|t| t.shape == "RouteTable")?.id;
        for index in 0..self.snapshot.tables.len(tables) {
            let table = self.object(Row { table: tables, index: index as u32 })?;
            // AWS refuses a second table for a subnet.
            if list(table, "Associations")?.iter().any(|a| a["SubnetId"] == subnet) {
                return None;
            }
        }
        list(self.find("RouteTable", to)?, "Associations")?.push(json!({
            "Main": false, "RouteTableAssociationId": "rtbassoc-added", "RouteTableId": to, "SubnetId": subnet,
            "AssociationState": {"State": "associated"},
        }));
        Some(())
    }

    fn tags(&mut self, options: &Options<'_>, create: bool) -> Option<()> {
        options.only(&["resources", "tags"])?;
        let tags: Vec<Value> = options.all("tags").iter().map(|tag| command::value(tag)).collect::<Option<_>>()?;
        for id in options.all("resources") {
            let object = self.find("", id)?;
            let key = if object.get("TagSet").is_some() { "TagSet" } else { "Tags" };
            let there = list(object, key)?;
            for tag in &tags {
                // Deleting with a value deletes the tag only when that is its value.
                let other = |value: &Value| tag.get("Value").is_some_and(|wanted| wanted != value);
                there.retain(|t| t["Key"] != tag["Key"] || (!create && other(&t["Value"])));
                if create {
                    there.push(json!({"Key": tag["Key"], "Value": tag.get("Value").cloned().unwrap_or(json!(""))}));
                }
            }
        }
        Some(())
    }

    fn vpc_attribute(&mut self, options: &Options<'_>) -> Option<()> {
        options.only(&["vpc-id", "enable-dns-support", "enable-dns-hostnames"])?;
        let vpc = options.one("vpc-id")?;
        for (option, key, id) in [
            ("enable-dns-support", "EnableDnsSupport", "enableDnsSupport"),
            ("enable-dns-hostnames", "EnableDnsHostnames", "enableDnsHostnames"),
        ] {
            if options.has(option) {
                let value = match options.one(option) {
                    // The shorthand's `Value` is text for tags.
                    Some("Value=true" | "{Value=true}") => json!({"Value": true}),
                    Some("Value=false" | "{Value=false}") => json!({"Value": false}),
                    Some(json) => serde_json::from_str(json).ok()?,
                    None => json!({"Value": true}),
                };
                self.find("VpcAttribute", &format!("{vpc}.{id}"))?[key] = value;
            }
        }
        Some(())
    }

    /// One more range of a VPC, and the route to it that every table gets.
    fn vpc_range(&mut self, options: &Options<'_>) -> Option<()> {
        options.only(&["vpc-id", "cidr-block"])?;
        let (vpc, cidr) = (options.one("vpc-id")?, options.one("cidr-block")?);
        let ranges = list(self.find("Vpc", vpc)?, "CidrBlockAssociationSet")?;
        if ranges.iter().any(|range| range["CidrBlock"] == cidr) {
            return None;
        }
        ranges.push(json!({"AssociationId": format!("vpc-cidr-assoc-added{}", ranges.len()), "CidrBlock": cidr,
            "CidrBlockState": {"State": "associated"}}));
        let table = TABLES.iter().find(|t| t.shape == "RouteTable")?.id;
        for index in 0..self.snapshot.tables.len(table) {
            let object = self.object(Row { table, index: index as u32 })?;
            if object["VpcId"] == vpc {
                list(object, "Routes")?.push(json!({"DestinationCidrBlock": cidr, "GatewayId": "local",
                    "Origin": "CreateRouteTable", "State": "active"}));
            }
        }
        Some(())
    }

    /// A range that no address of the VPC is in; AWS refuses others.
    fn vpc_range_away(&mut self, options: &Options<'_>) -> Option<()> {
        options.only(&["association-id"])?;
        let id = options.one("association-id")?;
        let vpcs = &self.snapshot.tables.vpcs;
        let found = vpcs.iter().find_map(|vpc| {
            let range = vpc.CidrBlockAssociationSet.iter().find(|range| range.AssociationId == id)?;
            (range.CidrBlock != vpc.CidrBlock).then(|| (vpc.row, range.CidrBlock.parse::<ipnet::Ipv4Net>().ok()))
        });
        let (row, range) = found?;
        let range = range?;
        let mut subnets = self.snapshot.tables.subnets.iter();
        if subnets.any(|s| s.CidrBlock.parse().is_ok_and(|s: ipnet::Ipv4Net| range.contains(&s))) {
            return None;
        }
        list(self.object(row)?, "CidrBlockAssociationSet")?.retain(|range| range["AssociationId"] != id);
        Some(())
    }

    fn vpc_endpoint(&mut self, options: &Options<'_>) -> Option<()> {
        // Subnets would bring interfaces, and tables routes, of which nobody knows the addresses and ids.
        options.only(&[
            "vpc-endpoint-id",
            "private-dns-enabled",
            "no-private-dns-enabled",
            "reset-policy",
            "add-security-group-ids",
        ])?;
        let id = options.one("vpc-endpoint-id")?;
        let endpoint = self.find("VpcEndpoint", id)?;
        if let Some(on) = options.switch("private-dns-enabled") {
            endpoint["PrivateDnsEnabled"] = Value::Bool(on);
        }
        if options.has("reset-policy") {
            let open = json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]});
            endpoint["PolicyDocument"] = Value::from(open.to_string());
        }
        let interfaces: Vec<String> = list(endpoint, "NetworkInterfaceIds")?
            .iter()
            .filter_map(|interface| Some(interface.as_str()?.to_owned()))
            .collect();
        for group in options.all("add-security-group-ids") {
            let group = json!({"GroupId": group, "GroupName": group});
            list(self.find("VpcEndpoint", id)?, "Groups")?.push(group.clone());
            for interface in &interfaces {
                list(self.find("NetworkInterface", interface)?, "Groups")?.push(group.clone());
            }
        }
        Some(())
    }

    fn put_role_policy(&mut self, options: &Options<'_>) -> Option<()> {
        options.only(&["role-name", "policy-name", "policy-document"])?;
        let (role, name) = (options.one("role-name")?, options.one("policy-name")?);
        let document: Value = serde_json::from_str(options.one("policy-document")?).ok()?;
        let names = list(self.find("RolePolicyNames", role)?, "PolicyNames")?;
        if names.iter().any(|there| there == name) {
            self.find("RolePolicy", &format!("{role}/{name}"))?["PolicyDocument"] = document;
        } else {
            names.push(Value::from(name));
            let policy = json!({"RoleName": role, "PolicyName": name, "PolicyDocument": document});
            self.added.insert(format!("aws/iam/get-role-policy/added-{}.json", self.added.len()), policy);
        }
        Some(())
    }

    /// Settings of aws-node in the configuration of its add-on. What else an add-on's configuration changes is not known.
    fn update_cni_addon(&mut self, options: &Options<'_>) -> Option<()> {
        options.only(&["cluster-name", "addon-name", "resolve-conflicts", "configuration-values"])?;
        let name = options.one("addon-name").filter(|name| *name == "vpc-cni")?;
        let (row, text) = match self.rows("Addon", &format!("{}/{name}", options.one("cluster-name")?)).as_slice() {
            [row] => (*row, options.one("configuration-values")?),
            _ => return None,
        };
        let old = addons::addon_values(self.snapshot.tables.addons.at(row.index).value)?;
        let new: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
        let of_env = |values: &serde_json::Map<String, Value>| {
            let mut values = values.clone();
            (values.remove("env"), values)
        };
        let ((env, others), (_, others_before)) = (of_env(&new), of_env(&old));
        if others != others_before {
            return None;
        }
        self.object(row)?["configurationValues"] = Value::from(text);
        let containers =
            self.find("DaemonSet", "kube-system/aws-node")?.pointer_mut("/spec/template/spec/containers")?;
        let there = list(containers.as_array_mut()?.iter_mut().find(|c| c["name"] == "aws-node")?, "env")?;
        let ipv6 = there.iter().any(|e| e["name"] == "ENABLE_IPv6" && e["value"] == "true");
        for (name, value) in env.as_ref()?.as_object()? {
            let before = addons::held(&old, name).unwrap_or(addons::default_of(name, ipv6));
            let entry = json!({"name": name, "value": value});
            match there.iter_mut().find(|e| e["name"] == *name) {
                // A value that kubectl gave stays (`--resolve-conflicts PRESERVE`).
                Some(there) if there["value"] != before && there["value"] != *value => return None,
                Some(there) => *there = entry,
                None => there.push(entry),
            }
        }
        // Without a value of its own, a setting has the add-on's.
        for name in old.get("env").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name) {
            if addons::held(&new, name).is_none() {
                there.retain(|e| e["name"] != *name);
                let default = addons::default_of(name, ipv6);
                if !default.is_empty() {
                    there.push(json!({"name": name, "value": default}));
                }
            }
        }
        Some(())
    }

    fn create_access_entry(&mut self, options: &Options<'_>) -> Option<()> {
        options.only(&["cluster-name", "principal-arn", "type"])?;
        self.was_read("AccessEntryNames")?;
        self.was_read("AccessEntry")?;
        let (cluster, arn) = (options.one("cluster-name")?, options.one("principal-arn")?);
        // Other types need groups, or have names of their own.
        let kind = options.one("type").filter(|kind| matches!(*kind, "EC2_LINUX" | "EC2_WINDOWS"))?;
        let names = list(self.find("AccessEntryNames", "")?, "accessEntries")?;
        if names.iter().any(|name| name == arn) {
            return None;
        }
        names.push(Value::from(arn));
        let mut groups = vec!["system:nodes"];
        if kind == "EC2_WINDOWS" {
            groups.push("eks:kube-proxy-windows");
        }
        let entry = json!({"accessEntry": {"clusterName": cluster, "principalArn": arn, "kubernetesGroups": groups,
            "type": kind, "username": "system:node:{{EC2PrivateDNSName}}"}});
        let path = format!("aws/eks/describe-access-entry/added-{}.json", self.added.len());
        self.added.insert(path, entry);
        Some(())
    }

    fn delete_access_entry(&mut self, options: &Options<'_>) -> Option<()> {
        options.only(&["cluster-name", "principal-arn"])?;
        let arn = options.one("principal-arn")?;
        let names = list(self.find("AccessEntryNames", "")?, "accessEntries")?;
        let before = names.len();
        names.retain(|name| name != arn);
        if names.len() == before {
            return None;
        }
        // The document of the entry becomes one that says nothing.
        match self.rows("AccessEntry", arn).as_slice() {
            [row] => *self.document(*row)? = json!({}),
            _ => return None,
        }
        Some(())
    }
}
