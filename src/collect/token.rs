//! The bearer token for a cluster's API, made as `aws eks get-token` makes it: a presigned call of
//! `sts:GetCallerIdentity` that carries the cluster's name.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What the URL says it is good for, as the AWS CLI has it; the cluster takes it for 15 minutes.
const EXPIRES: Duration = Duration::from_secs(60);

/// No URL could be signed.
#[derive(Debug, thiserror::Error)]
#[error("no token for the cluster's API: {0}")]
pub(super) struct TokenError(String);

/// The token for `cluster`, by credentials and the STS endpoint of the cluster's Region.
pub(super) fn token(
    credentials: &Credentials,
    cluster: &str,
    region: &str,
    sts: &str,
    now: SystemTime,
) -> Result<String, TokenError> {
    let failed = |error: &dyn std::fmt::Display| TokenError(error.to_string());
    let url = format!("{}/?Action=GetCallerIdentity&Version=2011-06-15", sts.trim_end_matches('/'));
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|e| failed(&e))?;
    let headers = [("x-k8s-aws-id", cluster)].into_iter();
    let request =
        SignableRequest::new("GET", url.as_str(), headers, SignableBody::Bytes(&[])).map_err(|e| failed(&e))?;
    let (instructions, _) = sign(request, &parameters.into()).map_err(|e| failed(&e))?.into_parts();
    let mut signed = url;
    for (key, value) in instructions.params() {
        signed += &format!("&{key}={}", super::call::encoded(value));
    }
    Ok(format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(signed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected URL was made with botocore's `RequestSigner.generate_presigned_url`, as the AWS CLI does.
    #[test]
    fn the_token_is_the_one_of_the_aws_cli() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("session/token+=".to_owned()), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let made = token(&credentials, "prod", "us-west-2", "https://sts.us-west-2.amazonaws.com", now).unwrap();
        let url = made.strip_prefix("k8s-aws-v1.").unwrap();
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(url).unwrap()).unwrap();
        let expected = "https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20231114%2Fus-west-2%2Fsts%2Faws4_request&X-Amz-Date=20231114T221320Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Security-Token=session%2Ftoken%2B%3D&X-Amz-Signature=78ebfb9966e1cdad01960f7de4010307832ec094f44026cd678d591c14debf55";
        let parts = |url: &str| {
            let mut parts: Vec<String> = url.split(['?', '&']).map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert_eq!(parts(&url), parts(expected));
    }
}
