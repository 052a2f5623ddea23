//! Calling AWS: signing, retries, time limits and pages.
//!
//! The calls run on the runtime of the AWS SDK for Rust (its credentials, signer, retries, time limits and HTTP
//! client), without its generated clients: a recording has to hold what the AWS CLI prints, which their types do not
//! keep, and `aws-sdk-ec2` alone takes 8 GB and ten minutes to compile.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
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
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::retry::{RetryConfig, RetryMode};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::{Region, SigningRegion};
use aws_types::service_config::ServiceConfigKey;

use super::answer::Answer;
use super::call::{Call, Service};
use super::credentials::{Access, AccessError, explain, no_region};
use super::endpoint;
use super::refusal::{Failed, Refusal};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one try of a call may take.
pub(super) const TRY: Duration = Duration::from_secs(20);
/// How long a call may take with all its tries.
const CALL: Duration = Duration::from_secs(90);
/// How often a call is tried, when the configuration does not ask for more.
const TRIES: u32 = 8;

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
        let mut provider =
            config.credentials_provider().ok_or_else(|| AccessError::NoCredentials("none".to_owned()))?;
        let credentials = provider.provide_credentials().await;
        let Some(region) = config.region().map(|r| r.as_ref().to_owned()).filter(|r| !r.is_empty()) else {
            return Err(no_region(access, credentials));
        };
        credentials.map_err(|error| explain(access, &error))?;
        if let Some(role) = &access.role_arn {
            let assumed = aws_config::sts::AssumeRoleProvider::builder(role.clone())
                .session_name("eks-doctor")
                .configure(&config);
            provider = SharedCredentialsProvider::new(assumed.build().await);
            let refused = |error| AccessError::Role(role.clone(), super::told(&error));
            provider.provide_credentials().await.map_err(refused)?;
        }
        Ok(Aws { region, config, http, provider })
    }

    pub fn partition(&self) -> &'static str {
        endpoint::partition(&self.region)
    }

    /// The credentials, as they are now.
    pub async fn credentials(&self) -> Result<Credentials, Failed> {
        let failed = |e| Failed { code: "NoCredentials".to_owned(), message: super::told(&e) };
        self.provider.provide_credentials().await.map_err(failed)
    }

    /// Where a service is, and the Region of its signatures.
    pub fn endpoint(&self, service: Service) -> (String, String) {
        self.place(service, self.config.use_dual_stack() == Some(true))
    }

    /// The STS that a cluster's token names. The cluster asks it, not this machine, and knows the usual hosts.
    pub fn token_endpoint(&self) -> (String, String) {
        self.place(Service::Sts, false)
    }

    fn place(&self, service: Service, dual_stack: bool) -> (String, String) {
        let key = ServiceConfigKey::builder()
            .service_id(service.id())
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let given = key.ok().and_then(|key| self.config.service_config()?.load_config(key));
        let given = given.or_else(|| self.config.endpoint_url().map(str::to_owned));
        let fips = self.config.use_fips() == Some(true);
        let host = || endpoint::host(service, &self.region, fips, dual_stack);
        let url = given.unwrap_or_else(|| format!("https://{}", host()));
        (url, endpoint::signing_region(service, &self.region).to_owned())
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
