//! Kubernetes objects, with the fields that networking needs.

use std::collections::BTreeMap;

use super::{Scalar, Str, shapes};

shapes! {
    /// Metadata of an object.
    ObjectMeta {
        name: Str, namespace: Str, uid: Str, creationTimestamp: Str, deletionTimestamp: Str, generateName: Str, labels: BTreeMap<Str, Str>,
        annotations: BTreeMap<Str, Str>, ownerReferences: Vec<OwnerReference>, finalizers: Vec<Str>,
    }
    /// Who made an object.
    OwnerReference { apiVersion: Str, kind: Str, name: Str, uid: Str, controller: Option<bool> }
    /// A condition in an object's status.
    Condition { r#type: Str, status: Str, reason: Str, message: Str, lastTransitionTime: Str, lastHeartbeatTime: Str, observedGeneration: Option<i64> }
    /// Labels that must match.
    LabelSelector { matchLabels: BTreeMap<Str, Str>, matchExpressions: Vec<SelectorRequirement> }
    /// One requirement of a selector.
    SelectorRequirement { key: Str, operator: Str, values: Vec<Str> }

    /// A node.
    Node { metadata: ObjectMeta, spec: NodeSpec, status: NodeStatus }
    /// What a node is.
    NodeSpec { providerID: Str, podCIDR: Str, unschedulable: Option<bool>, taints: Vec<Taint> }
    /// A taint.
    Taint { key: Str, value: Str, effect: Str }
    /// How a node is.
    NodeStatus { addresses: Vec<NodeAddress>, allocatable: BTreeMap<Str, Scalar>, capacity: BTreeMap<Str, Scalar>, conditions: Vec<Condition>, nodeInfo: NodeSystemInfo }
    /// An address of a node.
    NodeAddress { address: Str, r#type: Str }
    /// What runs on a node.
    NodeSystemInfo { containerRuntimeVersion: Str, kubeletVersion: Str, kubeProxyVersion: Str, osImage: Str, kernelVersion: Str, operatingSystem: Str, architecture: Str }

    /// A pod.
    Pod { metadata: ObjectMeta, spec: PodSpec, status: PodStatus }
    /// What a pod is.
    PodSpec {
        nodeName: Str, hostNetwork: Option<bool>, serviceAccountName: Str, schedulerName: Str, dnsPolicy: Str, dnsConfig: Option<PodDnsConfig>,
        nodeSelector: BTreeMap<Str, Str>, tolerations: Vec<Toleration>, affinity: Option<Affinity>, containers: Vec<Container>, initContainers: Vec<Container>,
        priorityClassName: Str, readinessGates: Vec<PodReadinessGate>, topologySpreadConstraints: Vec<TopologySpreadConstraint>,
    }
    /// Name resolution of a pod.
    PodDnsConfig { nameservers: Vec<Str>, searches: Vec<Str>, options: Vec<PodDnsConfigOption> }
    /// An option of the pod's resolver.
    PodDnsConfigOption { name: Str, value: Str }
    /// A taint that a pod bears.
    Toleration { key: Str, operator: Str, value: Str, effect: Str }
    /// Where a pod wants to run.
    Affinity { nodeAffinity: Option<NodeAffinity>, podAntiAffinity: Option<serde_json::Value> }
    /// Which nodes a pod wants.
    NodeAffinity { requiredDuringSchedulingIgnoredDuringExecution: Option<NodeSelector> }
    /// Nodes that fit: one of the terms must match.
    NodeSelector { nodeSelectorTerms: Vec<NodeSelectorTerm> }
    /// All of it must match.
    NodeSelectorTerm { matchExpressions: Vec<SelectorRequirement>, matchFields: Vec<SelectorRequirement> }
    /// A condition that a pod waits for.
    PodReadinessGate { conditionType: Str }
    /// How pods are to be spread.
    TopologySpreadConstraint { topologyKey: Str, whenUnsatisfiable: Str, maxSkew: Option<i64> }
    /// A container.
    Container { name: Str, image: Str, args: Vec<Str>, command: Vec<Str>, env: Vec<EnvVar>, ports: Vec<ContainerPort>, readinessProbe: Option<Box<Probe>>, livenessProbe: Option<Box<Probe>>, resources: Option<Resources> }
    /// An environment variable; its value is not kept when it comes from a secret.
    EnvVar { name: Str, value: Str }
    /// A port of a container.
    ContainerPort { containerPort: Option<i64>, hostPort: Option<i64>, name: Str, protocol: Str }
    /// A probe.
    Probe { httpGet: Option<HttpGetAction>, tcpSocket: Option<TcpSocketAction>, timeoutSeconds: Option<i64>, initialDelaySeconds: Option<i64>, periodSeconds: Option<i64>, failureThreshold: Option<i64> }
    /// An HTTP probe.
    HttpGetAction { path: Str, port: Scalar, scheme: Str }
    /// A probe that only connects.
    TcpSocketAction { port: Scalar }
    /// Requests and limits.
    Resources { requests: BTreeMap<Str, Scalar>, limits: BTreeMap<Str, Scalar> }
    /// How a pod is.
    PodStatus { phase: Str, podIP: Str, podIPs: Vec<PodIp>, hostIP: Str, conditions: Vec<Condition>, containerStatuses: Vec<ContainerStatus>, initContainerStatuses: Vec<ContainerStatus>, reason: Str, message: Str, startTime: Str }
    /// An address of a pod.
    PodIp { ip: Str }
    /// How a container is.
    ContainerStatus { name: Str, ready: Option<bool>, restartCount: Option<i64>, image: Str, state: Option<ContainerState>, lastState: Option<ContainerState> }
    /// The state of a container.
    ContainerState { waiting: Option<ContainerStateWaiting>, terminated: Option<ContainerStateTerminated>, running: Option<ContainerStateRunning> }
    /// A container that waits.
    ContainerStateWaiting { reason: Str, message: Str }
    /// A container that ended.
    ContainerStateTerminated { reason: Str, message: Str, exitCode: Option<i64> }
    /// A container that runs.
    ContainerStateRunning { startedAt: Str }

    /// A service.
    Service { metadata: ObjectMeta, spec: ServiceSpec, status: ServiceStatus }
    /// What a service is.
    ServiceSpec {
        r#type: Str, clusterIP: Str, clusterIPs: Vec<Str>, selector: BTreeMap<Str, Str>, ports: Vec<ServicePort>, loadBalancerClass: Str, loadBalancerSourceRanges: Vec<Str>,
        externalTrafficPolicy: Str, internalTrafficPolicy: Str, ipFamilies: Vec<Str>, ipFamilyPolicy: Str, healthCheckNodePort: Option<i64>, allocateLoadBalancerNodePorts: Option<bool>,
    }
    /// A port of a service.
    ServicePort { name: Str, port: Option<i64>, targetPort: Scalar, nodePort: Option<i64>, protocol: Str }
    /// How a service is.
    ServiceStatus { loadBalancer: LoadBalancerStatus, conditions: Vec<Condition> }
    /// What a load balancer answers on.
    LoadBalancerStatus { ingress: Vec<LoadBalancerIngress> }
    /// A name or address of a load balancer.
    LoadBalancerIngress { hostname: Str, ip: Str }

    /// Endpoints of a service.
    EndpointSlice { metadata: ObjectMeta, addressType: Str, endpoints: Vec<Endpoint>, ports: Vec<EndpointPort> }
    /// One endpoint.
    Endpoint { addresses: Vec<Str>, conditions: EndpointConditions, nodeName: Str, zone: Str, targetRef: Option<ObjectReference> }
    /// Whether an endpoint is ready. Not said counts as ready.
    EndpointConditions { ready: Option<bool>, serving: Option<bool>, terminating: Option<bool> }
    /// A port of endpoints.
    EndpointPort { name: Str, port: Option<i64>, protocol: Str }
    /// A reference to an object.
    ObjectReference { apiVersion: Str, kind: Str, name: Str, namespace: Str, uid: Str, fieldPath: Str }

    /// An ingress.
    Ingress { metadata: ObjectMeta, spec: IngressSpec, status: IngressStatus }
    /// What an ingress is.
    IngressSpec { ingressClassName: Str, rules: Vec<IngressRule>, tls: Vec<IngressTls>, defaultBackend: Option<IngressBackend> }
    /// A rule of an ingress.
    IngressRule { host: Str, http: Option<HttpIngressRuleValue> }
    /// The paths of a rule.
    HttpIngressRuleValue { paths: Vec<HttpIngressPath> }
    /// A path of a rule.
    HttpIngressPath { path: Str, pathType: Str, backend: IngressBackend }
    /// Where an ingress leads.
    IngressBackend { service: Option<IngressServiceBackend> }
    /// The service that an ingress leads to.
    IngressServiceBackend { name: Str, port: ServiceBackendPort }
    /// The port of that service.
    ServiceBackendPort { name: Str, number: Option<i64> }
    /// Hosts with TLS.
    IngressTls { hosts: Vec<Str>, secretName: Str }
    /// How an ingress is.
    IngressStatus { loadBalancer: LoadBalancerStatus }
    /// A class of ingresses.
    IngressClass { metadata: ObjectMeta, spec: IngressClassSpec }
    /// What a class is.
    IngressClassSpec { controller: Str, parameters: Option<IngressClassParametersReference> }
    /// The parameters of a class.
    IngressClassParametersReference { apiGroup: Str, kind: Str, name: Str }

    /// A network policy.
    NetworkPolicy { metadata: ObjectMeta, spec: NetworkPolicySpec }
    /// What a network policy allows.
    NetworkPolicySpec { podSelector: LabelSelector, policyTypes: Vec<Str>, ingress: Vec<NetworkPolicyIngressRule>, egress: Vec<NetworkPolicyEgressRule> }
    /// What may come in.
    NetworkPolicyIngressRule { from: Vec<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort> }
    /// What may go out.
    NetworkPolicyEgressRule { to: Vec<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort> }
    /// The other side.
    NetworkPolicyPeer { podSelector: Option<LabelSelector>, namespaceSelector: Option<LabelSelector>, ipBlock: Option<IpBlock> }
    /// A range of addresses.
    IpBlock { cidr: Str, except: Vec<Str> }
    /// A port.
    NetworkPolicyPort { port: Option<Scalar>, protocol: Str, endPort: Option<i64> }

    /// A daemon set.
    DaemonSet { metadata: ObjectMeta, spec: WorkloadSpec, status: DaemonSetStatus }
    /// A deployment.
    Deployment { metadata: ObjectMeta, spec: WorkloadSpec, status: DeploymentStatus }
    /// What a daemon set or deployment runs.
    WorkloadSpec { replicas: Option<i64>, selector: LabelSelector, template: PodTemplate }
    /// The pods it makes.
    PodTemplate { metadata: ObjectMeta, spec: PodSpec }
    /// How a daemon set is.
    DaemonSetStatus { currentNumberScheduled: Option<i64>, desiredNumberScheduled: Option<i64>, numberAvailable: Option<i64>, numberReady: Option<i64>, numberUnavailable: Option<i64>, updatedNumberScheduled: Option<i64> }
    /// How a deployment is.
    DeploymentStatus { replicas: Option<i64>, readyReplicas: Option<i64>, availableReplicas: Option<i64>, unavailableReplicas: Option<i64>, updatedReplicas: Option<i64>, conditions: Vec<Condition> }

    /// A config map.
    ConfigMap { metadata: ObjectMeta, data: BTreeMap<Str, Str> }
    /// A service account.
    ServiceAccount { metadata: ObjectMeta }
    /// A namespace.
    Namespace { metadata: ObjectMeta }
    /// An event.
    Event { metadata: ObjectMeta, reason: Str, message: Str, r#type: Str, count: Option<i64>, firstTimestamp: Str, lastTimestamp: Str, eventTime: Str, series: EventSeries, involvedObject: ObjectReference, source: EventSource, reportingComponent: Str }
    /// Later occurrences of an event with `eventTime`.
    EventSeries { count: Option<i64>, lastObservedTime: Str }
    /// Who saw the event.
    EventSource { component: Str, host: Str }
    /// A pod disruption budget.
    PodDisruptionBudget { metadata: ObjectMeta, spec: PodDisruptionBudgetSpec }
    /// What a budget keeps.
    PodDisruptionBudgetSpec { minAvailable: Option<Scalar>, maxUnavailable: Option<Scalar>, selector: LabelSelector }
    /// A cluster role.
    ClusterRole { metadata: ObjectMeta, rules: Vec<PolicyRule> }
    /// What a role may do.
    PolicyRule { apiGroups: Vec<Str>, resources: Vec<Str>, verbs: Vec<Str>, resourceNames: Vec<Str> }
    /// Webhooks that change objects.
    MutatingWebhookConfiguration { metadata: ObjectMeta, webhooks: Vec<Webhook> }
    /// Webhooks that refuse objects.
    ValidatingWebhookConfiguration { metadata: ObjectMeta, webhooks: Vec<Webhook> }
    /// A webhook.
    Webhook {
        name: Str, failurePolicy: Str, matchPolicy: Str, clientConfig: WebhookClientConfig, namespaceSelector: Option<LabelSelector>, objectSelector: Option<LabelSelector>,
        rules: Vec<RuleWithOperations>, timeoutSeconds: Option<i64>, matchConditions: Vec<MatchCondition>,
    }
    /// Where a webhook answers.
    WebhookClientConfig { url: Str, service: Option<WebhookService> }
    /// The service of a webhook.
    WebhookService { name: Str, namespace: Str, path: Str, port: Option<i64> }
    /// What a webhook is asked about.
    RuleWithOperations { apiGroups: Vec<Str>, apiVersions: Vec<Str>, operations: Vec<Str>, resources: Vec<Str>, scope: Str }
    /// A CEL condition of a webhook.
    MatchCondition { name: Str, expression: Str }

    /// Where pods of custom networking get their addresses (VPC CNI).
    ENIConfig { metadata: ObjectMeta, spec: ENIConfigSpec }
    /// The subnet and groups of an ENIConfig.
    ENIConfigSpec { subnet: Str, securityGroups: Vec<Str> }
    /// Security groups for pods.
    SecurityGroupPolicy { metadata: ObjectMeta, spec: SecurityGroupPolicySpec }
    /// Which pods get which groups.
    SecurityGroupPolicySpec { podSelector: Option<LabelSelector>, serviceAccountSelector: Option<LabelSelector>, securityGroups: GroupIds }
    /// Ids of security groups.
    GroupIds { groupIds: Vec<Str> }
    /// What the VPC resource controller knows of a node.
    CNINode { metadata: ObjectMeta, spec: CNINodeSpec }
    /// Features of a node.
    CNINodeSpec { features: Vec<CNINodeFeature>, tags: BTreeMap<Str, Str> }
    /// A feature, such as `SecurityGroupsForPods`.
    CNINodeFeature { name: Str, value: Str }
    /// What binds a service to a target group.
    TargetGroupBinding { metadata: ObjectMeta, spec: TargetGroupBindingSpec }
    /// The target group and who may reach its targets.
    TargetGroupBindingSpec { targetGroupARN: Str, targetType: Str, serviceRef: ServiceReference, ipAddressType: Str, vpcID: Str, networking: Option<TargetGroupBindingNetworking> }
    /// A service and its port.
    ServiceReference { name: Str, port: Scalar }
    /// What the controller opens in the targets' groups.
    TargetGroupBindingNetworking { ingress: Vec<NetworkingIngressRule> }
    /// One opening.
    NetworkingIngressRule { from: Vec<NetworkingPeer>, ports: Vec<NetworkingPort> }
    /// Who may come in.
    NetworkingPeer { ipBlock: Option<IpBlock>, securityGroup: Option<NetworkingSecurityGroup> }
    /// A security group.
    NetworkingSecurityGroup { groupID: Str }
    /// A port; none is all.
    NetworkingPort { port: Option<Scalar>, protocol: Str }
    /// Settings of an ingress class of the AWS Load Balancer Controller.
    IngressClassParams { metadata: ObjectMeta, spec: IngressClassParamsSpec }
    /// What the class sets for its ingresses.
    IngressClassParamsSpec { scheme: Str, targetType: Str, sslRedirectPort: Str, loadBalancerName: Str, group: Option<IngressGroup>, subnets: Option<SubnetSelector>, ipAddressType: Str, certificateArn: Vec<Str>, certificateARNs: Vec<Str>, namespaceSelector: Option<LabelSelector>, minimumLoadBalancerCapacity: Option<serde_json::Value> }
    /// A group of ingresses that share a load balancer.
    IngressGroup { name: Str }
    /// Which subnets; `matchTags` is EKS Auto Mode's form of `tags`.
    SubnetSelector { ids: Vec<Str>, tags: BTreeMap<Str, Vec<Str>>, matchTags: Vec<SubnetTag> }
    /// A tag that subnets carry, with one of these values.
    SubnetTag { key: Str, values: Vec<Str> }

    /// Karpenter's settings for nodes on EC2.
    EC2NodeClass { metadata: ObjectMeta, spec: EC2NodeClassSpec, status: NodeClassStatus }
    /// What Karpenter launches.
    EC2NodeClassSpec {
        role: Str, instanceProfile: Str, amiFamily: Str, amiSelectorTerms: Vec<AmiSelectorTerm>, subnetSelectorTerms: Vec<SelectorTerm>, securityGroupSelectorTerms: Vec<SelectorTerm>,
        associatePublicIPAddress: Option<bool>, metadataOptions: Option<NodeClassMetadataOptions>, kubelet: Option<KubeletConfiguration>, userData: Str,
    }
    /// Which images.
    AmiSelectorTerm { alias: Str, id: Str, name: Str, owner: Str, tags: BTreeMap<Str, Str> }
    /// Which subnets or security groups: all that is set must match.
    SelectorTerm { id: Str, name: Str, tags: BTreeMap<Str, Str> }
    /// Metadata options of the nodes.
    NodeClassMetadataOptions { httpEndpoint: Str, httpTokens: Str, httpPutResponseHopLimit: Option<i64> }
    /// Settings of the kubelet.
    KubeletConfiguration { maxPods: Option<i64>, podsPerCore: Option<i64>, clusterDNS: Vec<Str> }
    /// What the controller found.
    NodeClassStatus { instanceProfile: Str, conditions: Vec<Condition>, subnets: Vec<NodeClassSubnet>, securityGroups: Vec<NodeClassSecurityGroup>, amis: Vec<NodeClassAmi> }
    /// A subnet that matched.
    NodeClassSubnet { id: Str, zone: Str, zoneID: Str }
    /// An image that matched.
    NodeClassAmi { id: Str, name: Str }
    /// A security group that matched.
    NodeClassSecurityGroup { id: Str, name: Str }
    /// Nodes that Karpenter may launch.
    NodePool { metadata: ObjectMeta, spec: NodePoolSpec, status: NodePoolStatus }
    /// What the pool's nodes are.
    NodePoolSpec { template: NodeClaimTemplate, limits: BTreeMap<Str, Scalar> }
    /// The nodes it makes.
    NodeClaimTemplate { metadata: ObjectMeta, spec: NodeClaimTemplateSpec }
    /// Their class and what is asked of them.
    NodeClaimTemplateSpec { nodeClassRef: NodeClassReference, requirements: Vec<NodePoolRequirement>, taints: Vec<Taint>, startupTaints: Vec<Taint> }
    /// The class.
    NodeClassReference { group: Str, kind: Str, name: Str }
    /// One requirement.
    NodePoolRequirement { key: Str, operator: Str, values: Vec<Str>, minValues: Option<i64> }
    /// How a pool is.
    NodePoolStatus { conditions: Vec<Condition>, resources: BTreeMap<Str, Scalar> }
    /// EKS Auto Mode's settings for nodes.
    NodeClass { metadata: ObjectMeta, spec: NodeClassSpec, status: NodeClassStatus }
    /// What Auto Mode launches.
    NodeClassSpec {
        role: Str, instanceProfile: Str, subnetSelectorTerms: Vec<SelectorTerm>, securityGroupSelectorTerms: Vec<SelectorTerm>, podSubnetSelectorTerms: Vec<SelectorTerm>,
        podSecurityGroupSelectorTerms: Vec<SelectorTerm>, networkPolicy: Str, snatPolicy: Str,
    }
}
