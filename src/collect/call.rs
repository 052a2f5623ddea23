//! One read of AWS: the operation, what it is asked about, how that is sent, and how its answer is read. Only what
//! reads can be called.

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_types::body::SdkBody;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::{Answer, model};
use super::refusal::Refusal;
use crate::snapshot::Failure;

/// What is left as it is in a URL (RFC 3986, unreserved).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A service of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Service {
    Autoscaling,
    Ec2,
    Eks,
    Elbv2,
    Iam,
    Kms,
    Sts,
}

impl Service {
    /// As the AWS CLI calls it.
    pub fn name(self) -> &'static str {
        match self {
            Service::Autoscaling => "autoscaling",
            Service::Ec2 => "ec2",
            Service::Eks => "eks",
            Service::Elbv2 => "elbv2",
            Service::Iam => "iam",
            Service::Kms => "kms",
            Service::Sts => "sts",
        }
    }

    /// As IAM, endpoints and signatures call it.
    pub fn prefix(self) -> &'static str {
        match self {
            Service::Elbv2 => "elasticloadbalancing",
            other => other.name(),
        }
    }

    /// The service id, by which `AWS_ENDPOINT_URL_<ID>` and the `services` of a profile name it, with `_` for spaces.
    pub fn id(self) -> &'static str {
        match self {
            Service::Autoscaling => "Auto_Scaling",
            Service::Ec2 => "EC2",
            Service::Eks => "EKS",
            Service::Elbv2 => "Elastic_Load_Balancing_v2",
            Service::Iam => "IAM",
            Service::Kms => "KMS",
            Service::Sts => "STS",
        }
    }
}

/// What a call says to its service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Request {
    /// Parameters of a form (EC2 and the other services of the query protocol).
    Form(Vec<(String, String)>),
    /// A path (EKS); `POST` for the one list that wants it.
    Path { post: bool, path: String },
    /// JSON (KMS).
    Json(String),
}

/// One read: an operation and what it is asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    pub service: Service,
    /// As the API calls it (`DescribeVpcs`).
    pub operation: &'static str,
    /// What it is asked about, where the operation is asked once for each.
    pub argument: Option<String>,
    pub request: Request,
}

impl Call {
    pub fn form(service: Service, operation: &'static str) -> Call {
        Call { service, operation, argument: None, request: Request::Form(Vec::new()) }
    }

    pub fn ec2(operation: &'static str) -> Call {
        Call::form(Service::Ec2, operation)
    }

    pub fn iam(operation: &'static str, argument: &str, parameters: &[(&str, &str)]) -> Call {
        let call = Call::form(Service::Iam, operation).about(argument);
        parameters.iter().fold(call, |call, (key, value)| call.with(key, value))
    }

    /// A read of EKS below a cluster: `["node-groups", "blue"]`.
    pub fn eks(operation: &'static str, cluster: &str, below: &[&str]) -> Call {
        let mut path = format!("/clusters/{}", encoded(cluster));
        for part in below {
            path.push('/');
            path.push_str(&encoded(part));
        }
        let post = operation == "ListInsights";
        Call { service: Service::Eks, operation, argument: None, request: Request::Path { post, path } }
    }

    /// The clusters of the Region.
    pub fn clusters() -> Call {
        let request = Request::Path { post: false, path: "/clusters".to_owned() };
        Call { service: Service::Eks, operation: "ListClusters", argument: None, request }
    }

    pub fn about(mut self, argument: &str) -> Call {
        self.argument = Some(argument.to_owned());
        self
    }

    pub fn with(mut self, key: &str, value: &str) -> Call {
        if let Request::Form(parameters) = &mut self.request {
            parameters.push((key.to_owned(), value.to_owned()));
        }
        self
    }

    /// A list of values: `VpcId.1`, `VpcId.2` ... (`member` between them for services other than EC2).
    pub fn list<S: AsRef<str>>(self, key: &str, values: &[S]) -> Call {
        let member = if self.service == Service::Ec2 { "" } else { ".member" };
        values.iter().enumerate().fold(self, |call, (i, v)| call.with(&format!("{key}{member}.{}", i + 1), v.as_ref()))
    }

    /// A filter: the values of which one must match.
    pub fn filter<S: AsRef<str>>(self, name: &str, values: &[S]) -> Call {
        let key = if self.service == Service::Ec2 { "Filter" } else { "Filters.member" };
        let number = match &self.request {
            Request::Form(parameters) => {
                parameters.iter().filter(|(k, _)| k.starts_with(key) && k.ends_with(".Name")).count() + 1
            }
            _ => 1,
        };
        let key = format!("{key}.{number}");
        let values_key = if self.service == Service::Ec2 { "Value" } else { "Values" };
        self.with(&format!("{key}.Name"), name).list(&format!("{key}.{values_key}"), values)
    }

    /// As IAM spells it: `ec2:DescribeVpcs`.
    pub fn read(&self) -> String {
        format!("{}:{}", self.service.prefix(), self.operation)
    }

    /// As the CLI spells it: `ec2/describe-vpcs`.
    pub fn path(&self) -> String {
        let mut path = format!("{}/", self.service.name());
        let letters: Vec<char> = self.operation.chars().collect();
        for (i, &letter) in letters.iter().enumerate() {
            let before = i.checked_sub(1).and_then(|i| letters.get(i));
            let inner =
                before.is_some_and(|b| !b.is_uppercase() || letters.get(i + 1).is_some_and(|n| n.is_lowercase()));
            if letter.is_uppercase() && inner {
                path.push('-');
            }
            path.extend(letter.to_lowercase());
        }
        path
    }

    /// The name of the answer's file, where the operation is asked once for each argument.
    pub fn file(&self) -> Option<String> {
        let argument = self.argument.as_deref()?;
        // Of an inline policy, the role and the policy.
        Some(if self.operation == "GetRolePolicy" { argument.replace('/', ".") } else { argument.to_owned() })
    }

    pub fn failure(&self, code: &str, message: &str) -> Failure {
        let (code, message) = (code.to_owned(), message.to_owned());
        // Rules know an association by its service account.
        let argument = self.argument.clone().filter(|_| self.operation != "DescribePodIdentityAssociation");
        Failure { operation: self.read(), argument, code, message }
    }

    /// How the operation is asked for a page, and the most that it gives at once. The others answer in one piece, or
    /// do not take a size together with ids.
    fn page_size(&self) -> Option<(&'static str, u32)> {
        match (self.service, self.operation) {
            (Service::Ec2, "DescribeRouteTables" | "DescribeManagedPrefixLists" | "GetManagedPrefixListEntries") => {
                Some(("MaxResults", 100))
            }
            (Service::Ec2, "DescribeLaunchTemplateVersions") => Some(("MaxResults", 200)),
            (Service::Ec2, "DescribeEgressOnlyInternetGateways") => Some(("MaxResults", 255)),
            (
                Service::Ec2,
                "DescribeAddresses"
                | "DescribeAvailabilityZones"
                | "DescribeInstanceTypes"
                | "DescribeVpcAttribute"
                | "SearchTransitGatewayRoutes",
            ) => None,
            (Service::Ec2, _) => Some(("MaxResults", 1000)),
            (Service::Autoscaling, _) => Some(("MaxRecords", 100)),
            (
                Service::Elbv2,
                "DescribeLoadBalancers" | "DescribeTargetGroups" | "DescribeListeners" | "DescribeAccountLimits",
            ) => Some(("PageSize", 400)),
            (Service::Iam, "ListAttachedRolePolicies" | "ListRolePolicies") => Some(("MaxItems", 1000)),
            (Service::Eks, operation) if operation.starts_with("List") => Some(("maxResults", 100)),
            _ => None,
        }
    }

    /// By which key the objects of the answer are sorted in a recording: AWS gives them in no order.
    pub fn id(&self) -> Option<&'static str> {
        Some(match self.operation {
            "DescribeAddresses" => "AllocationId",
            "DescribeAutoScalingGroups" => "AutoScalingGroupName",
            "DescribeAvailabilityZones" => "ZoneName",
            "DescribeDhcpOptions" => "DhcpOptionsId",
            "DescribeEgressOnlyInternetGateways" => "EgressOnlyInternetGatewayId",
            "DescribeInstanceTypes" => "InstanceType",
            "DescribeInstances" => "ReservationId",
            "DescribeInternetGateways" => "InternetGatewayId",
            "DescribeLaunchTemplateVersions" => "VersionNumber",
            "DescribeManagedPrefixLists" => "PrefixListId",
            "DescribeNatGateways" => "NatGatewayId",
            "DescribeNetworkAcls" => "NetworkAclId",
            "DescribeNetworkInterfaces" => "NetworkInterfaceId",
            "DescribeRouteTables" => "RouteTableId",
            "DescribeScalingActivities" => "StartTime",
            "DescribeSecurityGroupRules" => "SecurityGroupRuleId",
            "DescribeSecurityGroups" => "GroupId",
            "DescribeSubnets" => "SubnetId",
            "DescribeTransitGatewayAttachments" | "DescribeTransitGatewayVpcAttachments" => {
                "TransitGatewayAttachmentId"
            }
            "DescribeTransitGatewayRouteTables" => "TransitGatewayRouteTableId",
            "DescribeTransitGateways" => "TransitGatewayId",
            "DescribeVpcEndpoints" => "VpcEndpointId",
            "DescribeVpcPeeringConnections" => "VpcPeeringConnectionId",
            "DescribeVpcs" => "VpcId",
            "SearchTransitGatewayRoutes" => "DestinationCidrBlock",
            "GetManagedPrefixListEntries" => "Cidr",
            _ => return None,
        })
    }

    /// Whether the first page is all that is wanted: of activities, the latest hundred.
    pub fn first_page_only(&self) -> bool {
        self.operation == "DescribeScalingActivities"
    }

    pub fn http(&self, token: Option<&str>) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
        let paging = self.page_size().map(|(key, size)| (key.to_owned(), size.to_string()));
        let token = token.map(|token| {
            let key = match self.service {
                Service::Elbv2 | Service::Iam => "Marker",
                Service::Eks => "nextToken",
                _ => "NextToken",
            };
            (key.to_owned(), token.to_owned())
        });
        let paging = paging.into_iter().chain(token);
        let (method, uri, content, body) = match &self.request {
            Request::Form(parameters) => {
                let fixed = [("Action", self.operation), ("Version", model(self.service.name()).version)];
                let fixed = fixed.map(|(k, v)| (k.to_owned(), v.to_owned()));
                let body = form(fixed.into_iter().chain(parameters.iter().cloned()).chain(paging));
                ("POST", "/".to_owned(), "application/x-www-form-urlencoded", body)
            }
            Request::Path { post: true, path } => {
                let number =
                    |text: String| text.parse::<u32>().map_or_else(|_| text.clone().into(), serde_json::Value::from);
                let body: serde_json::Map<_, _> = paging.map(|(k, v)| (k, number(v))).collect();
                ("POST", path.clone(), "application/json", serde_json::Value::Object(body).to_string())
            }
            Request::Path { post: false, path } => {
                let query = form(paging);
                let uri = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
                ("GET", uri, "", String::new())
            }
            Request::Json(body) => ("POST", "/".to_owned(), "application/x-amz-json-1.1", body.clone()),
        };
        let mut request = http::Request::builder().method(method).uri(uri);
        request = request.header("user-agent", concat!("eks-doctor/", env!("CARGO_PKG_VERSION")));
        if !content.is_empty() {
            request = request.header("content-type", content);
        }
        if self.service == Service::Kms {
            request = request.header("x-amz-target", format!("TrentService.{}", self.operation));
        }
        Ok(HttpRequest::try_from(request.body(SdkBody::from(body))?)?)
    }

    pub fn answer(&self, response: &HttpResponse) -> Result<Answer, OrchestratorError<Refusal>> {
        let body = response.body().bytes().unwrap_or_default();
        if !response.status().is_success() {
            return Err(OrchestratorError::operation(Refusal::of(response, body)));
        }
        let answer = match self.service {
            Service::Eks | Service::Kms => Answer::from_json(self.service.name(), self.operation, body),
            other => Answer::from_xml(other.name(), self.operation, body),
        };
        answer.map_err(|garbled| OrchestratorError::operation(Refusal::new("UnreadableAnswer", &garbled.to_string())))
    }
}

pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn form(parameters: impl Iterator<Item = (String, String)>) -> String {
    let pairs: Vec<String> = parameters.map(|(key, value)| format!("{}={}", encoded(&key), encoded(&value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_called_as_the_cli_calls_them() {
        for (service, operation, path) in [
            (Service::Ec2, "DescribeVpcs", "ec2/describe-vpcs"),
            (Service::Ec2, "GetSubnetCidrReservations", "ec2/get-subnet-cidr-reservations"),
            (Service::Iam, "ListOpenIDConnectProviders", "iam/list-open-id-connect-providers"),
            (Service::Elbv2, "DescribeTargetHealth", "elbv2/describe-target-health"),
        ] {
            assert_eq!(Call::form(service, operation).path(), path);
        }
    }

    #[test]
    fn a_request_asks_for_pages_and_filters() {
        let call = Call::ec2("DescribeSubnets").filter("vpc-id", &["vpc-1"]).filter("state", &["a", "b c"]);
        let request = call.http(Some("to/ken")).unwrap();
        let body = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
        assert_eq!(
            body,
            "Action=DescribeSubnets&Version=2016-11-15&Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1&Filter.2.Name=state\
             &Filter.2.Value.1=a&Filter.2.Value.2=b%20c&MaxResults=1000&NextToken=to%2Fken"
        );
        let call = Call::form(Service::Autoscaling, "DescribeAutoScalingGroups").filter("tag-key", &["k"]);
        let request = call.http(None).unwrap();
        let body = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
        assert!(body.contains("&Filters.member.1.Name=tag-key&Filters.member.1.Values.member.1=k&"), "{body}");
        let call = Call::eks("DescribeAccessEntry", "prod", &["access-entries", "arn:aws:iam::1:role/a/b"]);
        let request = call.http(None).unwrap();
        assert_eq!(request.uri(), "/clusters/prod/access-entries/arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%2Fb");
        let request = Call::eks("ListInsights", "prod", &["insights"]).http(Some("t")).unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.body().bytes().unwrap(), br#"{"maxResults":100,"nextToken":"t"}"#);
    }
}
