//! What the API server tells.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::aws::{CNI, COREDNS, KUBE_PROXY, VPC6};
use super::{Body, Estate, Mode, Role, System, ip};

const BORN: &str = "2026-03-02T08:21:00Z";
const STARTED: &str = "2026-05-21T08:20:00Z";
const KUBELET: &str = "v1.33.5-eks-113cf36";

impl Estate {
    pub(super) fn k8s_files<'a>(&'a self, files: &mut Vec<(String, Body<'a>)>) {
        let mut items = |plural: &str, list: Vec<Value>| {
            files.push((format!("k8s/{plural}.json"), Body::Items(Box::new(list.into_iter()))))
        };
        let mut namespaces = vec!["default", "kube-node-lease", "kube-public", "kube-system", "web"];
        namespaces.extend(self.fargate().then_some("batch"));
        items("namespaces", namespaces.iter().map(|n| json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": self.meta("Namespace", "", n, json!({"kubernetes.io/metadata.name": n})),
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        })).collect());
        items("serviceaccounts", self.service_accounts());
        items("services", self.services());
        items("ingresses.networking.k8s.io", vec![self.ingress()]);
        let controller = json!({"app.kubernetes.io/instance": "aws-load-balancer-controller", "app.kubernetes.io/name": "aws-load-balancer-controller"});
        items(
            "ingressclasses.networking.k8s.io",
            vec![json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": self.meta("IngressClass", "", "alb", controller.clone()),
                "spec": {"controller": if self.auto() { "eks.amazonaws.com/alb" } else { "ingress.k8s.aws/alb" }},
            })],
        );
        if !self.auto() {
            items(
                "ingressclassparams.elbv2.k8s.aws",
                vec![json!({
                    "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "IngressClassParams", "metadata": self.meta("IngressClassParams", "", "alb", controller), "spec": {},
                })],
            );
        }
        // Of a kind that the cluster does not know, `record` writes that there is none.
        let bindings = if self.auto() { vec![] } else { (0..2).map(|app| self.binding(app)).collect() };
        items("targetgroupbindings.elbv2.k8s.aws", bindings);
        items("networkpolicies.networking.k8s.io", vec![]);
        let (mut policies, mut cni_nodes) = (Vec::new(), Vec::new());
        if self.pod_groups() {
            policies.push(json!({
                "apiVersion": "vpcresources.k8s.aws/v1beta1", "kind": "SecurityGroupPolicy", "metadata": self.meta("SecurityGroupPolicy", "web", "api", json!({})),
                "spec": {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "api"}}, "securityGroups": {"groupIds": [self.group("pods")]}},
            }));
            cni_nodes.extend((0..self.nodes.len()).map(|n| self.cni_node(n)));
        }
        items("securitygrouppolicies.vpcresources.k8s.aws", policies);
        items("cninodes.vpcresources.k8s.aws", cni_nodes);
        let pod_subnets = self.of_role(Role::Pods).filter(|_| !self.auto());
        items("eniconfigs.crd.k8s.amazonaws.com", pod_subnets.map(|(_, s)| json!({
            "apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": self.meta("ENIConfig", "", &self.zone(s.zone), json!({})),
            "spec": {"securityGroups": [self.group("node")], "subnet": s.id},
        })).collect());
        let daemons =
            if self.auto() { vec![] } else { vec![self.daemon_set("aws-node"), self.daemon_set("kube-proxy")] };
        items("daemonsets.apps", daemons);
        items("configmaps", self.config_maps());
        items("events", self.events());
        items(
            "poddisruptionbudgets.policy",
            if self.auto() {
                vec![]
            } else {
                vec![json!({
                    "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                    "metadata": self.meta("PodDisruptionBudget", "kube-system", "coredns", json!({"eks.amazonaws.com/component": "coredns", "k8s-app": "kube-dns"})),
                    "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"eks.amazonaws.com/component": "coredns", "k8s-app": "kube-dns"}}},
                    "status": {"currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 2, "observedGeneration": 1},
                })]
            },
        );
        items(
            "clusterroles.rbac.authorization.k8s.io",
            vec![json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": self.meta("ClusterRole", "", "system:coredns", json!({"eks.amazonaws.com/component": "coredns", "k8s-app": "kube-dns", "kubernetes.io/bootstrapping": "rbac-defaults"})),
                "rules": [
                    {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
                    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
                ],
            })],
        );
        let (mutating, validating) = self.own_webhooks();
        items("mutatingwebhookconfigurations.admissionregistration.k8s.io", mutating);
        items("validatingwebhookconfigurations.admissionregistration.k8s.io", validating);
        if self.options.mode == Mode::Karpenter {
            items("ec2nodeclasses.karpenter.k8s.aws", vec![self.node_class()]);
            items("nodepools.karpenter.sh", vec![self.node_pool()]);
        }
        if self.auto() {
            items("nodeclasses.eks.amazonaws.com", vec![self.auto_node_class()]);
            items("nodepools.karpenter.sh", vec![self.node_pool()]);
        }
        let apps = self.apps();
        let mut system = Vec::new();
        if !self.auto() {
            system.push(self.deployment("kube-system", "coredns", 2));
            system.push(self.deployment("kube-system", "aws-load-balancer-controller", 2));
        }
        if self.options.mode == Mode::Karpenter {
            system.push(self.deployment("kube-system", "karpenter", 1));
        }
        files.push((
            "k8s/deployments.apps.json".to_owned(),
            Body::Items(Box::new(
                system
                    .into_iter()
                    .chain((0..apps).map(|a| self.deployment("web", &self.app(a), self.pods_of_app(a).count())))
                    .chain(self.fargate().then(|| self.deployment("batch", "report", 1))),
            )),
        ));
        files.push(("k8s/endpointslices.discovery.k8s.io.json".to_owned(), Body::Items(Box::new(self.slices()))));
        files.push((
            "k8s/nodes.json".to_owned(),
            Body::Items(Box::new((0..self.nodes.len()).map(|n| self.k8s_node(n)).chain(self.fargate_node()))),
        ));
        files.push(("k8s/pods.json".to_owned(), Body::Items(Box::new(self.k8s_pods()))));
    }

    /// Metadata as the API server gives it; empty parts are left out.
    fn meta(&self, kind: &str, namespace: &str, name: &str, labels: Value) -> Value {
        let of = format!("{kind} {namespace}/{name}");
        let mut meta = json!({"creationTimestamp": BORN, "name": name, "resourceVersion": self.number(&of, 7), "uid": self.uuid(&of)});
        if !namespace.is_empty() {
            meta["namespace"] = json!(namespace);
        }
        if labels.as_object().is_some_and(|l| !l.is_empty()) {
            meta["labels"] = labels;
        }
        meta
    }

    fn controller_role(&self) -> String {
        self.iam(&format!("role/{}-aws-load-balancer-controller", self.options.name))
    }

    fn service_accounts(&self) -> Vec<Value> {
        [
            "default/default",
            "kube-system/aws-node",
            "kube-system/kube-proxy",
            "kube-system/coredns",
            "kube-system/aws-load-balancer-controller",
            "kube-system/karpenter",
            "kube-system/default",
            "web/default",
            "batch/default",
        ]
        .iter()
        .filter(|id| self.fargate() || !id.starts_with("batch/"))
        .filter_map(|id| id.split_once('/'))
        .filter(|(_, name)| !self.auto() || *name == "default")
        .filter(|(_, name)| *name != "karpenter" || self.options.mode == Mode::Karpenter)
        .map(|(namespace, name)| {
            let mut metadata = self.meta("ServiceAccount", namespace, name, json!({}));
            if name == "aws-load-balancer-controller" {
                metadata["annotations"] = json!({"eks.amazonaws.com/role-arn": self.controller_role()});
            }
            if name == "karpenter" {
                metadata["annotations"] =
                    json!({"eks.amazonaws.com/role-arn": self.iam(&format!("role/{}-karpenter", self.options.name))});
            }
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        })
        .collect()
    }

    fn cluster_ip(&self, namespace: &str, name: &str) -> String {
        let four = self.cluster_ip4(namespace, name);
        match four.parse::<Ipv4Addr>() {
            Ok(address) if self.v6() => format!("fd5c:1a2b:3c4d::{:x}", u32::from(address) & 0xffff),
            _ => four,
        }
    }

    fn cluster_ip4(&self, namespace: &str, name: &str) -> String {
        let hashed = |name: &str| {
            let n = u32::from_str_radix(&self.hex(&format!("ip {namespace}/{name}"), 4), 16).unwrap_or(1);
            format!("172.20.{}.{}", 1 + (n >> 8) % 250, 1 + n % 250)
        };
        match (name, name.strip_prefix("worker-").and_then(|n| n.parse::<u32>().ok())) {
            ("kubernetes", _) => "172.20.0.1".to_owned(),
            ("kube-dns", _) => "172.20.0.10".to_owned(),
            // Many: one after the other, past those of the others.
            (_, Some(n)) => {
                let address = format!("172.20.{}.{}", 1 + n / 250, 1 + n % 250);
                let taken = ["web", "api"].map(hashed).contains(&address);
                if taken { format!("172.20.255.{}", 1 + n % 250) } else { address }
            }
            _ => hashed(name),
        }
    }

    fn family(&self) -> &'static str {
        if self.v6() { "IPv6" } else { "IPv4" }
    }

    fn service(&self, namespace: &str, name: &str, labels: Value, selector: Option<Value>, ports: Value) -> Value {
        let address = self.cluster_ip(namespace, name);
        let mut spec = json!({
            "clusterIP": address, "clusterIPs": [address], "internalTrafficPolicy": "Cluster", "ipFamilies": [self.family()], "ipFamilyPolicy": "SingleStack",
            "ports": ports, "sessionAffinity": "None", "type": "ClusterIP",
        });
        if let Some(selector) = selector {
            spec["selector"] = selector;
        }
        json!({"apiVersion": "v1", "kind": "Service", "metadata": self.meta("Service", namespace, name, labels), "spec": spec, "status": {"loadBalancer": {}}})
    }

    fn services(&self) -> Vec<Value> {
        let mut services = vec![
            self.service("default", "kubernetes", json!({"component": "apiserver", "provider": "kubernetes"}), None, json!([{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}])),
            self.service(
                "kube-system",
                "kube-dns",
                json!({"eks.amazonaws.com/component": "kube-dns", "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}),
                Some(json!({"k8s-app": "kube-dns"})),
                json!([
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}, {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                    {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
                ]),
            ),
            self.service(
                "kube-system",
                "aws-load-balancer-webhook-service",
                json!({"app.kubernetes.io/name": "aws-load-balancer-controller"}),
                Some(json!({"app.kubernetes.io/instance": "aws-load-balancer-controller", "app.kubernetes.io/name": "aws-load-balancer-controller"})),
                json!([{"name": "webhook-server", "port": 443, "protocol": "TCP", "targetPort": "webhook-server"}]),
            ),
        ];
        if self.auto() {
            services.pop();
        }
        for app in 0..self.apps() {
            let name = self.app(app);
            let port = if app == 1 { 443 } else { 80 };
            let mut service = self.service(
                "web",
                &name,
                json!({"app.kubernetes.io/name": name}),
                Some(json!({"app.kubernetes.io/name": name})),
                json!([{"name": if app == 1 { "https" } else { "http" }, "port": port, "protocol": "TCP", "targetPort": Estate::app_port(app)}]),
            );
            if app == 1 {
                service["metadata"]["annotations"] = json!({
                    "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
                    "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
                    "service.beta.kubernetes.io/aws-load-balancer-type": "external",
                });
                if self.auto() {
                    service["metadata"]["annotations"] = json!({
                        "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
                        "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
                    });
                }
                if self.v6() {
                    service["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer-ip-address-type"] =
                        json!("dualstack");
                }
                service["metadata"]["finalizers"] = json!([if self.auto() {
                    "service.eks.amazonaws.com/resources"
                } else {
                    "service.k8s.aws/resources"
                }]);
                let spec = &mut service["spec"];
                spec["type"] = json!("LoadBalancer");
                spec["loadBalancerClass"] =
                    json!(if self.auto() { "eks.amazonaws.com/nlb" } else { "service.k8s.aws/nlb" });
                spec["loadBalancerSourceRanges"] =
                    if self.v6() { json!(["10.0.0.0/16", VPC6]) } else { json!(["10.0.0.0/16"]) };
                spec["externalTrafficPolicy"] = json!("Cluster");
                spec["allocateLoadBalancerNodePorts"] = json!(true);
                spec["ports"][0]["nodePort"] = json!(31443);
                service["status"] = json!({"loadBalancer": {"ingress": [{"hostname": self.nlb_host()}]}});
            }
            services.push(service);
        }
        services
    }

    fn ingress(&self) -> Value {
        let mut metadata = self.meta("Ingress", "web", "web", json!({}));
        metadata["annotations"] = json!({
            "alb.ingress.kubernetes.io/scheme": if self.private() { "internal" } else { "internet-facing" },
            "alb.ingress.kubernetes.io/target-type": "ip",
        });
        if self.v6() {
            metadata["annotations"]["alb.ingress.kubernetes.io/ip-address-type"] = json!("dualstack");
        }
        metadata["finalizers"] =
            json!([if self.auto() { "ingress.eks.amazonaws.com/resources" } else { "ingress.k8s.aws/resources" }]);
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
            "spec": {"ingressClassName": "alb", "rules": [{"http": {"paths": [{"backend": {"service": {"name": "web", "port": {"number": 80}}}, "path": "/", "pathType": "Prefix"}]}}]},
            "status": {"loadBalancer": {"ingress": [{"hostname": self.alb_host()}]}},
        })
    }

    fn binding(&self, app: usize) -> Value {
        let name = self.app(app);
        let kind = if app == 0 { "ingress" } else { "service" };
        let mut metadata = self.meta(
            "TargetGroupBinding",
            "web",
            &self.target_group_name(app),
            json!({format!("{kind}.k8s.aws/stack-name"): name, format!("{kind}.k8s.aws/stack-namespace"): "web"}),
        );
        metadata["finalizers"] = json!(["elbv2.k8s.aws/resources"]);
        json!({
            "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding", "metadata": metadata,
            "spec": {
                "ipAddressType": if self.v6() { "ipv6" } else { "ipv4" },
                "networking": {"ingress": [{"from": [{"securityGroup": {"groupID": self.group("backend")}}], "ports": [{"port": Estate::app_port(app), "protocol": "TCP"}]}]},
                "serviceRef": {"name": name, "port": if app == 1 { 443 } else { 80 }}, "targetGroupARN": self.target_group_arn(app), "targetType": "ip", "vpcID": self.vpc(),
            },
            "status": {"observedGeneration": 1},
        })
    }

    fn image(&self, name: &str) -> String {
        format!("602401143452.dkr.ecr.{}.amazonaws.com/{name}", self.options.region)
    }

    /// The labels and the spec of the pods of a workload.
    fn template(&self, name: &str) -> (Value, Value) {
        let linux = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}, {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]},
            {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["fargate", "hybrid", "auto"]},
        ]}]}}});
        let everywhere = json!([{"operator": "Exists"}]);
        match name {
            "aws-node" => {
                let (prefix, custom) = ((self.prefix() || self.v6()).to_string(), self.custom().to_string());
                let (four, six) = ((!self.v6()).to_string(), self.v6().to_string());
                let groups = self.pod_groups().to_string();
                let (endpoint, vpc) = (self.endpoint(), self.vpc());
                let mut settings: Vec<(&str, &str)> = vec![
                    ("ADDITIONAL_ENI_TAGS", "{}"),
                    ("ANNOTATE_POD_IP", "false"),
                    ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "true"),
                    ("AWS_VPC_ENI_MTU", "9001"),
                    ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", &custom),
                    ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false"),
                    ("AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG"),
                    ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
                    ("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
                    ("CLUSTER_ENDPOINT", &endpoint),
                    ("CLUSTER_NAME", &self.options.name),
                    ("DISABLE_METRICS", "false"),
                    ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "false"),
                    ("ENABLE_IPv4", &four),
                    ("ENABLE_IPv6", &six),
                    ("ENABLE_POD_ENI", &groups),
                    ("ENABLE_PREFIX_DELEGATION", &prefix),
                    ("ENABLE_SUBNET_DISCOVERY", "true"),
                    ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
                    ("VPC_CNI_VERSION", "v1.20.4"),
                    ("VPC_ID", &vpc),
                    ("WARM_ENI_TARGET", "1"),
                    ("WARM_PREFIX_TARGET", "1"),
                ];
                if self.custom() {
                    settings.push(("ENI_CONFIG_LABEL_DEF", "topology.kubernetes.io/zone"));
                }
                let mut env: Vec<Value> =
                    settings.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                env.push(json!({"name": "MY_NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}));
                let probe = json!({"exec": {"command": ["/app/grpc-health-probe", "-addr=:50051"]}, "initialDelaySeconds": 60, "timeoutSeconds": 10});
                (
                    json!({"app.kubernetes.io/instance": "aws-vpc-cni", "app.kubernetes.io/name": "aws-node", "k8s-app": "aws-node"}),
                    json!({
                        "affinity": linux, "dnsPolicy": "ClusterFirst", "hostNetwork": true, "priorityClassName": "system-node-critical",
                        "serviceAccountName": "aws-node", "tolerations": everywhere,
                        "initContainers": [{"env": [{"name": "DISABLE_TCP_EARLY_DEMUX", "value": groups}, {"name": "ENABLE_IPv6", "value": six}], "image": self.image(&format!("amazon-k8s-cni-init:{CNI}")), "name": "aws-vpc-cni-init"}],
                        "containers": [
                            {"env": env, "image": self.image(&format!("amazon-k8s-cni:{CNI}")), "livenessProbe": probe, "name": "aws-node", "ports": [{"containerPort": 61678, "hostPort": 61678, "name": "metrics", "protocol": "TCP"}], "readinessProbe": probe, "resources": {"requests": {"cpu": "25m"}}},
                            {"args": [format!("--enable-ipv6={six}"), "--enable-network-policy=false", "--enable-cloudwatch-logs=false", "--metrics-bind-addr=:8162", "--health-probe-bind-addr=:8163"], "image": self.image("amazon/aws-network-policy-agent:v1.2.7-eksbuild.1"), "name": "aws-eks-nodeagent", "resources": {"requests": {"cpu": "25m"}}},
                        ],
                    }),
                )
            }
            "kube-proxy" => (
                json!({"k8s-app": "kube-proxy"}),
                json!({
                    "affinity": linux, "dnsPolicy": "ClusterFirst", "hostNetwork": true, "priorityClassName": "system-node-critical",
                    "serviceAccountName": "kube-proxy", "tolerations": everywhere,
                    "containers": [{"command": ["kube-proxy", "--v=2", "--config=/var/lib/kube-proxy-config/config", "--hostname-override=$(NODE_NAME)"], "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}], "image": self.image(&format!("eks/kube-proxy:{KUBE_PROXY}")), "name": "kube-proxy", "resources": {"requests": {"cpu": "100m"}}}],
                }),
            ),
            "coredns" => (
                json!({"eks.amazonaws.com/component": "coredns", "k8s-app": "kube-dns"}),
                json!({
                    "affinity": linux, "dnsPolicy": "Default", "priorityClassName": "system-cluster-critical", "serviceAccountName": "coredns",
                    "tolerations": [{"effect": "NoSchedule", "key": "node-role.kubernetes.io/control-plane"}, {"key": "CriticalAddonsOnly", "operator": "Exists"}],
                    "topologySpreadConstraints": [{"labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}}, "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}],
                    "containers": [{
                        "args": ["-conf", "/etc/coredns/Corefile"], "image": self.image(&format!("eks/coredns:{COREDNS}")), "name": "coredns",
                        "livenessProbe": {"failureThreshold": 5, "httpGet": {"path": "/health", "port": 8080, "scheme": "HTTP"}, "initialDelaySeconds": 60, "periodSeconds": 10, "timeoutSeconds": 5},
                        "ports": [{"containerPort": 53, "name": "dns", "protocol": "UDP"}, {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"}, {"containerPort": 9153, "name": "metrics", "protocol": "TCP"}],
                        "readinessProbe": {"failureThreshold": 3, "httpGet": {"path": "/ready", "port": 8181, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1},
                        "resources": {"limits": {"memory": "170Mi"}, "requests": {"cpu": "100m", "memory": "70Mi"}},
                    }],
                    "volumes": [{"configMap": {"defaultMode": 420, "items": [{"key": "Corefile", "path": "Corefile"}], "name": "coredns"}, "name": "config-volume"}],
                }),
            ),
            "karpenter" => (
                json!({"app.kubernetes.io/instance": "karpenter", "app.kubernetes.io/name": "karpenter"}),
                json!({
                    "dnsPolicy": "ClusterFirst", "priorityClassName": "system-cluster-critical", "serviceAccountName": "karpenter",
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "karpenter.sh/nodepool", "operator": "DoesNotExist"}]}]}}},
                    "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
                    "containers": [{
                        "env": [
                            {"name": "CLUSTER_NAME", "value": self.options.name}, {"name": "CLUSTER_ENDPOINT", "value": self.endpoint()},
                            {"name": "AWS_REGION", "value": self.options.region},
                            {"name": "AWS_ROLE_ARN", "value": self.iam(&format!("role/{}-karpenter", self.options.name))},
                            {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
                        ],
                        "image": "public.ecr.aws/karpenter/controller:1.8.1", "name": "controller",
                        "ports": [{"containerPort": 8080, "name": "http-metrics", "protocol": "TCP"}, {"containerPort": 8081, "name": "http", "protocol": "TCP"}],
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8081, "scheme": "HTTP"}, "initialDelaySeconds": 5, "timeoutSeconds": 30},
                        "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
                    }],
                }),
            ),
            "aws-load-balancer-controller" => {
                let mut args = vec![
                    format!("--cluster-name={}", self.options.name),
                    "--ingress-class=alb".to_owned(),
                    format!("--aws-region={}", self.options.region),
                    format!("--aws-vpc-id={}", self.vpc()),
                ];
                let mut image = "public.ecr.aws/eks/aws-load-balancer-controller:v2.13.4".to_owned();
                if self.private() {
                    // Shield and WAF have no endpoint here, and images come from the account's registry.
                    args.extend(
                        ["--enable-shield=false", "--enable-waf=false", "--enable-wafv2=false"].map(str::to_owned),
                    );
                    image = format!(
                        "{}.dkr.ecr.{}.amazonaws.com/eks/aws-load-balancer-controller:v2.13.4",
                        self.options.account, self.options.region
                    );
                }
                (
                    json!({"app.kubernetes.io/instance": "aws-load-balancer-controller", "app.kubernetes.io/name": "aws-load-balancer-controller"}),
                    json!({
                        "dnsPolicy": "ClusterFirst", "priorityClassName": "system-cluster-critical", "serviceAccountName": "aws-load-balancer-controller",
                        "containers": [{
                            "args": args, "image": image, "name": "aws-load-balancer-controller",
                            "ports": [{"containerPort": 9443, "name": "webhook-server", "protocol": "TCP"}, {"containerPort": 8080, "name": "metrics-server", "protocol": "TCP"}],
                            "readinessProbe": {"failureThreshold": 2, "httpGet": {"path": "/readyz", "port": 61779, "scheme": "HTTP"}, "initialDelaySeconds": 10, "periodSeconds": 10, "timeoutSeconds": 10},
                        }],
                    }),
                )
            }
            app => {
                let port = if app == "api" { 8443 } else { 8080 };
                (
                    json!({"app.kubernetes.io/name": app}),
                    json!({
                        "dnsPolicy": "ClusterFirst", "serviceAccountName": "default",
                        "containers": [{
                            "image": format!("{}.dkr.ecr.{}.amazonaws.com/{app}:1.4.2", self.options.account, self.options.region), "name": app,
                            "ports": [{"containerPort": port, "name": "http", "protocol": "TCP"}],
                            "readinessProbe": {"failureThreshold": 3, "httpGet": {"path": "/", "port": port, "scheme": if app == "api" { "HTTPS" } else { "HTTP" }}, "periodSeconds": 10, "timeoutSeconds": 1},
                            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                        }],
                    }),
                )
            }
        }
    }

    fn completed(mut spec: Value) -> Value {
        spec["restartPolicy"] = json!("Always");
        spec["schedulerName"] = json!("default-scheduler");
        spec["securityContext"] = json!({});
        spec["terminationGracePeriodSeconds"] = json!(30);
        for key in ["containers", "initContainers"] {
            if let Some(containers) = spec[key].as_array_mut() {
                for container in containers {
                    container["imagePullPolicy"] = json!("IfNotPresent");
                    if container.get("resources").is_none() {
                        container["resources"] = json!({});
                    }
                    container["terminationMessagePath"] = json!("/dev/termination-log");
                    container["terminationMessagePolicy"] = json!("File");
                }
            } else if let Some(map) = spec.as_object_mut() {
                map.remove(key);
            }
        }
        spec
    }

    fn daemon_set(&self, name: &str) -> Value {
        let (labels, spec) = self.template(name);
        let count = self.nodes.len();
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": self.meta("DaemonSet", "kube-system", name, labels.clone()),
            "spec": {
                "revisionHistoryLimit": 10, "selector": {"matchLabels": {"k8s-app": name}},
                "template": {"metadata": {"creationTimestamp": null, "labels": labels}, "spec": Estate::completed(spec)},
                "updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}, "type": "RollingUpdate"},
            },
            "status": {"currentNumberScheduled": count, "desiredNumberScheduled": count, "numberAvailable": count, "numberMisscheduled": 0, "numberReady": count, "observedGeneration": 1, "updatedNumberScheduled": count},
        })
    }

    fn deployment(&self, namespace: &str, name: &str, replicas: usize) -> Value {
        let (labels, spec) = self.template(name);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": self.meta("Deployment", namespace, name, labels.clone()),
            "spec": {
                "progressDeadlineSeconds": 600, "replicas": replicas, "revisionHistoryLimit": 10, "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
                "template": {"metadata": {"creationTimestamp": null, "labels": labels}, "spec": Estate::completed(spec)},
            },
            "status": {
                "availableReplicas": replicas, "observedGeneration": 1, "readyReplicas": replicas, "replicas": replicas, "updatedReplicas": replicas,
                "conditions": [{"lastTransitionTime": STARTED, "lastUpdateTime": STARTED, "message": "Deployment has minimum availability.", "reason": "MinimumReplicasAvailable", "status": "True", "type": "Available"}],
            },
        })
    }

    fn config_maps(&self) -> Vec<Value> {
        let map = |name: &str, data: Value| json!({"apiVersion": "v1", "data": data, "kind": "ConfigMap", "metadata": self.meta("ConfigMap", "kube-system", name, json!({}))});
        if self.auto() {
            return Vec::new();
        }
        let machines = if self.options.mode == Mode::Karpenter { 2 } else { 1 };
        let roles: String = (0..machines)
            .map(|n| {
                format!(
                    "- groups:\n  - system:bootstrappers\n  - system:nodes\n  rolearn: {}\n  username: system:node:{{{{EC2PrivateDNSName}}}}\n",
                    self.iam(&format!("role/{}", self.node_role(n)))
                )
            })
            .collect();
        let corefile = ".:53 {\n    errors\n    health {\n        lameduck 5s\n      }\n    ready\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n      pods insecure\n      fallthrough in-addr.arpa ip6.arpa\n    }\n    prometheus :9153\n    forward . /etc/resolv.conf\n    cache 30\n    loop\n    reload\n    loadbalance\n}\n";
        let any = if self.v6() { "\"::\"" } else { "0.0.0.0" };
        let proxy = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nbindAddress: ANY\nclientConnection:\n  kubeconfig: /var/lib/kube-proxy/kubeconfig\nclusterCIDR: \"\"\nconntrack:\n  maxPerCore: 32768\n  min: 131072\nhealthzBindAddress: 0.0.0.0:10256\niptables:\n  masqueradeAll: false\nkind: KubeProxyConfiguration\nmetricsBindAddress: 0.0.0.0:10249\nmode: \"iptables\"\n";
        let kubeconfig = format!(
            "kind: Config\napiVersion: v1\nclusters:\n- cluster:\n    certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt\n    server: {}\n  name: default\ncontexts:\n- context:\n    cluster: default\n    namespace: default\n    user: default\n  name: default\ncurrent-context: default\nusers:\n- name: default\n  user:\n    tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token\n",
            self.endpoint().to_lowercase()
        );
        vec![
            map(
                "amazon-vpc-cni",
                json!({"branch-eni-cooldown": "60", "enable-network-policy-controller": "true", "enable-windows-ipam": "false", "enable-windows-prefix-delegation": "false", "minimum-ip-target": "3", "warm-ip-target": "1", "warm-prefix-target": "0"}),
            ),
            map("aws-auth", json!({"mapRoles": roles})),
            map("coredns", json!({"Corefile": corefile})),
            map("kube-proxy", json!({"kubeconfig": kubeconfig})),
            map("kube-proxy-config", json!({"config": proxy.replace("ANY", any)})),
        ]
    }

    fn webhooks(&self) -> (Vec<Value>, Vec<Value>) {
        let certificate = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==";
        let service = |path: &str| json!({"caBundle": certificate, "service": {"name": "aws-load-balancer-webhook-service", "namespace": "kube-system", "path": path, "port": 443}});
        let local = |url: &str| json!({"caBundle": certificate, "url": url});
        let hook = |name: &str,
                    client: Value,
                    policy: &str,
                    group: &str,
                    version: &str,
                    operations: &[&str],
                    resource: &str| {
            json!({
                "admissionReviewVersions": ["v1beta1"], "clientConfig": client, "failurePolicy": policy, "matchPolicy": "Equivalent", "name": name,
                "namespaceSelector": {}, "objectSelector": {}, "sideEffects": "None", "timeoutSeconds": 10,
                "rules": [{"apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": [resource], "scope": "*"}],
            })
        };
        let configuration = |kind: &str, name: &str, hooks: Vec<Value>| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": self.meta(kind, "", name, json!({})), "webhooks": hooks});
        let mut pods = hook("mpod.elbv2.k8s.aws", service("/mutate-v1-pod"), "Fail", "", "v1", &["CREATE"], "pods");
        pods["namespaceSelector"] = json!({"matchExpressions": [{"key": "elbv2.k8s.aws/pod-readiness-gate-inject", "operator": "In", "values": ["enabled"]}]});
        pods["objectSelector"] = json!({"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["aws-load-balancer-controller"]}]});
        let mut services =
            hook("mservice.elbv2.k8s.aws", service("/mutate-v1-service"), "Fail", "", "v1", &["CREATE"], "services");
        services["objectSelector"] = json!({"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["aws-load-balancer-controller"]}]});
        let elbv2 = "elbv2.k8s.aws";
        let change = ["CREATE", "UPDATE"];
        (
            vec![
                configuration(
                    "MutatingWebhookConfiguration",
                    "aws-load-balancer-webhook",
                    vec![
                        pods,
                        services,
                        hook(
                            "mtargetgroupbinding.elbv2.k8s.aws",
                            service("/mutate-elbv2-k8s-aws-v1beta1-targetgroupbinding"),
                            "Fail",
                            elbv2,
                            "v1beta1",
                            &change,
                            "targetgroupbindings",
                        ),
                    ],
                ),
                configuration(
                    "MutatingWebhookConfiguration",
                    "pod-identity-webhook",
                    vec![hook(
                        "iam-for-pods.amazonaws.com",
                        local("https://127.0.0.1:23443/mutate"),
                        "Ignore",
                        "",
                        "v1",
                        &["CREATE"],
                        "pods",
                    )],
                ),
                configuration(
                    "MutatingWebhookConfiguration",
                    "vpc-resource-mutating-webhook",
                    vec![hook(
                        "mpod.vpc.k8s.aws",
                        local("https://127.0.0.1:9444/mutate-v1-pod"),
                        "Ignore",
                        "",
                        "v1",
                        &["CREATE"],
                        "pods",
                    )],
                ),
            ],
            vec![
                configuration(
                    "ValidatingWebhookConfiguration",
                    "aws-load-balancer-webhook",
                    vec![
                        hook(
                            "vingressclassparams.elbv2.k8s.aws",
                            service("/validate-elbv2-k8s-aws-v1beta1-ingressclassparams"),
                            "Fail",
                            elbv2,
                            "v1beta1",
                            &change,
                            "ingressclassparams",
                        ),
                        hook(
                            "vtargetgroupbinding.elbv2.k8s.aws",
                            service("/validate-elbv2-k8s-aws-v1beta1-targetgroupbinding"),
                            "Fail",
                            elbv2,
                            "v1beta1",
                            &change,
                            "targetgroupbindings",
                        ),
                        hook(
                            "vingress.elbv2.k8s.aws",
                            service("/validate-networking-v1-ingress"),
                            "Fail",
                            "networking.k8s.io",
                            "v1",
                            &change,
                            "ingresses",
                        ),
                    ],
                ),
                configuration(
                    "ValidatingWebhookConfiguration",
                    "vpc-resource-validating-webhook",
                    vec![hook(
                        "vnode.vpc.k8s.aws",
                        local("https://127.0.0.1:9444/validate-v1-node"),
                        "Ignore",
                        "",
                        "v1",
                        &["UPDATE"],
                        "nodes",
                    )],
                ),
            ],
        )
    }

    /// Those of the controllers that can be seen.
    fn own_webhooks(&self) -> (Vec<Value>, Vec<Value>) {
        let (mut mutating, mut validating) = self.webhooks();
        if self.auto() {
            for list in [&mut mutating, &mut validating] {
                list.retain(|w| w["metadata"]["name"] != "aws-load-balancer-webhook");
            }
        }
        (mutating, validating)
    }

    fn events(&self) -> Vec<Value> {
        let (node, _) = self.pod_spot(0);
        let name = self.pod_name("web", 0);
        let host = self.node_name(node);
        [
            ("Scheduled", format!("Successfully assigned web/{name} to {host}"), "default-scheduler"),
            ("Pulled", "Container image already present on machine".to_owned(), "kubelet"),
            ("Started", "Started container web".to_owned(), "kubelet"),
        ]
        .iter()
        .map(|(reason, message, component)| {
            let id = format!("{name}.{}", self.hex(&format!("event {reason}"), 16));
            let source = if *component == "kubelet" { json!({"component": component, "host": host}) } else { json!({"component": component}) };
            json!({
                "apiVersion": "v1", "count": 1, "eventTime": null, "firstTimestamp": STARTED,
                "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": name, "namespace": "web", "uid": self.uuid(&format!("Pod web/{name}"))},
                "kind": "Event", "lastTimestamp": STARTED, "message": message, "metadata": self.meta("Event", "web", &id, json!({})),
                "reason": reason, "reportingComponent": component, "reportingInstance": "", "source": source, "type": "Normal",
            })
        })
        .collect()
    }

    /// The end of a pod's name. Five digits of a hash meet again where there are many, so those get six of their own.
    fn suffix(&self, workload: &str, number: usize) -> String {
        if number < 10 && !workload.starts_with("worker-") {
            self.hex(&format!("pod {workload} {number}"), 5)
        } else {
            // An odd factor maps the 24 bits one to one.
            format!("{:06x}", (number * 0x9e_3779) & 0xff_ffff)
        }
    }

    /// The name of the pod with this number of a deployment.
    fn pod_name(&self, workload: &str, number: usize) -> String {
        format!("{workload}-{}-{}", self.hex(&format!("rs {workload}"), 9), self.suffix(workload, number))
    }

    fn slices(&self) -> impl Iterator<Item = Value> + '_ {
        let endpoint = |namespace: &str, name: &str, node: usize, slot: usize| {
            json!({
                "addresses": [self.pod_ip(node, slot)], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": self.node_name(node), "targetRef": {"kind": "Pod", "name": name, "namespace": namespace, "uid": self.uuid(&format!("Pod {namespace}/{name}"))},
                "zone": self.zone(self.nodes[node].zone),
            })
        };
        let slice = |namespace: &str, service: &str, part: usize, endpoints: Vec<Value>, ports: Value| {
            let name = if service == "kubernetes" {
                service.to_owned()
            } else {
                format!("{service}-{}", self.hex(&format!("slice {service} {part}"), 5))
            };
            let mut metadata =
                self.meta("EndpointSlice", namespace, &name, json!({"kubernetes.io/service-name": service}));
            if service != "kubernetes" {
                metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("endpointslice-controller.k8s.io");
                metadata["ownerReferences"] = json!([{"apiVersion": "v1", "blockOwnerDeletion": true, "controller": true, "kind": "Service", "name": service, "uid": self.uuid(&format!("Service {namespace}/{service}"))}]);
            }
            json!({"addressType": self.family(), "apiVersion": "discovery.k8s.io/v1", "endpoints": endpoints, "kind": "EndpointSlice", "metadata": metadata, "ports": ports})
        };
        let system = |kind, workload: &str| {
            self.system_pods(kind)
                .into_iter()
                .map(|(i, node, slot)| endpoint("kube-system", &self.pod_name(workload, i), node, slot))
                .collect::<Vec<_>>()
        };
        let control = self
            .managed
            .iter()
            .filter(|m| m.description.starts_with("Amazon EKS"))
            .map(|m| {
                let address = if self.v6() { self.address6(m.subnet, m.address) } else { ip(m.address) };
                json!({"addresses": [address], "conditions": {"ready": true}})
            })
            .collect();
        let first = [
            slice("default", "kubernetes", 0, control, json!([{"name": "https", "port": 443, "protocol": "TCP"}])),
            slice(
                "kube-system",
                "kube-dns",
                0,
                system(System::CoreDns, "coredns"),
                json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}, {"name": "metrics", "port": 9153, "protocol": "TCP"}]),
            ),
            slice(
                "kube-system",
                "aws-load-balancer-webhook-service",
                0,
                system(System::Controller, "aws-load-balancer-controller"),
                json!([{"name": "webhook-server", "port": 9443, "protocol": "TCP"}]),
            ),
        ];
        let controller = usize::from(!self.auto());
        first.into_iter().take(2 + controller).chain((0..self.apps()).flat_map(move |app| {
            let name = self.app(app);
            let pods: Vec<(usize, usize)> = self.pods_of_app(app).enumerate().collect();
            pods.chunks(100)
                .enumerate()
                .map(|(part, pods)| {
                    let endpoints = pods
                        .iter()
                        .map(|&(number, pod)| {
                            let (node, slot) = self.pod_spot(pod);
                            endpoint("web", &self.pod_name(&name, number), node, slot)
                        })
                        .collect();
                    slice("web", &name, part, endpoints, json!([{"name": if app == 1 { "https" } else { "http" }, "port": Estate::app_port(app), "protocol": "TCP"}]))
                })
                .collect::<Vec<_>>()
        }))
    }

    fn k8s_node(&self, n: usize) -> Value {
        let o = &self.options;
        let node = &self.nodes[n];
        let name = self.node_name(n);
        let address = self.node_ip(n);
        let (kind, _, _, processors, mib) = self.machine;
        let zone = self.zone(node.zone);
        let mut metadata = self.meta("Node", "", &name, json!({
            "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/instance-type": kind, "beta.kubernetes.io/os": "linux", "eks.amazonaws.com/capacityType": "ON_DEMAND",
            "eks.amazonaws.com/nodegroup": "workers", "eks.amazonaws.com/nodegroup-image": self.id("ami", "al2023"), "failure-domain.beta.kubernetes.io/region": o.region,
            "failure-domain.beta.kubernetes.io/zone": zone, "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": kind, "topology.k8s.aws/zone-id": self.zone_id(node.zone), "topology.kubernetes.io/region": o.region, "topology.kubernetes.io/zone": zone,
        }));
        if (self.karpenter(n) || self.auto())
            && let Some(labels) = metadata["labels"].as_object_mut()
        {
            labels.retain(|key, _| !key.starts_with("eks.amazonaws.com/"));
            let mut add = |key: &str, value: &str| labels.insert(key.to_owned(), json!(value));
            add("karpenter.sh/capacity-type", "on-demand");
            add("karpenter.sh/initialized", "true");
            add("karpenter.sh/registered", "true");
            if self.auto() {
                add("karpenter.sh/nodepool", "general-purpose");
                add("eks.amazonaws.com/compute-type", "auto");
                add("eks.amazonaws.com/nodeclass", "default");
            } else {
                add("karpenter.sh/nodepool", "default");
                add("karpenter.k8s.aws/ec2nodeclass", "default");
            }
        }
        metadata["annotations"] =
            json!({"alpha.kubernetes.io/provided-node-ip": address, "node.alpha.kubernetes.io/ttl": "0"});
        metadata["creationTimestamp"] = json!(STARTED);
        let pods = self.max_pods().to_string();
        let mut branches = json!({});
        if self.pod_groups() {
            metadata["labels"]["vpc.amazonaws.com/has-trunk-attached"] = json!("true");
            branches["vpc.amazonaws.com/pod-eni"] = json!(self.branches().to_string());
        }
        let with_branches = |mut resources: Value| {
            for (key, value) in branches.as_object().into_iter().flatten() {
                resources[key] = value.clone();
            }
            resources
        };
        let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"lastHeartbeatTime": "2026-06-01T11:58:00Z", "lastTransitionTime": STARTED, "message": message, "reason": reason, "status": status, "type": kind});
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": metadata,
            "spec": {"providerID": format!("aws:///{zone}/{}", node.instance)},
            "status": {
                "addresses": [{"address": address, "type": "InternalIP"}, {"address": name, "type": "InternalDNS"}, {"address": name, "type": "Hostname"}],
                "allocatable": with_branches(json!({"cpu": format!("{}m", processors * 1000 - 70), "ephemeral-storage": "47233297124", "memory": format!("{}Ki", mib * 1024 - 1_100_000), "pods": pods})),
                "capacity": with_branches(json!({"cpu": processors.to_string(), "ephemeral-storage": "52350956Ki", "memory": format!("{}Ki", mib * 1024 - 320_000), "pods": pods})),
                "conditions": [
                    condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                    condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                    condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                    condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
                ],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "nodeInfo": {
                    "architecture": "amd64", "bootID": self.uuid(&format!("boot {n}")), "containerRuntimeVersion": "containerd://1.7.27", "kernelVersion": "6.12.46-66.121.amzn2023.x86_64",
                    "kubeProxyVersion": KUBELET, "kubeletVersion": KUBELET, "machineID": self.hex(&format!("machine {n}"), 32), "operatingSystem": "linux",
                    "osImage": if self.auto() { "Bottlerocket (EKS Auto, Standard) 2026.5.20 (aws-k8s-1.33-standard)" } else { "Amazon Linux 2023.8.20260518" }, "systemUUID": self.uuid(&format!("system {n}")),
                },
            },
        })
    }

    /// What the VPC resource controller knows of a node.
    fn cni_node(&self, n: usize) -> Value {
        let mut metadata = self.meta("CNINode", "", &self.node_name(n), json!({}));
        metadata["creationTimestamp"] = json!(STARTED);
        metadata["finalizers"] = json!(["networking.k8s.aws/resource-cleanup"]);
        metadata["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": self.node_name(n), "uid": self.uuid(&format!("Node /{}", self.node_name(n)))}]);
        json!({
            "apiVersion": "vpcresources.k8s.aws/v1alpha1", "kind": "CNINode", "metadata": metadata,
            "spec": {"features": [{"name": "SecurityGroupsForPods"}], "tags": {format!("kubernetes.io/cluster/{}", self.options.name): "owned"}},
        })
    }

    fn k8s_pods(&self) -> impl Iterator<Item = Value> + '_ {
        let daemons = ["aws-node", "kube-proxy"].into_iter().filter(|_| !self.auto()).flat_map(move |name| {
            let (labels, spec) = self.template(name);
            (0..self.nodes.len()).map(move |n| {
                let pod = format!("{name}-{}", self.suffix(name, n));
                self.pod("kube-system", name, &pod, "DaemonSet", &labels, &spec, n, None)
            })
        });
        let kinds = [
            (System::CoreDns, "coredns"),
            (System::Controller, "aws-load-balancer-controller"),
            (System::Karpenter, "karpenter"),
        ];
        let system = kinds.into_iter().flat_map(move |(kind, name)| {
            let (labels, mut spec) = self.template(name);
            if kind == System::Controller {
                // What the Pod Identity webhook adds for IRSA.
                spec["containers"][0]["env"] = json!([
                    {"name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional"}, {"name": "AWS_DEFAULT_REGION", "value": self.options.region},
                    {"name": "AWS_REGION", "value": self.options.region}, {"name": "AWS_ROLE_ARN", "value": self.controller_role()},
                    {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
                ]);
            }
            self.system_pods(kind).into_iter().map(move |(i, node, slot)| {
                self.pod("kube-system", name, &self.pod_name(name, i), "ReplicaSet", &labels, &spec, node, Some(slot))
            })
        });
        let apps = (0..self.apps()).flat_map(move |app| {
            let name = self.app(app);
            let (labels, spec) = self.template(&name);
            self.pods_of_app(app).enumerate().map(move |(number, pod)| {
                let (node, slot) = self.pod_spot(pod);
                self.pod("web", &name, &self.pod_name(&name, number), "ReplicaSet", &labels, &spec, node, Some(slot))
            })
        });
        daemons.chain(system).chain(apps).chain(self.fargate_pod())
    }

    /// The node of the Fargate pod: Fargate makes one for each pod.
    fn fargate_node(&self) -> Option<Value> {
        let address = self.fargate_address()?;
        let (host, zone) = (self.host(address), self.zone(0));
        let name = format!("fargate-{host}");
        let mut node = self.k8s_node(0);
        node["metadata"] = self.meta(
            "Node",
            "",
            &name,
            json!({
                "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "eks.amazonaws.com/compute-type": "fargate",
                "failure-domain.beta.kubernetes.io/region": self.options.region, "failure-domain.beta.kubernetes.io/zone": zone,
                "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": host, "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": self.options.region, "topology.kubernetes.io/zone": zone,
            }),
        );
        node["spec"] = json!({
            "providerID": format!("aws:///{zone}/{}-{}/{name}", self.hex("fargate task", 10), self.hex("fargate pod", 32)),
            "taints": [{"effect": "NoSchedule", "key": "eks.amazonaws.com/compute-type", "value": "fargate"}],
        });
        node["status"]["addresses"] = json!([
            {"address": ip(address), "type": "InternalIP"}, {"address": host, "type": "InternalDNS"}, {"address": host, "type": "Hostname"},
        ]);
        for sizes in ["allocatable", "capacity"] {
            node["status"][sizes] =
                json!({"cpu": "2", "ephemeral-storage": "30787492Ki", "memory": "3977056Ki", "pods": "1"});
        }
        node["status"]["nodeInfo"]["osImage"] = json!("Amazon Linux 2");
        Some(node)
    }

    fn fargate_pod(&self) -> Option<Value> {
        let address = self.fargate_address()?;
        let (mut labels, spec) = self.template("report");
        labels["eks.amazonaws.com/fargate-profile"] = json!("batch");
        let mut pod =
            self.pod("batch", "report", &self.pod_name("report", 0), "ReplicaSet", &labels, &spec, 0, Some(0));
        pod["metadata"]["annotations"] =
            json!({"CapacityProvisioned": "0.25vCPU 0.5GB", "Logging": "LoggingDisabled: LOGGING_CONFIGMAP_NOT_FOUND"});
        pod["spec"]["nodeName"] = json!(format!("fargate-{}", self.host(address)));
        pod["spec"]["schedulerName"] = json!("fargate-scheduler");
        let status = &mut pod["status"];
        for (one, many) in [("hostIP", "hostIPs"), ("podIP", "podIPs")] {
            status[one] = json!(ip(address));
            status[many] = json!([{"ip": ip(address)}]);
        }
        Some(pod)
    }

    #[allow(clippy::too_many_arguments)]
    fn pod(
        &self,
        namespace: &str,
        workload: &str,
        name: &str,
        owner: &str,
        labels: &Value,
        spec: &Value,
        node: usize,
        slot: Option<usize>,
    ) -> Value {
        let hash = self.hex(&format!("rs {workload}"), 9);
        let mut labels = labels.clone();
        let maker = if owner == "DaemonSet" {
            labels["controller-revision-hash"] = json!(hash);
            labels["pod-template-generation"] = json!("1");
            workload.to_owned()
        } else {
            labels["pod-template-hash"] = json!(hash);
            format!("{workload}-{hash}")
        };
        let mut metadata = self.meta("Pod", namespace, name, labels);
        metadata["creationTimestamp"] = json!(STARTED);
        metadata["generateName"] = json!(format!("{maker}-"));
        metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "blockOwnerDeletion": true, "controller": true, "kind": owner, "name": maker, "uid": self.uuid(&format!("{owner} {namespace}/{maker}"))}]);
        let mut spec = Estate::completed(spec.clone());
        if let Some(branch) = slot.and_then(|slot| self.branch(node, slot)) {
            // The VPC resource controller's webhook asks for the interface, the controller tells of it.
            metadata["annotations"] = json!({"vpc.amazonaws.com/pod-eni": self.branch_annotation(branch)});
            for key in ["limits", "requests"] {
                spec["containers"][0]["resources"][key]["vpc.amazonaws.com/pod-eni"] = json!("1");
            }
        }
        spec["nodeName"] = json!(self.node_name(node));
        spec["enableServiceLinks"] = json!(true);
        if owner != "DaemonSet" {
            let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
            for key in ["not-ready", "unreachable"] {
                tolerations.push(json!({"effect": "NoExecute", "key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "tolerationSeconds": 300}));
            }
            spec["tolerations"] = json!(tolerations);
        }
        let status = |container: &Value| {
            json!({
                "containerID": format!("containerd://{}", self.hex(&format!("container {namespace}/{name} {}", container["name"]), 64)),
                "image": container["image"], "imageID": container["image"], "lastState": {}, "name": container["name"], "ready": true, "restartCount": 0,
                "started": true, "state": {"running": {"startedAt": STARTED}},
            })
        };
        let statuses: Vec<Value> = spec["containers"].as_array().into_iter().flatten().map(status).collect();
        let host = self.node_ip(node);
        let address = slot.map_or_else(|| host.clone(), |slot| self.pod_ip(node, slot));
        let conditions: Vec<Value> = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ]
        .iter()
        .map(|kind| json!({"lastProbeTime": null, "lastTransitionTime": STARTED, "status": "True", "type": kind}))
        .collect();
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec,
            "status": {
                "conditions": conditions, "containerStatuses": statuses, "hostIP": host, "hostIPs": [{"ip": host}], "phase": "Running",
                "podIP": address, "podIPs": [{"ip": address}], "qosClass": "Burstable", "startTime": STARTED,
            },
        })
    }

    fn node_class(&self) -> Value {
        let mine = json!({"tags": {"karpenter.sh/discovery": self.options.name}});
        let ready = json!([{"lastTransitionTime": STARTED, "message": "", "reason": "Ready", "status": "True", "type": "Ready"}]);
        json!({
            "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": self.meta("EC2NodeClass", "", "default", json!({})),
            "spec": {
                "amiSelectorTerms": [{"alias": "al2023@latest"}], "role": self.node_role(1),
                "metadataOptions": {"httpEndpoint": "enabled", "httpPutResponseHopLimit": 2, "httpTokens": "required"},
                "subnetSelectorTerms": [mine], "securityGroupSelectorTerms": [mine],
            },
            "status": {
                "conditions": ready,
                "instanceProfile": self.node_profile(1),
                "securityGroups": [{"id": self.group("node"), "name": self.group_name("node")}],
                "subnets": self.of_role(Role::Private).map(|(_, s)| json!({"id": s.id, "zone": self.zone(s.zone), "zoneID": self.zone_id(s.zone)})).collect::<Vec<_>>(),
            },
        })
    }

    /// What EKS Auto Mode makes by itself.
    fn auto_node_class(&self) -> Value {
        json!({
            "apiVersion": "eks.amazonaws.com/v1", "kind": "NodeClass",
            "metadata": self.meta("NodeClass", "", "default", json!({"app.kubernetes.io/managed-by": "eks"})),
            "spec": {
                "role": self.node_role(0), "networkPolicy": "DefaultAllow", "snatPolicy": "Random",
                "securityGroupSelectorTerms": [{"id": self.group("cluster")}],
                "subnetSelectorTerms": self.of_role(Role::Private).map(|(_, s)| json!({"id": s.id})).collect::<Vec<_>>(),
            },
            "status": {
                "conditions": [{"lastTransitionTime": STARTED, "message": "", "reason": "Ready", "status": "True", "type": "Ready"}],
                "securityGroups": [{"id": self.group("cluster"), "name": self.group_name("cluster")}],
                "subnets": self.of_role(Role::Private).map(|(_, s)| json!({"id": s.id, "zone": self.zone(s.zone), "zoneID": self.zone_id(s.zone)})).collect::<Vec<_>>(),
            },
        })
    }

    fn node_pool(&self) -> Value {
        let (pool, group, kind) = if self.auto() {
            ("general-purpose", "eks.amazonaws.com", "NodeClass")
        } else {
            ("default", "karpenter.k8s.aws", "EC2NodeClass")
        };
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": self.meta("NodePool", "", pool, json!({})),
            "spec": {
                "limits": {"cpu": "1000"},
                "template": {"spec": {
                    "nodeClassRef": {"group": group, "kind": kind, "name": "default"},
                    "requirements": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}, {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}],
                }},
            },
            "status": {"conditions": [{"lastTransitionTime": STARTED, "message": "", "reason": "Ready", "status": "True", "type": "Ready"}], "resources": {"cpu": "0", "nodes": "0"}},
        })
    }
}
