//! A JSON body that is parsed into types at the edge, or refused with a pointer to what is wrong.

use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::ApiError;

/// The most bytes that a JSON body may have.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The request's body, of at most `MAX` bytes. Request types deny unknown fields, and their fields are types that cannot hold
/// a wrong value.
#[derive(Debug)]
pub struct Json<T, const MAX: usize = MAX_BODY_BYTES>(pub T);

impl<T, const MAX: usize> Json<T, MAX> {
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T, const MAX: usize> Deref for Json<T, MAX> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + 'static, const MAX: usize> FromRequest for Json<T, MAX> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
        let body = web::Payload::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                return Err(ApiError::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "unsupported_media_type",
                    "Send the body as `Content-Type: application/json`.",
                ));
            }
            let body = body
                .await
                .map_err(|error| ApiError::bad_request("malformed_body", error.to_string()))?;
            let bytes = read_body(body, MAX).await?;
            parse(&bytes).map(Json)
        })
    }
}

/// The whole body, up to `max` bytes. Most bodies arrive in one piece, which is not copied.
pub async fn read_body(mut body: web::Payload, max: usize) -> Result<Bytes, ApiError> {
    let mut whole = Bytes::new();
    while let Some(piece) = body.next().await {
        let broke_off = |error| {
            ApiError::bad_request("malformed_body", "The body broke off.")
                .caused_by(anyhow::anyhow!("{error}"))
        };
        let piece = piece.map_err(broke_off)?;
        if whole.len() + piece.len() > max {
            return Err(body_too_large(max));
        }
        whole = if whole.is_empty() {
            piece
        } else {
            [whole, piece].concat().into()
        };
    }
    Ok(whole)
}

pub fn body_too_large(max: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("The body may have at most {max} bytes."),
    )
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde would also read a struct from an array of its fields.
    if bytes
        .trim_ascii_start()
        .first()
        .is_some_and(|first| *first == b'[')
    {
        return Err(ApiError::invalid("invalid_body", "", "expected a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer_of(error.path());
        let inner = error.into_inner();
        // serde_json counts `null` where an enum's name should be among the errors of syntax.
        if inner.is_data() || serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
            ApiError::invalid("invalid_body", pointer, without_position(&inner))
        } else {
            malformed(&inner)
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Where text is not what was expected, for logs: the error's own message quotes the text.
pub fn place_of(error: &serde_json::Error) -> String {
    let (kind, line, column) = (error.classify(), error.line(), error.column());
    format!("a {kind:?} error at line {line}, column {column}")
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::bad_request("malformed_body", format!("The body is not JSON: {error}"))
}

/// serde_json ends its messages with a line and column, which mean nothing to a client that sent one line.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or(text.clone(), |(message, _)| message.to_owned())
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Amount;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Payment {
        #[expect(dead_code, reason = "only parsed")]
        amount: Amount,
    }

    fn refusal(body: &str) -> (String, Vec<String>) {
        let problem = parse::<Payment>(body.as_bytes()).unwrap_err().problem();
        (
            problem.code,
            problem.errors.into_iter().map(|field| field.pointer).collect(),
        )
    }

    #[test]
    fn a_place_does_not_quote_what_is_there() {
        let error = serde_json::from_str::<u8>(r#""hunter2""#).unwrap_err();
        assert_eq!(place_of(&error), "a Data error at line 1, column 9");
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let pointer = |text: &str| vec![text.to_owned()];
        assert_eq!(
            refusal(r#"{"amount": 0}"#),
            ("invalid_body".to_owned(), pointer("/amount"))
        );
        assert_eq!(
            refusal(r#"{"amount": 1, "x": 2}"#),
            ("invalid_body".to_owned(), pointer("/x"))
        );
        assert_eq!(refusal(r#"{}"#), ("invalid_body".to_owned(), pointer("")));
        assert_eq!(refusal(" [1]"), ("invalid_body".to_owned(), pointer("")));
        assert_eq!(refusal(r#"{"amount": 1"#), ("malformed_body".to_owned(), vec![]));
        assert_eq!(
            refusal(r#"{"amount": 1} 2"#),
            ("malformed_body".to_owned(), vec![])
        );
        assert_eq!(refusal(r#"{"amount": 1, "amount": 2}"#).0, "invalid_body");
    }
}
