#!/usr/bin/env bash
# Records what eks-doctor checks, with the AWS CLI and kubectl alone, for those who may not run the binary.
#
#   docs/record.sh CLUSTER FOLDER        then, anywhere: eks-doctor check --snapshot FOLDER
#
# It only reads. Credentials and Region are those of the AWS CLI (AWS_PROFILE, AWS_REGION ...), Kubernetes is that of
# kubectl's current context; NO_KUBERNETES=1 leaves it out. A read that is denied or fails is noted in manifest.json,
# and the rules that need it are skipped with that reason. Secrets are never read.
#
# Needs bash, aws and kubectl, and no jq: names are taken with --query and -o jsonpath.
set -u
export AWS_PAGER='' LC_ALL=C
# Version 1 of the AWS CLI knows only the one name.
export AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-${AWS_REGION:-}}
[ -n "$AWS_DEFAULT_REGION" ] || unset AWS_DEFAULT_REGION

if [ $# -ne 2 ]; then
    echo "usage: $0 CLUSTER FOLDER" >&2
    exit 2
fi
cluster=$1
folder=$2
if [ -e "$folder" ] && [ -n "$(ls -A "$folder" 2> /dev/null || echo no folder)" ]; then
    echo "$folder: is there already and not empty; give a new folder" >&2
    exit 2
fi
part=$folder.part
mkdir -p "$part" || exit 2
errors=$(mktemp) || exit 2
trap 'rm -f "$errors"; [ -d "$part" ] && rm -rf "$part"' EXIT
trap 'exit 130' INT TERM
failures=()

quoted() { # as a JSON string
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//[$'\n\r\t']/ }
    printf '"%s"' "${text//[[:cntrl:]]/ }"
}

fail() { # operation, argument, code, message
    local argument=null
    [ -n "$2" ] && argument=$(quoted "$2")
    failures+=("{\"operation\": $(quoted "$1"), \"argument\": $argument, \"code\": $(quoted "$3"), \"message\": $(quoted "$4")}")
    echo "$1${2:+ $2}: $3" >&2
}

# As IAM spells it: ec2 describe-vpcs is ec2:DescribeVpcs.
operation() { # service, command
    local service=$1 word name=''
    [ "$service" = elbv2 ] && service=elasticloadbalancing
    for word in ${2//-/ }; do
        case $word in
            open) word=Open ;;
            id) word=ID ;;
            *) word=$(printf '%s' "${word:0:1}" | tr '[:lower:]' '[:upper:]')${word:1} ;;
        esac
        name+=$word
    done
    printf '%s:%s' "$service" "$name"
}

# One call of AWS into its file. ARGUMENT is what it is asked about: the file's name, or - when it is asked once.
read_aws() { # service, command, argument, options...
    local service=$1 command=$2 argument=$3 file text code
    shift 3
    file=$part/aws/$service/$command.json
    if [ "$argument" = - ]; then
        argument=''
    else
        file=$part/aws/$service/$command/${argument##*/}.json
    fi
    mkdir -p "${file%/*}"
    if aws "$service" "$command" "$@" --output json > "$file" 2> "$errors"; then
        return 0
    fi
    rm -f "$file"
    text=$(< "$errors")
    code=${text#*An error occurred (}
    if [ "$code" = "$text" ]; then code=Failed; else code=${code%%)*}; fi
    fail "$(operation "$service" "$command")" "$argument" "$code" "$text"
    return 1
}

# Names and ids out of an answer, one a line. What fails here was already noted, or has nothing to tell.
names() { # service, command, query, options...
    local service=$1 command=$2 query=$3
    shift 3
    aws "$service" "$command" "$@" --query "$query" --output text 2> /dev/null | tr '\t' '\n' | grep -Ev '^(None)?$' | sort -u
}

each() { # calls "$@" once for each line of standard input, the line as {}
    local line word
    while IFS= read -r line; do
        local call=()
        for word in "$@"; do call+=("${word//\{\}/$line}"); done
        "${call[@]}" < /dev/null
    done
}

role() { # name or ARN
    local name=${1##*/} policy arn version
    [ -e "$part/aws/iam/get-role/$name.json" ] && return
    read_aws iam get-role "$name" --role-name "$name" || return
    read_aws iam list-attached-role-policies "$name" --role-name "$name"
    read_aws iam list-role-policies "$name" --role-name "$name"
    for policy in $(names iam list-role-policies 'PolicyNames[]' --role-name "$name"); do
        read_aws iam get-role-policy "$name.$policy" --role-name "$name" --policy-name "$policy"
    done
    for arn in $(names iam list-attached-role-policies 'AttachedPolicies[].PolicyArn' --role-name "$name"); do
        [ -e "$part/aws/iam/get-policy-version/${arn##*/}.json" ] && continue
        version=$(names iam get-policy Policy.DefaultVersionId --policy-arn "$arn")
        [ -n "$version" ] && read_aws iam get-policy-version "${arn##*/}" --policy-arn "$arn" --version-id "$version"
    done
}

instance_profile() { # name or ARN
    local name=${1##*/}
    read_aws iam get-instance-profile "$name" --instance-profile-name "$name" || return
    names iam get-instance-profile 'InstanceProfile.Roles[].RoleName' --instance-profile-name "$name" | each role '{}'
}

read_aws eks describe-cluster "$cluster" --name "$cluster" || exit 1
about=$(aws eks describe-cluster --name "$cluster" --query 'cluster.[arn,resourcesVpcConfig.vpcId,roleArn]' --output text)
IFS=$'\t' read -r arn vpc cluster_role <<< "$about"
IFS=: read -r _ partition _ region account _ <<< "$arn"
export AWS_REGION=$region AWS_DEFAULT_REGION=$region

read_aws sts get-caller-identity -

# EKS
for list in nodegroups fargate-profiles addons access-entries pod-identity-associations insights; do
    read_aws eks "list-$list" - --cluster-name "$cluster"
done
of_cluster=(--cluster-name "$cluster")
nodegroups=$(names eks list-nodegroups 'nodegroups[]' "${of_cluster[@]}")
each read_aws eks describe-nodegroup '{}' "${of_cluster[@]}" --nodegroup-name '{}' <<< "$nodegroups"
each read_aws eks describe-fargate-profile '{}' "${of_cluster[@]}" --fargate-profile-name '{}' \
    < <(names eks list-fargate-profiles 'fargateProfileNames[]' "${of_cluster[@]}")
each read_aws eks describe-addon '{}' "${of_cluster[@]}" --addon-name '{}' \
    < <(names eks list-addons 'addons[]' "${of_cluster[@]}")
each read_aws eks describe-access-entry '{}' "${of_cluster[@]}" --principal-arn '{}' \
    < <(names eks list-access-entries 'accessEntries[]' "${of_cluster[@]}")
each read_aws eks describe-pod-identity-association '{}' "${of_cluster[@]}" --association-id '{}' \
    < <(names eks list-pod-identity-associations 'associations[].associationId' "${of_cluster[@]}")

# EC2
of_vpc=(--filters "Name=vpc-id,Values=$vpc")
for list in vpcs subnets route-tables vpc-endpoints security-groups network-acls network-interfaces instances; do
    read_aws ec2 "describe-$list" - "${of_vpc[@]}"
done
read_aws ec2 describe-nat-gateways - --filter "Name=vpc-id,Values=$vpc"
read_aws ec2 describe-internet-gateways - --filters "Name=attachment.vpc-id,Values=$vpc"
for list in addresses availability-zones egress-only-internet-gateways vpc-peering-connections transit-gateways \
    transit-gateway-attachments transit-gateway-vpc-attachments transit-gateway-route-tables; do
    read_aws ec2 "describe-$list" -
done
for attribute in enableDnsSupport enableDnsHostnames; do
    read_aws ec2 describe-vpc-attribute "$vpc.$attribute" --vpc-id "$vpc" --attribute "$attribute"
done
options=$(names ec2 describe-vpcs 'Vpcs[].DhcpOptionsId' "${of_vpc[@]}" | grep '^dopt-')
[ -n "$options" ] && read_aws ec2 describe-dhcp-options - --dhcp-options-ids "$options"
groups=$(names ec2 describe-security-groups 'SecurityGroups[].GroupId' "${of_vpc[@]}" | paste -sd, -)
[ -n "$groups" ] && read_aws ec2 describe-security-group-rules - --filters "Name=group-id,Values=$groups"
each read_aws ec2 get-subnet-cidr-reservations '{}' --subnet-id '{}' \
    < <(names ec2 describe-subnets 'Subnets[].SubnetId' "${of_vpc[@]}")
lists=$({
    names ec2 describe-route-tables 'RouteTables[].Routes[].DestinationPrefixListId' "${of_vpc[@]}"
    for way in IpPermissions IpPermissionsEgress; do
        names ec2 describe-security-groups "SecurityGroups[].${way}[].PrefixListIds[].PrefixListId" "${of_vpc[@]}"
    done
} | sort -u)
if [ -n "$lists" ]; then
    read_aws ec2 describe-managed-prefix-lists - --filters "Name=prefix-list-id,Values=$(paste -sd, - <<< "$lists")"
    each read_aws ec2 get-managed-prefix-list-entries '{}' --prefix-list-id '{}' <<< "$lists"
fi
each read_aws ec2 search-transit-gateway-routes '{}' --transit-gateway-route-table-id '{}' \
    --filters Name=state,Values=active,blackhole \
    < <(names ec2 describe-transit-gateway-route-tables 'TransitGatewayRouteTables[].TransitGatewayRouteTableId')

# Auto Scaling groups, launch templates, instance types
scaling=$({
    names autoscaling describe-auto-scaling-groups 'AutoScalingGroups[].AutoScalingGroupName' \
        --filters "Name=tag-key,Values=kubernetes.io/cluster/$cluster"
    each names eks describe-nodegroup 'nodegroup.resources.autoScalingGroups[].name' "${of_cluster[@]}" \
        --nodegroup-name '{}' <<< "$nodegroups"
    names ec2 describe-instances "Reservations[].Instances[].Tags[?Key=='aws:autoscaling:groupName'][].Value" "${of_vpc[@]}"
} | sort -u)
if [ -n "$scaling" ]; then
    mapfile -t scaling <<< "$scaling"
    read_aws autoscaling describe-auto-scaling-groups - --auto-scaling-group-names "${scaling[@]}"
    for name in "${scaling[@]}"; do
        read_aws autoscaling describe-scaling-activities "$name" --auto-scaling-group-name "$name"
    done
else
    read_aws autoscaling describe-auto-scaling-groups - --filters "Name=tag-key,Values=kubernetes.io/cluster/$cluster"
fi
each read_aws ec2 describe-launch-template-versions '{}' --launch-template-id '{}' < <({
    each names eks describe-nodegroup nodegroup.launchTemplate.id "${of_cluster[@]}" --nodegroup-name '{}' <<< "$nodegroups"
    names ec2 describe-instances "Reservations[].Instances[].Tags[?Key=='aws:ec2launchtemplate:id'][].Value" "${of_vpc[@]}"
    [ -n "${scaling[*]}" ] && names autoscaling describe-auto-scaling-groups \
        'AutoScalingGroups[].[LaunchTemplate.LaunchTemplateId,MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.LaunchTemplateId][]' \
        --auto-scaling-group-names "${scaling[@]}"
} | sort -u)
types=$({
    names ec2 describe-instances 'Reservations[].Instances[].InstanceType' "${of_vpc[@]}"
    each names eks describe-nodegroup 'nodegroup.instanceTypes[]' "${of_cluster[@]}" --nodegroup-name '{}' <<< "$nodegroups"
} | sort -u)
if [ -n "$types" ]; then
    mapfile -t types <<< "$types"
    read_aws ec2 describe-instance-types - --instance-types "${types[@]}"
fi

# Load balancers of the VPC
for list in load-balancers target-groups account-limits; do
    read_aws elbv2 "describe-$list" -
done
while IFS=$'\t' read -r name arn; do
    [ -n "$arn" ] || continue
    read_aws elbv2 describe-listeners "$name" --load-balancer-arn "$arn" < /dev/null
    read_aws elbv2 describe-load-balancer-attributes "$name" --load-balancer-arn "$arn" < /dev/null
done < <(aws elbv2 describe-load-balancers --output text \
    --query "LoadBalancers[?VpcId=='$vpc'].[LoadBalancerName,LoadBalancerArn]" 2> /dev/null)
while IFS=$'\t' read -r name arn; do
    [ -n "$arn" ] || continue
    read_aws elbv2 describe-target-health "$name" --target-group-arn "$arn" < /dev/null
    read_aws elbv2 describe-target-group-attributes "$name" --target-group-arn "$arn" < /dev/null
done < <(aws elbv2 describe-target-groups --output text \
    --query "TargetGroups[?VpcId=='$vpc'].[TargetGroupName,TargetGroupArn]" 2> /dev/null)

# Kubernetes
custom='eniconfigs.crd.k8s.amazonaws.com securitygrouppolicies.vpcresources.k8s.aws cninodes.vpcresources.k8s.aws
targetgroupbindings.elbv2.k8s.aws ingressclassparams.elbv2.k8s.aws ec2nodeclasses.karpenter.k8s.aws
nodepools.karpenter.sh nodeclasses.eks.amazonaws.com'
read_k8s() { # plural, options...
    local plural=$1 file=$part/k8s/$1.json text code
    shift
    if kubectl get "$plural" "$@" --output json > "$file" 2> "$errors"; then
        # Of names that are not there kubectl prints nothing.
        [ -s "$file" ] || echo '{"apiVersion": "v1", "kind": "List", "items": []}' > "$file"
        return
    fi
    text=$(< "$errors")
    # A kind that the server does not know of has no object.
    if [[ $custom == *"$plural"* && $text == *"doesn't have a resource type"* ]]; then
        echo '{"apiVersion": "v1", "kind": "List", "items": []}' > "$file"
        return
    fi
    rm -f "$file"
    code=${text#*Error from server (}
    if [ "$code" = "$text" ]; then code=Failed; else code=${code%%)*}; fi
    fail "k8s:$plural" '' "$code" "$text"
}
roles=$({
    each names eks describe-nodegroup nodegroup.nodeRole "${of_cluster[@]}" --nodegroup-name '{}' <<< "$nodegroups"
    names eks list-addons 'addons[]' "${of_cluster[@]}" |
        each names eks describe-addon addon.serviceAccountRoleArn "${of_cluster[@]}" --addon-name '{}'
    names eks list-pod-identity-associations 'associations[].associationId' "${of_cluster[@]}" |
        each names eks describe-pod-identity-association association.roleArn "${of_cluster[@]}" --association-id '{}'
})
if [ -z "${NO_KUBERNETES:-}" ]; then
    mkdir -p "$part/k8s"
    for plural in nodes pods services endpointslices.discovery.k8s.io ingresses.networking.k8s.io \
        ingressclasses.networking.k8s.io networkpolicies.networking.k8s.io daemonsets.apps deployments.apps \
        serviceaccounts namespaces events poddisruptionbudgets.policy \
        mutatingwebhookconfigurations.admissionregistration.k8s.io \
        validatingwebhookconfigurations.admissionregistration.k8s.io $custom; do
        read_k8s "$plural" --all-namespaces
    done
    read_k8s configmaps --namespace kube-system --ignore-not-found \
        amazon-vpc-cni aws-auth coredns kube-proxy kube-proxy-config
    read_k8s clusterroles.rbac.authorization.k8s.io --ignore-not-found system:coredns
    roles+=$'\n'$(kubectl get serviceaccounts --all-namespaces \
        --output jsonpath='{range .items[*]}{.metadata.annotations.eks\.amazonaws\.com/role-arn}{"\n"}{end}' 2> /dev/null)
fi

# IAM: the roles of the cluster, its nodes, and its service accounts
{
    role "$cluster_role"
    while IFS= read -r arn; do
        [ -n "$arn" ] && role "$arn"
    done < <(sort -u <<< "$roles")
    each instance_profile '{}' \
        < <(names ec2 describe-instances 'Reservations[].Instances[].IamInstanceProfile.Arn' "${of_vpc[@]}")
    read_aws iam list-open-id-connect-providers -
    issuer=$(names eks describe-cluster cluster.identity.oidc.issuer --name "$cluster")
    provider=$(names iam list-open-id-connect-providers 'OpenIDConnectProviderList[].Arn' | grep -F "${issuer##*/}")
    if [ -n "$issuer" ] && [ -n "$provider" ]; then
        read_aws iam get-open-id-connect-provider "$provider" --open-id-connect-provider-arn "$provider"
    fi
} < /dev/null
while IFS= read -r key; do
    [[ -z $key || $key == *alias/* ]] || read_aws kms get-key-policy "$key" --key-id "$key" --policy-name default < /dev/null
done < <(for file in "$part"/aws/ec2/describe-launch-template-versions/*.json; do
    [ -e "$file" ] && sed -n 's/.*"KmsKeyId": "\([^"]*\)".*/\1/p' "$file"
done | sort -u)

{
    printf '{\n    "format": 1,\n    "cluster": %s,\n    "region": %s,\n    "account": %s,\n    "partition": %s,\n' \
        "$(quoted "$cluster")" "$(quoted "$region")" "$(quoted "$account")" "$(quoted "$partition")"
    printf '    "recordedAt": "%s",\n    "tool": "record.sh",\n    "failures": [' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    comma=''
    for failure in "${failures[@]+"${failures[@]}"}"; do
        printf '%s\n        %s' "$comma" "$failure"
        comma=,
    done
    [ -n "$comma" ] && printf '\n    '
    printf ']\n}\n'
} > "$part/manifest.json"
rmdir "$folder" 2> /dev/null
mv "$part" "$folder"
echo "$folder: $(find "$folder" -name '*.json' | wc -l) files, ${#failures[@]} reads failed"
