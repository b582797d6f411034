//! Recovery codes: ten that a user keeps on paper, each good once. With 80 random bits they are kept by SHA-256 and need no
//! limit to attempts.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use shared::ApiError;
use shared::id::UserId;

use super::Code;
use crate::schema::recovery_codes;
use crate::sessions::sha256;

const COUNT: usize = 10;
const CHARACTERS: usize = 16;
const GROUP: usize = 4;
/// Thirty-two that are not mistaken for each other.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Gives a user new codes; those from before are good no more.
pub async fn replace(connection: &mut AsyncPgConnection, user_id: UserId) -> Result<Vec<String>, ApiError> {
    let codes = (0..COUNT).map(|_| generate()).collect::<Result<Vec<_>, _>>()?;
    remove_all(connection, user_id).await?;
    let rows: Vec<_> = codes
        .iter()
        .map(|code| {
            (
                recovery_codes::code_hash.eq(sha256(&code.replace('-', ""))),
                recovery_codes::user_id.eq(user_id),
            )
        })
        .collect();
    diesel::insert_into(recovery_codes::table)
        .values(rows)
        .execute(connection)
        .await?;
    Ok(codes)
}

/// Uses a code up. Of any number of attempts with it one succeeds.
pub async fn use_up(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    code: &Code,
) -> Result<bool, ApiError> {
    let code = recovery_codes::table
        .find(sha256(code.expose()))
        .filter(recovery_codes::user_id.eq(user_id));
    Ok(diesel::delete(code).execute(connection).await? == 1)
}

pub async fn count(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<i64> {
    recovery_codes::table
        .filter(recovery_codes::user_id.eq(user_id))
        .count()
        .get_result(connection)
        .await
}

pub async fn remove_all(connection: &mut AsyncPgConnection, user_id: UserId) -> QueryResult<usize> {
    diesel::delete(recovery_codes::table.filter(recovery_codes::user_id.eq(user_id)))
        .execute(connection)
        .await
}

/// `7k3m-x20q-…`
fn generate() -> Result<String, ApiError> {
    let mut bytes = [0; CHARACTERS];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ApiError::internal(anyhow::anyhow!("no random bytes")))?;
    let mut code = String::new();
    for (place, byte) in bytes.into_iter().enumerate() {
        if place > 0 && place % GROUP == 0 {
            code.push('-');
        }
        code.extend(ALPHABET.get(usize::from(byte & 31)).copied().map(char::from));
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_again_however_it_is_typed() {
        let code = generate().unwrap();
        assert_eq!(code.len(), 19, "{code}");
        assert_ne!(code, generate().unwrap());
        let typed = Code::parse(&code.to_uppercase().replace('-', " ")).unwrap();
        assert_eq!(typed.expose(), code.replace('-', ""));
    }
}
