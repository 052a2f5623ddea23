//! Calling AWS: credentials, endpoints, signing, retries and pages. Only what reads can be called.
//!
//! The calls run on the runtime of the AWS SDK for Rust (its credentials, signer, retries, time limits and HTTP
//! client), without its generated clients: a recording has to hold what the AWS CLI prints, which their types do not
//! keep, and `aws-sdk-ec2` alone takes 8 GB and ten minutes to compile.

use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{self, SigV4AuthScheme};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector, tls};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::auth::SharedAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::auth::{AuthSchemeOptionResolverParams, SharedAuthScheme};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_smithy_types::retry::{RetryConfig, RetryMode};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_smithy_xml::decode::{Document, try_data};
use aws_types::SigningName;
use aws_types::region::{Region, SigningRegion};
use aws_types::service_config::ServiceConfigKey;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::{Answer, model};
use crate::snapshot::Failure;

/// What is left as it is in a URL (RFC 3986, unreserved).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one try of a call may take.
const TRY: Duration = Duration::from_secs(20);
/// How long a call may take with all its tries.
const CALL: Duration = Duration::from_secs(90);
/// How often a call is tried, when the configuration does not ask for more.
const TRIES: u32 = 8;

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

    /// The service id, by which `AWS_ENDPOINT_URL_<ID>` and profiles name it.
    fn id(self) -> &'static str {
        match self {
            Service::Autoscaling => "Auto Scaling",
            Service::Ec2 => "EC2",
            Service::Eks => "EKS",
            Service::Elbv2 => "Elastic Load Balancing v2",
            Service::Iam => "IAM",
            Service::Kms => "KMS",
            Service::Sts => "STS",
        }
    }
}

/// A partition of AWS: its name, how its Regions begin, its domain, and where its IAM is.
struct Partition {
    name: &'static str,
    regions: &'static str,
    domain: &'static str,
    iam: &'static str,
    iam_region: &'static str,
}

/// From botocore's `partitions.json` and the endpoint rules of IAM. The first is for Regions that no other has.
const PARTITIONS: [Partition; 8] = [
    Partition { name: "aws", regions: "", domain: "amazonaws.com", iam: "iam.amazonaws.com", iam_region: "us-east-1" },
    Partition {
        name: "aws-cn",
        regions: "cn-",
        domain: "amazonaws.com.cn",
        iam: "iam.cn-north-1.amazonaws.com.cn",
        iam_region: "cn-north-1",
    },
    Partition {
        name: "aws-us-gov",
        regions: "us-gov-",
        domain: "amazonaws.com",
        iam: "iam.us-gov.amazonaws.com",
        iam_region: "us-gov-west-1",
    },
    Partition {
        name: "aws-iso",
        regions: "us-iso-",
        domain: "c2s.ic.gov",
        iam: "iam.us-iso-east-1.c2s.ic.gov",
        iam_region: "us-iso-east-1",
    },
    Partition {
        name: "aws-iso-b",
        regions: "us-isob-",
        domain: "sc2s.sgov.gov",
        iam: "iam.us-isob-east-1.sc2s.sgov.gov",
        iam_region: "us-isob-east-1",
    },
    Partition {
        name: "aws-iso-e",
        regions: "eu-isoe-",
        domain: "cloud.adc-e.uk",
        iam: "iam.eu-isoe-west-1.cloud.adc-e.uk",
        iam_region: "eu-isoe-west-1",
    },
    Partition {
        name: "aws-iso-f",
        regions: "us-isof-",
        domain: "csp.hci.ic.gov",
        iam: "iam.us-isof-south-1.csp.hci.ic.gov",
        iam_region: "us-isof-south-1",
    },
    Partition {
        name: "aws-eusc",
        regions: "eusc-",
        domain: "amazonaws.eu",
        iam: "iam.eusc-de-east-1.amazonaws.eu",
        iam_region: "eusc-de-east-1",
    },
];

fn partition(region: &str) -> &'static Partition {
    PARTITIONS[1..].iter().find(|p| region.starts_with(p.regions)).unwrap_or(&PARTITIONS[0])
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
    fn first_page_only(&self) -> bool {
        self.operation == "DescribeScalingActivities"
    }

    fn http(&self, token: Option<&str>) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
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

    fn answer(&self, response: &HttpResponse) -> Result<Answer, OrchestratorError<Refusal>> {
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

/// What a service answers instead of an answer.
#[derive(Debug)]
pub(super) struct Refusal(ErrorMetadata);

impl Refusal {
    fn new(code: &str, message: &str) -> Refusal {
        Refusal(ErrorMetadata::builder().code(code).message(message).build())
    }

    fn of(response: &HttpResponse, body: &[u8]) -> Refusal {
        let text = String::from_utf8_lossy(body);
        let (mut code, mut message) = (None, None);
        if text.trim_start().starts_with('{') {
            let body: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let named = |keys: &[&str]| keys.iter().find_map(|key| Some(body.get(key)?.as_str()?.to_owned()));
            let header = response.headers().get("x-amzn-errortype").map(str::to_owned);
            let name = header.or_else(|| named(&["__type", "code"]));
            code = name.map(|n| n.rsplit('#').next().unwrap_or(&n).split(':').next().unwrap_or(&n).to_owned());
            message = named(&["message", "Message"]);
        } else {
            let mut document = Document::new(&text);
            while let Some(element) = document.next_start_element() {
                let place = match element.local() {
                    "Code" if code.is_none() => &mut code,
                    "Message" if message.is_none() => &mut message,
                    _ => continue,
                };
                *place = try_data(&mut document).ok().map(|text| text.trim().to_owned());
            }
        }
        let status = response.status().as_u16();
        let code = code.filter(|c| !c.is_empty()).unwrap_or_else(|| format!("Http{status}"));
        Refusal::new(&code, &message.unwrap_or_else(|| "the answer does not say more".to_owned()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl std::error::Error for Refusal {}
impl ProvideErrorMetadata for Refusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub code: String,
    pub message: String,
}

impl Failed {
    fn of(error: &SdkError<Refusal, HttpResponse>) -> Failed {
        let (code, message) = match error {
            SdkError::ServiceError(refused) => {
                let meta = refused.err().meta();
                (meta.code().unwrap_or("Error"), meta.message().unwrap_or_default().to_owned())
            }
            SdkError::TimeoutError(_) => ("TimedOut", format!("no answer within {} seconds", TRY.as_secs())),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                ("TimedOut", "no connection in time".to_owned())
            }
            SdkError::DispatchFailure(failure) if failure.as_connector_error().is_some() => {
                ("NoConnection", super::told(error))
            }
            other => ("Failed", super::told(other)),
        };
        Failed { code: code.to_owned(), message }
    }

    /// The credentials may not do this.
    pub fn denied(&self) -> bool {
        [
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "AuthorizationError",
            "Client.UnauthorizedOperation",
        ]
        .contains(&self.code.as_str())
    }

    /// The credentials are no credentials (any more).
    pub fn no_credentials(&self) -> bool {
        [
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ]
        .contains(&self.code.as_str())
    }
}

/// Which credentials, where.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub profile: Option<String>,
    pub region: Option<String>,
    /// A role to take.
    pub role_arn: Option<String>,
}

/// No way to call AWS.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Neither argument, environment nor profile names one.
    #[error("no AWS Region: give --region, or set AWS_REGION, or `region` in the profile")]
    NoRegion,
    /// Nothing in the default chain has any.
    #[error(
        "no AWS credentials: log in (`aws sso login`, `aws configure`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give --profile ({0})"
    )]
    NoCredentials(String),
    /// The SSO session is over.
    #[error("the AWS SSO session is over or was never begun: run `aws sso login{0}` and try again ({1})")]
    Sso(String, String),
    /// There are some, and they do not work.
    #[error("the AWS credentials do not work: {0}")]
    Credentials(String),
    /// The HTTP client.
    #[error("no HTTPS client: {0}")]
    Http(String),
}

/// A connection to the AWS APIs of one Region.
#[derive(Debug, Clone)]
pub(super) struct Aws {
    pub region: String,
    config: SdkConfig,
    http: SharedHttpClient,
    provider: SharedCredentialsProvider,
}

impl Aws {
    pub async fn connect(access: &Access) -> Result<Aws, AccessError> {
        let http = http_client();
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(http.clone());
        if let Some(profile) = &access.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &access.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let config = loader.load().await;
        let region =
            config.region().map(|r| r.as_ref().to_owned()).filter(|r| !r.is_empty()).ok_or(AccessError::NoRegion)?;
        let mut provider =
            config.credentials_provider().ok_or_else(|| AccessError::NoCredentials("none".to_owned()))?;
        if let Some(role) = &access.role_arn {
            let assumed = aws_config::sts::AssumeRoleProvider::builder(role.clone())
                .session_name("eks-doctor")
                .configure(&config);
            provider = SharedCredentialsProvider::new(assumed.build().await);
        }
        provider.provide_credentials().await.map_err(|error| explain(access, &error))?;
        Ok(Aws { region, config, http, provider })
    }

    pub fn partition(&self) -> &'static str {
        partition(&self.region).name
    }

    /// The credentials, as they are now.
    pub async fn credentials(&self) -> Result<Credentials, Failed> {
        let failed = |e| Failed { code: "NoCredentials".to_owned(), message: super::told(&e) };
        self.provider.provide_credentials().await.map_err(failed)
    }

    /// Where a service is, and the Region of its signatures.
    pub fn endpoint(&self, service: Service) -> (String, String) {
        let region = self.region.as_str();
        let partition = partition(region);
        let signed = if service == Service::Iam { partition.iam_region } else { region };
        let key = ServiceConfigKey::builder()
            .service_id(service.id())
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let given = key.ok().and_then(|key| self.config.service_config()?.load_config(key));
        if let Some(url) = given.or_else(|| self.config.endpoint_url().map(str::to_owned)) {
            return (url, signed.to_owned());
        }
        let fips = self.config.use_fips().unwrap_or(false);
        let host = match (service, fips) {
            (Service::Iam, false) => partition.iam.to_owned(),
            (Service::Iam, true) => partition.iam.replacen("iam.", "iam-fips.", usize::from(partition.name == "aws")),
            // In GovCloud these are FIPS endpoints under their usual names.
            (Service::Eks, true) if partition.name == "aws" => format!("fips.eks.{region}.{}", partition.domain),
            (Service::Kms, true) => format!("kms-fips.{region}.{}", partition.domain),
            (service, true) if partition.name == "aws" => {
                format!("{}-fips.{region}.{}", service.prefix(), partition.domain)
            }
            (service, _) => format!("{}.{region}.{}", service.prefix(), partition.domain),
        };
        (format!("https://{host}"), signed.to_owned())
    }

    /// Every page of a read; all of them or none. Returns how many there were.
    pub async fn call(&self, call: &Call) -> Result<(Answer, usize), Failed> {
        match self.pages(call).await {
            // A page token goes stale when the list changes or time passes: once more from the first page.
            Err((failed, page)) if page > 0 && !failed.denied() => self.pages(call).await.map_err(|(failed, _)| failed),
            Err((failed, _)) => Err(failed),
            Ok(answer) => Ok(answer),
        }
    }

    async fn pages(&self, call: &Call) -> Result<(Answer, usize), (Failed, usize)> {
        let operation = self.operation(call);
        let mut answer = Answer::default();
        let (mut token, mut count) = (None, 0);
        loop {
            let page = operation.invoke(token.clone()).await.map_err(|error| (Failed::of(&error), count))?;
            count += 1;
            let next = page.next_page().filter(|next| !call.first_page_only() && Some(next) != token.as_ref());
            answer.extend(page);
            if next.is_none() {
                return Ok((answer, count));
            }
            token = next;
        }
    }

    fn operation(&self, call: &Call) -> Operation<Option<String>, Answer, Refusal> {
        let (endpoint, region) = self.endpoint(call.service);
        let mut layer = Layer::new("eks-doctor");
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SigningName::from_static(call.service.prefix()));
        layer.store_put(SigningRegion::from(Region::new(region)));
        layer.store_put(SigV4OperationSigningConfig::default());
        let mut components = RuntimeComponentsBuilder::new("eks-doctor");
        let schemes = StaticAuthSchemeOptionResolver::new(vec![sigv4::SCHEME_ID]);
        components.set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(schemes)));
        components.push_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()));
        components.set_identity_cache(self.config.identity_cache());
        components.set_identity_resolver(sigv4::SCHEME_ID, SharedIdentityResolver::new(self.provider.clone()));
        let (asked, answered) = (call.clone(), call.clone());
        Operation::builder()
            // Throttling is counted by action, so one that is throttled does not slow the others.
            .service_name(call.read())
            .operation_name(call.operation)
            .endpoint_url(&endpoint)
            .http_client(self.http.clone())
            .sleep_impl(TokioSleep::new())
            .time_source(SystemTimeSource::new())
            .standard_retry(&self.retries())
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(TransientErrorClassifier::<Refusal>::new())
            .retry_classifier(AwsErrorCodeClassifier::<Refusal>::new())
            .timeout_config(timeouts())
            .runtime_plugin(StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components))
            .serializer(move |token: Option<String>| asked.http(token.as_deref()))
            .deserializer(move |response| answered.answer(response))
            .build()
    }

    /// Adaptive, unless the configuration wants another way.
    fn retries(&self) -> RetryConfig {
        let given = self.config.retry_config().cloned().unwrap_or_else(RetryConfig::standard);
        let tries = given.max_attempts().max(TRIES);
        let mode = if std::env::var_os("AWS_RETRY_MODE").is_some() { given.mode() } else { RetryMode::Adaptive };
        given
            .with_retry_mode(mode)
            .with_max_attempts(tries)
            .with_initial_backoff(Duration::from_millis(200))
            .with_max_backoff(Duration::from_secs(5))
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(TRY).operation_timeout(CALL).build()
}

/// One client for all calls: connections are used again. Proxies are those of the environment.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder();
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build()
    })
}

/// Says what is wrong with credentials, and what to do about it.
fn explain(access: &Access, error: &CredentialsError) -> AccessError {
    let text = super::told(error);
    let all = format!("{error:?}");
    if all.contains("Sso") || all.contains("sso") {
        let profile = access.profile.clone().or_else(|| std::env::var("AWS_PROFILE").ok());
        return AccessError::Sso(profile.map_or_else(String::new, |p| format!(" --profile {p}")), text);
    }
    match error {
        CredentialsError::CredentialsNotLoaded(_) => AccessError::NoCredentials(text),
        _ => AccessError::Credentials(text),
    }
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

    #[test]
    fn refusals_say_code_and_message() {
        let refusal = |status: u16, kind: Option<&str>, body: &'static str| {
            let mut response = http::Response::builder().status(status);
            if let Some(kind) = kind {
                response = response.header("x-amzn-errortype", kind);
            }
            let response = HttpResponse::try_from(response.body(SdkBody::from(body)).unwrap()).unwrap();
            let Refusal(meta) = Refusal::of(&response, body.as_bytes());
            (meta.code().unwrap().to_owned(), meta.message().unwrap().to_owned())
        };
        let told = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        let ec2 = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no &lt;you&gt;</Message></Error></Errors></Response>";
        assert_eq!(refusal(403, None, ec2), told("UnauthorizedOperation", "no <you>"));
        let eks = r#"{"message": "No cluster found"}"#;
        assert_eq!(
            refusal(404, Some("ResourceNotFoundException:http://x"), eks),
            told("ResourceNotFoundException", "No cluster found")
        );
        let kms = r#"{"__type": "com.amazonaws.kms#NotFoundException", "Message": "gone"}"#;
        assert_eq!(refusal(400, None, kms), told("NotFoundException", "gone"));
        assert_eq!(refusal(502, None, "<html>bad</html>").0, "Http502");
    }

    #[test]
    fn regions_lie_in_partitions() {
        for (region, name, domain) in [
            ("us-west-2", "aws", "amazonaws.com"),
            ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-east-1", "aws-us-gov", "amazonaws.com"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ] {
            assert_eq!((partition(region).name, partition(region).domain), (name, domain));
        }
    }
}
