//! `auth-service import-users`: users of another system, with their passwords as it has hashed them, from a file with a JSON
//! object on each line. Nothing is imported unless every line is good; who is there already stays as they are, so the command
//! can be repeated.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;
use shared::config::Env;
use shared::db::DbConfig;
use shared::id::UserId;
use shared::{ApiError, Clock, Db, FieldKeys};

use super::profile::Profile;
use super::{Email, Name, NewUser, queries};
use crate::field_keys;
use crate::passwords::foreign;

const MAX_LINE_BYTES: u64 = 4096;
const BATCH: usize = 200;

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    email: Email,
    name: Name,
    password_hash: String,
    #[serde(default)]
    email_verified: bool,
}

struct Imported {
    user: NewUser,
    email_verified: bool,
}

pub async fn import_users(mut env: Env) -> anyhow::Result<()> {
    let file: PathBuf = env.required("IMPORT_FILE");
    let config = DbConfig::from_env(&mut env);
    let keys = FieldKeys::from_env(&mut env);
    let (file, config) = env.finish((file, config))?;
    let lines = read_all(&file)?;
    let total = lines.len();
    let db = Db::new(crate::SCHEMA, &config)?;
    field_keys::queries::check_in(&db, &keys)
        .await
        .map_err(ApiError::into_source)??;
    let mut imported: usize = 0;
    for batch in lines.chunks(BATCH) {
        imported += insert(&db, &keys, batch).await.map_err(ApiError::into_source)?;
        println!("import-users: {imported}");
    }
    println!("{imported} of {total} users are imported; the others were there");
    Ok(())
}

fn read_all(file: &Path) -> anyhow::Result<Vec<Imported>> {
    let why = || file.display().to_string();
    let mut reader = BufReader::new(File::open(file).with_context(why)?);
    let mut imported = Vec::new();
    for number in 1_u64.. {
        let mut line = String::new();
        let read = (&mut reader).take(MAX_LINE_BYTES).read_line(&mut line);
        if read.with_context(|| format!("line {number}"))? == 0 {
            break;
        }
        if !line.trim().is_empty() {
            imported.push(parse(&line).with_context(|| format!("line {number}"))?);
        }
    }
    Ok(imported)
}

fn parse(line: &str) -> anyhow::Result<Imported> {
    let is_whole = u64::try_from(line.len()).is_ok_and(|length| length < MAX_LINE_BYTES);
    ensure!(is_whole, "is too long");
    // The error would quote what is there.
    let line: Line = serde_json::from_str(line)
        .map_err(|error| anyhow::anyhow!("has {}", shared::json::place_of(&error)))?;
    let password_hash = foreign::parse(&line.password_hash).map_err(anyhow::Error::msg)?;
    Ok(Imported {
        user: NewUser {
            id: UserId::new(),
            email: line.email,
            name: line.name,
            user_name: None,
            profile: Profile::default(),
            password_hash,
            has_password: true,
        },
        email_verified: line.email_verified,
    })
}

/// How many of these were new.
async fn insert(db: &Db, keys: &FieldKeys, batch: &[Imported]) -> Result<usize, ApiError> {
    let now = Clock::system().now();
    db.transaction("import_users", async |connection| {
        let protection = field_keys::queries::begin_writing(connection, keys).await?;
        let mut inserted = 0;
        for Imported { user, email_verified } in batch {
            let email = user.email.as_str();
            if super::email_indexes::find_user(connection, keys, email)
                .await?
                .is_some()
            {
                continue;
            }
            queries::insert(connection, &protection, user, now).await?;
            if *email_verified {
                queries::set_email_verified(connection, user.id, now).await?;
            }
            inserted += 1;
        }
        Ok(inserted)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"email":"ada@example.com","name":"Ada","password_hash":"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}"#;

    #[test]
    fn a_line_is_good_or_told_why_not_without_quoting_it() {
        assert!(!parse(GOOD).unwrap().email_verified);
        let long = format!("{GOOD}{}", " ".repeat(5000));
        for (bad, why) in [
            (GOOD.replace("ada@", "hunter2 "), "has a Data error"),
            (GOOD.replace("\"name\"", "\"hunter2\""), "has a Data error"),
            (GOOD.replace("$2b$05", "hunter2"), "none that is known"),
            ("hunter2".to_owned(), "has a Syntax error"),
            (long, "too long"),
        ] {
            let error = parse(&bad).err().unwrap().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
    }
}
