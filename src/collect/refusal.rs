//! Why a call gave no answer, in the words of the service.

use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::{ErrorMetadata, ProvideErrorMetadata};
use aws_smithy_xml::decode::{Document, try_data};

use super::aws::TRY;

/// What a service answers instead of an answer.
#[derive(Debug)]
pub(super) struct Refusal(ErrorMetadata);

impl Refusal {
    pub fn new(code: &str, message: &str) -> Refusal {
        Refusal(ErrorMetadata::builder().code(code).message(message).build())
    }

    pub fn of(response: &HttpResponse, body: &[u8]) -> Refusal {
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
    pub fn of(error: &SdkError<Refusal, HttpResponse>) -> Failed {
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

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

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
}
