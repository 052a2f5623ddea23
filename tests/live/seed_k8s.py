#!/usr/bin/env python3
"""Seeds kube-apiserver with the Kubernetes side of what seed_aws.py printed: nodes, pods, events, EKS's own kinds.

usage: seed_k8s.py SERVER TOKEN FILE [PODS-PER-NODE]

No controller runs, so what controllers would write (status, owners) is written here. The third node is not ready.
"""
import json
import ssl
import sys
import urllib.error
import urllib.request

server, token, path = sys.argv[1:4]
per_node = int(sys.argv[4]) if len(sys.argv) > 4 else 4
estate = json.load(open(path))[0]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


def send(method, path, body):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(server + path, json.dumps(body).encode(), headers, method=method)
    return json.load(opener.open(request))


def create(path, name, namespace=None, status=None, labels=None, **body):
    metadata = {"name": name, "labels": labels or {}, **({"namespace": namespace} if namespace else {})}
    where = path if not namespace else f"{path.rsplit('/', 1)[0]}/namespaces/{namespace}/{path.rsplit('/', 1)[1]}"
    try:
        made = send("POST", where, {"metadata": metadata, **body})
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise SystemExit(f"{where} {name}: {error.code} {error.read().decode()}")
        return
    if status:
        send("PUT", f"{where}/{name}/status", {**made, "status": status})


for namespace in ("kube-system", "web"):
    create("/api/v1/namespaces", namespace)
for group, kind, plural, version, scope in (
    ("crd.k8s.amazonaws.com", "ENIConfig", "eniconfigs", "v1alpha1", "Cluster"),
    ("vpcresources.k8s.aws", "CNINode", "cninodes", "v1alpha1", "Cluster"),
    ("vpcresources.k8s.aws", "SecurityGroupPolicy", "securitygrouppolicies", "v1beta1", "Namespaced"),
    ("elbv2.k8s.aws", "TargetGroupBinding", "targetgroupbindings", "v1beta1", "Namespaced"),
    ("elbv2.k8s.aws", "IngressClassParams", "ingressclassparams", "v1beta1", "Cluster"),
):
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", f"{plural}.{group}",
        spec={
            "group": group, "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    )


def workload(kind, name, host, image, count):
    template = {
        "metadata": {"labels": {"k8s-app": name}},
        "spec": {"hostNetwork": host, "containers": [{"name": name, "image": image}]},
    }
    replicas = {} if kind == "daemonsets" else {"replicas": count}
    create(
        f"/apis/apps/v1/{kind}", name, "kube-system", labels={"k8s-app": name},
        spec={"selector": {"matchLabels": {"k8s-app": name}}, "template": template, **replicas},
    )


registry = f"602401143452.dkr.ecr.{estate['region']}.amazonaws.com"
workload("daemonsets", "aws-node", True, f"{registry}/amazon-k8s-cni:v1.19.0-eksbuild.1", 0)
workload("daemonsets", "kube-proxy", True, f"{registry}/eks/kube-proxy:v1.32.0-minimal-eksbuild.2", 0)
workload("deployments", "coredns", False, f"{registry}/eks/coredns:v1.11.4-eksbuild.2", 2)
for name in ("aws-node", "coredns", "kube-proxy", "default"):
    create("/api/v1/serviceaccounts", name, "kube-system")
corefile = ".:53 {\n    errors\n    health\n    ready\n    kubernetes cluster.local in-addr.arpa ip6.arpa\n    forward . /etc/resolv.conf\n}\n"
create("/api/v1/configmaps", "coredns", "kube-system", data={"Corefile": corefile})
ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
create("/api/v1/services", "kube-dns", "kube-system", labels={"k8s-app": "kube-dns"},
       spec={"clusterIP": "172.20.0.10", "selector": {"k8s-app": "kube-dns"}, "ports": ports})
for index, node in enumerate(estate["nodes"]):
    ready = index != 2
    condition = {"type": "Ready", "status": str(ready), "reason": "KubeletReady" if ready else "KubeletNotReady"}
    create(
        "/api/v1/nodes", node["name"],
        labels={
            "topology.kubernetes.io/zone": node["zone"], "node.kubernetes.io/instance-type": "m5.large",
            "eks.amazonaws.com/nodegroup": "workers", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        },
        spec={"providerID": f"aws:///{node['zone']}/{node['id']}"},
        status={
            "capacity": {"pods": "29"}, "allocatable": {"pods": "29"}, "conditions": [condition],
            "addresses": [{"type": "InternalIP", "address": node["address"]}, {"type": "Hostname", "address": node["name"]}],
        },
    )
    for number in range(per_node):
        app, namespace = (("aws-node", "kube-system"), ("kube-proxy", "kube-system"), ("coredns", "kube-system"), ("web", "web"))[min(number, 3)]
        host = number < 2
        address = node["address"] if host else node["more"][min(number - 1, len(node["more"]) - 1)]
        label = {"k8s-app": "kube-dns" if app == "coredns" else app}
        create(
            "/api/v1/pods", f"{app}-{index}-{number}", namespace, labels=label,
            spec={"nodeName": node["name"], "hostNetwork": host, "containers": [{"name": app, "image": f"{registry}/{app}:1"}]},
            status={"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": node["address"]},
        )
create(
    "/api/v1/events", "node-2.1", "default", reason="NodeNotReady", message="Node is not ready", type="Warning", count=3,
    involvedObject={"kind": "Node", "name": estate["nodes"][2]["name"], "namespace": "default"}, source={"component": "kubelet"},
)
print(f"{len(estate['nodes'])} nodes, {len(estate['nodes']) * per_node} pods")
