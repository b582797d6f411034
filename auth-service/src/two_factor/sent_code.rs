//! Codes that are sent, by e-mail or as a text message: six digits, good for ten minutes, for five attempts, and for the login
//! or session alone that asked for them.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::field_key::{Column, FieldError, KeyNumber};
use shared::{ApiError, FieldKeys};

use super::method::StoredMethod;
use super::{Code, Kind};
use crate::field_keys::{Protection, SECOND_FACTOR};
use crate::messages::queries::queue;
use crate::messages::{Channel, Content};
use crate::schema::{two_factor_codes, two_factor_methods};
use crate::throttles::{self, Limit};

pub const LIFETIME: Duration = Duration::minutes(10);
const ATTEMPTS: i32 = 5;
/// Between two codes to one place: each may cost money, and disturbs somebody.
const PAUSE: Duration = Duration::seconds(30);
const PER_USER: Limit = Limit {
    name: "codes of a user",
    uses: 20,
    window: Duration::hours(1),
};
const PER_RECIPIENT: Limit = Limit {
    name: "codes to a place",
    uses: 10,
    window: Duration::hours(1),
};
const CODES: u64 = 1_000_000;
const CODE: Column = Column("auth.two_factor_codes.code");

/// Sends a code to where this method leads, in place of the one that was sent before; 429 when that was just now.
pub async fn send(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    protection: &Protection<'_>,
    method: &StoredMethod,
    asked_by: &[u8],
    now: DateTime<Utc>,
) -> Result<(), ApiError> {
    let channel = match method.kind()? {
        Kind::Email => Channel::Email,
        Kind::Sms => Channel::Sms,
        _ => {
            let detail = "No code is sent for this method.";
            return Err(ApiError::unprocessable("nothing_to_send", detail));
        }
    };
    let idle = two_factor_methods::table.find(method.id).filter(
        two_factor_methods::last_sent_at
            .is_null()
            .or(two_factor_methods::last_sent_at.le(now - PAUSE)),
    );
    let rows = diesel::update(idle)
        .set(two_factor_methods::last_sent_at.eq(now))
        .execute(connection)
        .await?;
    if rows == 0 {
        let detail = "A code has just been sent. Wait for it, or ask again as Retry-After says.";
        return Err(ApiError::too_many_requests(
            detail,
            PAUSE.num_seconds().unsigned_abs(),
        ));
    }
    let recipient = keys.decrypt(SECOND_FACTOR, method.id, &method.secret_encrypted)?;
    // A method that is begun anew forgets when a code was sent; these do not.
    throttles::admit(connection, keys, PER_USER, &method.user_id.to_string(), now).await?;
    throttles::admit(connection, keys, PER_RECIPIENT, &recipient, now).await?;
    let code = generate()?;
    let key = keys.blind_index_keys().next().ok_or(FieldError::NoKey)?;
    let code_hash = hash(keys, key, method, asked_by, &code)?;
    diesel::insert_into(two_factor_codes::table)
        .values((
            two_factor_codes::method_id.eq(method.id),
            two_factor_codes::asked_by.eq(asked_by),
            two_factor_codes::code_hash.eq(&code_hash),
            two_factor_codes::attempts_left.eq(ATTEMPTS),
            two_factor_codes::expires_at.eq(now + LIFETIME),
        ))
        .on_conflict((two_factor_codes::method_id, two_factor_codes::asked_by))
        .do_update()
        .set((
            two_factor_codes::code_hash.eq(&code_hash),
            two_factor_codes::attempts_left.eq(ATTEMPTS),
            two_factor_codes::expires_at.eq(now + LIFETIME),
        ))
        .execute(connection)
        .await?;
    queue(
        connection,
        protection,
        channel,
        &recipient,
        &Content::Code { code },
        now,
    )
    .await?;
    Ok(())
}

/// Uses a right code up. Of any number of attempts with it one succeeds.
pub async fn use_up(
    connection: &mut AsyncPgConnection,
    keys: &FieldKeys,
    method: &StoredMethod,
    asked_by: &[u8],
    code: &Code,
    now: DateTime<Utc>,
) -> Result<bool, ApiError> {
    let sent = || two_factor_codes::table.find((method.id, asked_by));
    let live = sent()
        .filter(two_factor_codes::attempts_left.gt(0))
        .filter(two_factor_codes::expires_at.gt(now));
    let expected: Option<Vec<u8>> = diesel::update(live)
        .set(two_factor_codes::attempts_left.eq(two_factor_codes::attempts_left - 1))
        .returning(two_factor_codes::code_hash)
        .get_result(connection)
        .await
        .optional()?;
    let Some(expected) = expected else {
        return Ok(false);
    };
    for key in keys.blind_index_keys() {
        let given = hash(keys, key, method, asked_by, code.expose())?;
        if verify_slices_are_equal(&given, &expected).is_ok() {
            return Ok(diesel::delete(sent()).execute(connection).await? == 1);
        }
    }
    Ok(false)
}

/// Bound to what it was sent for: in another row it is another hash.
fn hash(
    keys: &FieldKeys,
    key: KeyNumber,
    method: &StoredMethod,
    asked_by: &[u8],
    code: &str,
) -> Result<Vec<u8>, FieldError> {
    let place: String = asked_by.iter().map(|byte| format!("{byte:02x}")).collect();
    keys.blind_index(key, CODE, &format!("{} {place} {code}", method.id))
}

fn generate() -> Result<String, ApiError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ApiError::internal(anyhow::anyhow!("no random bytes")))?;
    // Of 2^64 values, so no code is noticeably more frequent.
    Ok(format!("{:06}", u64::from_le_bytes(bytes) % CODES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_six_digits() {
        for _ in 0..100 {
            let code = generate().unwrap();
            assert!(
                code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()),
                "{code}"
            );
        }
    }
}
