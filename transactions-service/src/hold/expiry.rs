//! Holds whose time has come: what is left is captured or released, through the lane like any request.
//!
//! Each has an idempotency key of its own, so that any number of replicas and any crash end in one effect.

use std::time::Duration;

use shared::id::{TransferId, UserId};
use shared::idempotency::IdempotencyKey;
use shared::{ApiError, Db};
use tokio_util::sync::CancellationToken;

use super::queries::{self, HoldRow};
use super::{CaptureOrder, HoldAction, HoldCommand};
use crate::idempotency_key::Claim;
use crate::lane::{Lanes, Work};
use crate::transfer::Note;

const PAUSE: Duration = Duration::from_secs(1);
const BATCH: i64 = 256;

/// Whose requests these are: nobody's. No user has this id.
pub const PLATFORM: UserId = UserId::from_uuid(uuid::Uuid::nil());

pub async fn run(db: Db, lanes: Lanes, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = end_due_holds(&db, &lanes).await {
            tracing::warn!(error = %error, "holds that are due wait for better times");
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn end_due_holds(db: &Db, lanes: &Lanes) -> Result<(), ApiError> {
    let mut conn = db.connection().await?;
    let due = queries::find_due(&mut conn, BATCH).await?;
    drop(conn);
    let ended = due.into_iter().map(|(row, expired)| end(db, lanes, row, expired));
    futures_util::future::try_join_all(ended).await?;
    Ok(())
}

/// Ends one whose time is up, or captures it.
pub async fn end(db: &Db, lanes: &Lanes, row: HoldRow, expired: bool) -> Result<(), ApiError> {
    let hold = row.into_hold();
    let Some(terms) = &hold.terms else {
        return Ok(());
    };
    let (word, action) = if expired {
        ("expire", HoldAction::Expire)
    } else {
        let capture = CaptureOrder {
            transfer_id: TransferId::new(),
            amount: None,
            note: Note::default(),
            initiated_by: PLATFORM,
        };
        ("capture", HoldAction::Capture(capture))
    };
    // What is left is in the key: a part that was captured meanwhile makes this another request.
    let name = format!("{word}:{}:{}", hold.id, hold.remaining());
    let key = IdempotencyKey::parse(&name)
        .ok_or_else(|| ApiError::internal(anyhow::anyhow!("{name} is no idempotency key")))?;
    let claim = Claim::new(PLATFORM, key, word, &hold.id)?;
    let command = HoldCommand {
        hold_id: hold.id,
        account_id: hold.account_id,
        credit_account_id: terms.credit_account_id,
        action,
    };
    let answer = lanes.submit(Work::ChangeHold(command), claim).await?;
    if answer.status == 422 {
        tracing::warn!(hold = %hold.id, action = word, answer = %answer.body, "a hold could not be ended by itself");
        if !expired {
            queries::forget_capture(&mut *db.connection().await?, hold.id).await?;
        }
    }
    Ok(())
}
