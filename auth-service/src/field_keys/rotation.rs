//! `auth-service rotate-field-keys`: everything goes over to the first of `FIELD_KEYS` and the first of `BLIND_INDEX_KEYS`.
//!
//! Run it when every replica has been started with the new keys first and the old ones behind them. The replicas go on
//! meanwhile. Afterwards nothing needs the old keys, which it says.

use shared::ApiError;
use shared::config::Env;
use shared::field_key::KeyNumber;

use super::walk::{Command, Replacement, replace};
use super::{
    ACTIVE, BLIND_INDEX, COLUMNS, ENCRYPTION, FILLING, INDEXED, KnownKey, PersonalColumn, RETIRED, RETIRING,
    queries, variable_of,
};
use crate::users::email_indexes;

pub async fn rotate_field_keys(env: Env) -> anyhow::Result<()> {
    let command = Command::begin(env).await?;
    rotate_encryption(&command).await?;
    rotate_blind_index(&command).await
}

async fn rotate_encryption(command: &Command) -> anyhow::Result<()> {
    let Some(first) = command.keys.encryption_keys().next() else {
        return Ok(());
    };
    activate(command, ENCRYPTION, first).await?;
    // Nothing is encrypted with another key any more, so this ends; the last pass finds nothing.
    for column in COLUMNS {
        while encrypt_again(command, column).await? > 0 {}
    }
    retire(command, ENCRYPTION).await?;
    report(ENCRYPTION, first, command.keys.encryption_keys());
    Ok(())
}

async fn encrypt_again(command: &Command, column: &PersonalColumn) -> anyhow::Result<usize> {
    command
        .walk(
            "rotate_encryption",
            column,
            async |connection, protection, rows| {
                let mut replacements = Vec::new();
                for row in rows {
                    let Some(old) = row.encrypted.as_ref() else {
                        continue;
                    };
                    if !protection.is_current(old) {
                        let text = command.keys.decrypt(column.place, row.id, old)?;
                        let new = protection.encrypt(column.place, row.id, &text)?;
                        replacements.push(Replacement { id: row.id, old, new });
                    }
                }
                if !replacements.is_empty() {
                    replace(connection, column, &replacements).await?;
                }
                Ok(replacements.len())
            },
        )
        .await
}

async fn rotate_blind_index(command: &Command) -> anyhow::Result<()> {
    let (Some(first), [emails, ..]) = (command.keys.blind_index_keys().next(), COLUMNS) else {
        return Ok(());
    };
    if begin_filling(command, first).await? {
        for column in COLUMNS.iter().filter(|column| INDEXED.contains(&column.place)) {
            fill_blind_index(command, column).await?;
        }
    }
    let retiring = activate(command, BLIND_INDEX, first).await?;
    if !retiring.is_empty() {
        command
            .walk("empty_blind_index", emails, async |connection, _, rows| {
                let users: Vec<_> = rows.iter().map(|row| row.id).collect();
                Ok(email_indexes::remove(connection, &users, &retiring).await?)
            })
            .await?;
    }
    retire(command, BLIND_INDEX).await?;
    report(BLIND_INDEX, first, command.keys.blind_index_keys());
    Ok(())
}

/// Indexes what is there under the keys that new texts are indexed under.
async fn fill_blind_index(command: &Command, column: &PersonalColumn) -> anyhow::Result<usize> {
    command
        .walk(
            "fill_blind_index",
            column,
            async |connection, protection, rows| {
                let mut indexes = Vec::new();
                for row in rows {
                    // Who has no e-mail is found by the plaintext, until `encrypt-fields` indexes it.
                    let Some(value) = &row.encrypted else { continue };
                    let text = command.keys.decrypt(column.place, row.id, value)?;
                    indexes.extend(email_indexes::of(protection, row.id, column.place, &text)?);
                }
                email_indexes::complete(connection, indexes).await
            },
        )
        .await
}

/// Has everybody index e-mails and user names under `number` too; whether those that are there have to be indexed as well.
async fn begin_filling(command: &Command, number: KeyNumber) -> anyhow::Result<bool> {
    let begun = command.db.transaction("fill_blind_index", async |connection| {
        let known = queries::lock_alone(connection).await?;
        match status_of(&known, BLIND_INDEX, number) {
            Some(ACTIVE) => return Ok(false),
            Some(RETIRED) => return Err(has_been_retired(BLIND_INDEX, number)),
            Some(_) => {
                queries::set_status(connection, BLIND_INDEX, number.into(), FILLING).await?;
            }
            None => queries::insert(connection, &command.keys, BLIND_INDEX, number, FILLING).await?,
        }
        Ok(true)
    });
    begun.await.map_err(ApiError::into_source)
}

/// Has everybody write with this key and no other, from one moment on. Returns the keys that are still in use.
async fn activate(command: &Command, purpose: &str, number: KeyNumber) -> anyhow::Result<Vec<i32>> {
    let activated = command.db.transaction("activate_field_key", async |connection| {
        let known = queries::lock_alone(connection).await?;
        let mut retiring = Vec::new();
        for key in &known {
            if key.purpose == purpose && key.number != i32::from(number) && key.status != RETIRED {
                queries::set_status(connection, purpose, key.number, RETIRING).await?;
                retiring.push(key.number);
            }
        }
        match status_of(&known, purpose, number) {
            Some(RETIRED) => return Err(has_been_retired(purpose, number)),
            Some(_) => {
                queries::set_status(connection, purpose, number.into(), ACTIVE).await?;
            }
            None => queries::insert(connection, &command.keys, purpose, number, ACTIVE).await?,
        }
        Ok(retiring)
    });
    activated.await.map_err(ApiError::into_source)
}

/// Notes that nothing is left of the keys that are written no more.
async fn retire(command: &Command, purpose: &str) -> anyhow::Result<()> {
    let retired = command.db.transaction("retire_field_keys", async |connection| {
        for key in queries::lock_alone(connection).await? {
            if key.purpose == purpose && key.status == RETIRING {
                queries::set_status(connection, purpose, key.number, RETIRED).await?;
            }
        }
        Ok(())
    });
    retired.await.map_err(ApiError::into_source)
}

fn status_of<'k>(known: &'k [KnownKey], purpose: &str, number: KeyNumber) -> Option<&'k str> {
    let mut same = known
        .iter()
        .filter(|key| key.purpose == purpose && key.number == i32::from(number));
    same.next().map(|key| key.status.as_str())
}

fn has_been_retired(purpose: &str, number: KeyNumber) -> ApiError {
    let variable = variable_of(purpose);
    ApiError::internal(anyhow::anyhow!(
        "the key with the number {number} has been retired: begin {variable} with a new key under a new number"
    ))
}

fn report(purpose: &str, first: KeyNumber, configured: impl Iterator<Item = KeyNumber>) {
    let variable = variable_of(purpose);
    let others: Vec<String> = configured.skip(1).map(|number| number.to_string()).collect();
    let rest = if others.is_empty() {
        "there is no other".to_owned()
    } else {
        format!("nothing needs {} any more: take it away", others.join(" or "))
    };
    println!("{variable}: everything uses the key with the number {first}; {rest}");
}
