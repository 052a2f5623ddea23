//! Whose credentials are used, and what to do when there are none that work.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;

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
    /// The role of `--role-arn` is not given.
    #[error(
        "the role {0} cannot be taken ({1}): its trust policy has to name who you are, and you need sts:AssumeRole on it"
    )]
    Role(String, String),
    /// The configuration names some, and they cannot be had.
    #[error("the AWS credentials cannot be had ({0}): look at the profile (--profile, AWS_PROFILE) and the network")]
    Credentials(String),
    /// The HTTP client.
    #[error("no HTTPS client: {0}")]
    Http(String),
}

/// Says what is wrong with credentials, and what to do about it.
pub(super) fn explain(access: &Access, error: &CredentialsError) -> AccessError {
    let text = super::told(error);
    // What AWS answers to a session that was ended is `UnauthorizedException`.
    let all = format!("{text} {error:?}");
    if ["SSO", "Sso", "/sso/", "UnauthorizedException"].iter().any(|word| all.contains(word)) {
        let profile = access.profile.clone().or_else(|| std::env::var("AWS_PROFILE").ok());
        return AccessError::Sso(profile.map_or_else(String::new, |p| format!(" --profile {p}")), text);
    }
    match error {
        CredentialsError::CredentialsNotLoaded(_) => AccessError::NoCredentials(text),
        _ => AccessError::Credentials(text),
    }
}

/// The error when no Region is known: a profile that is not there is the reason for it, too.
pub(super) fn no_region(access: &Access, credentials: Result<Credentials, CredentialsError>) -> AccessError {
    match credentials {
        Err(error) if super::told(&error).contains("was not defined") => explain(access, &error),
        _ => AccessError::NoRegion,
    }
}
