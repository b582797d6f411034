//! Codes of an app (RFC 6238): SHA-1, six digits, thirty seconds, which is what every app can. One step before and one
//! after are accepted, for clocks that are off; each step once.

use anyhow::Context;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use qrcodegen::{QrCode, QrCodeEcc};
use secrecy::{ExposeSecret, SecretString};
use shared::field_key::FieldError;
use shared::{ApiError, FieldKeys};
use totp_rs::{Algorithm, Builder, Secret, Totp};

use super::Code;
use super::method::StoredMethod;
use crate::field_keys::SECOND_FACTOR;
use crate::schema::two_factor_methods;

const ISSUER: &str = "Flowlet";
const SECRET_BYTES: usize = 20;
const STEP_S: u64 = 30;
/// White modules around a QR code, without which some cameras do not find it.
const QUIET_ZONE: i32 = 4;

/// A new secret, in base32.
pub fn generate() -> Result<SecretString, ApiError> {
    let mut bytes = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ApiError::internal(anyhow::anyhow!("no random bytes")))?;
    Ok(Secret::from(bytes).to_base32().into())
}

/// What an app reads, and the same as a picture.
pub fn provisioning(secret: &SecretString, account: &str) -> anyhow::Result<(String, String)> {
    let uri = totp(secret.expose_secret(), account)?
        .to_url()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let svg = qr_svg(&uri)?;
    Ok((uri, svg))
}

/// Uses the step of a right code up. Of any number of attempts with it one succeeds.
pub async fn use_up(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    method: &StoredMethod,
    code: &Code,
    now: DateTime<Utc>,
) -> Result<bool, ApiError> {
    let secret = keys.decrypt(SECOND_FACTOR, method.id, &method.secret_encrypted)?;
    let time = u64::try_from(now.timestamp()).map_err(ApiError::internal)?;
    let step = totp(&secret, ISSUER)
        .map_err(|_| FieldError::Malformed)?
        .check(code.expose(), time);
    let Some(step) = step.map(i64::try_from).transpose().map_err(ApiError::internal)? else {
        return Ok(false);
    };
    let later = two_factor_methods::table.find(method.id).filter(
        two_factor_methods::last_step
            .is_null()
            .or(two_factor_methods::last_step.lt(step)),
    );
    let rows = diesel::update(later)
        .set(two_factor_methods::last_step.eq(step))
        .execute(connection)
        .await?;
    Ok(rows == 1)
}

fn totp(secret: &str, account: &str) -> anyhow::Result<Totp> {
    let secret = Secret::try_from_base32(secret).map_err(|_| anyhow::anyhow!("a secret is not base32"))?;
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(STEP_S)
        .with_secret(secret)
        .with_account_name(account)
        .with_issuer(Some(ISSUER))
        .build()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// One path of unit squares, black on white whatever the page's colours are.
fn qr_svg(text: &str) -> anyhow::Result<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).context("the text is too long for a QR code")?;
    let side = code.size() + 2 * QUIET_ZONE;
    let modules = (0..code.size()).flat_map(|y| (0..code.size()).map(move |x| (x, y)));
    let path: String = modules
        .filter(|(x, y)| code.get_module(*x, *y))
        .map(|(x, y)| format!("M{},{}h1v1h-1z", x + QUIET_ZONE, y + QUIET_ZONE))
        .collect();
    Ok(format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges"><rect width="{side}" height="{side}" fill="#fff"/><path d="{path}" fill="#000"/></svg>"##
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238, appendix B, and the last six digits of what it has for SHA-1.
    #[test]
    fn codes_are_those_of_the_standard() {
        let totp = totp("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "ada@example.com").unwrap();
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (20_000_000_000, "353130"),
        ] {
            let step = time / STEP_S;
            assert_eq!(totp.check(code, time), Some(step));
            assert_eq!(totp.check(code, time + STEP_S), Some(step));
            assert_eq!(totp.check(code, time + 2 * STEP_S), None);
        }
    }

    #[test]
    fn an_app_reads_a_new_secret_and_no_two_are_the_same() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        let (uri, svg) = provisioning(&one, "ada@example.com").unwrap();
        assert!(uri.starts_with("otpauth://totp/Flowlet:ada"), "{uri}");
        for part in [&format!("secret={}", one.expose_secret()), "issuer=Flowlet"] {
            assert!(uri.contains(part), "{part}: {uri}");
        }
        assert!(svg.starts_with("<svg") && svg.contains("M4,4h1v1h-1z"), "{svg}");
    }
}
