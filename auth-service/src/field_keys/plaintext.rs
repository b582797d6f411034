//! `auth-service encrypt-fields`: what versions from before field encryption have written is encrypted, and its plaintext
//! removed.
//!
//! Until then plaintext is written beside what is encrypted, so that such a version can run along. Run it when none does any
//! more: from its beginning on the database refuses plaintext, and so whatever such a version writes.

use shared::ApiError;
use shared::config::Env;

use super::walk::{Command, Replacement, replace_plaintext};
use super::{ACTIVE, COLUMNS, EMAIL, PLAINTEXT, PersonalColumn, RETIRED, RETIRING, queries};
use crate::users::email_indexes;

pub async fn encrypt_fields(env: Env) -> anyhow::Result<()> {
    let command = Command::begin(env).await?;
    change_status(&command, ACTIVE, RETIRING).await?;
    // Nothing is added any more, so this ends; the last pass finds nothing.
    for column in &COLUMNS {
        if let Some(plaintext) = column.plaintext {
            while encrypt(&command, column, plaintext).await? > 0 {}
        }
    }
    change_status(&command, RETIRING, RETIRED).await?;
    println!("all personal data are encrypted; there is no plaintext any more");
    Ok(())
}

async fn encrypt(command: &Command, column: &PersonalColumn, plaintext: &str) -> anyhow::Result<usize> {
    command
        .walk("encrypt_fields", column, async |connection, protection, rows| {
            let (mut replacements, mut indexes) = (Vec::new(), Vec::new());
            for row in rows {
                let Some(old) = row.plaintext.as_deref() else {
                    continue;
                };
                let new = protection.encrypt(column.place, row.id, old)?;
                replacements.push(Replacement { id: row.id, old, new });
                if column.place == EMAIL {
                    indexes.extend(email_indexes::of(protection, row.id, old)?);
                }
            }
            if replacements.is_empty() {
                return Ok(0);
            }
            email_indexes::complete(connection, indexes).await?;
            replace_plaintext(connection, column, plaintext, &replacements).await?;
            Ok(replacements.len())
        })
        .await
}

async fn change_status(command: &Command, from: &str, to: &str) -> anyhow::Result<()> {
    let changed = command.db.transaction("retire_plaintext", async |connection| {
        for key in queries::lock_alone(connection).await? {
            if key.purpose == PLAINTEXT && key.status == from {
                queries::set_status(connection, PLAINTEXT, key.number, to).await?;
            }
        }
        Ok(())
    });
    changed.await.map_err(ApiError::into_source)
}
