//! Opening, reading, renaming, freezing and closing accounts.

use actix_web::{HttpResponse, get, patch, post, web};
use serde::{Deserialize, Serialize};
use shared::clients::transactions::{Actor, LedgerStatus, SetLedgerStatus};
use shared::error::Problem;
use shared::id::{AccountId, UserId};
use shared::idempotency::{OptionalIdempotencyKey, REPLAYED_HEADER, fingerprint, key_reused};
use shared::openapi::{AuthErrors, BodyErrors, CommonErrors};
use shared::page::Limit;
use shared::{ApiError, Currency, Cursor, Json, Page, Principal};
use utoipa::ToSchema;

use super::{
    Account, AccountError, AccountKind, AccountRow, AccountStatus, Claim, MAX_OPEN_ACCOUNTS, Nickname, Party,
    ledger,
    queries::{self, Command},
};
use crate::state::AppState;

/// The account to open.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAccountRequest {
    kind: AccountKind,
    currency: Currency,
    nickname: Option<Nickname>,
}

/// Open an account.
///
/// It is `active` at once as a rule. When the ledger cannot be reached it is `pending`, and becomes `active` by itself as
/// soon as that is possible: nothing needs to be sent again. With an `Idempotency-Key`, a repetition opens no second account
/// but answers with the first as it is now, and `Idempotent-Replayed: true`.
#[utoipa::path(
    tag = "accounts",
    params(("Idempotency-Key" = Option<String>, Header, description = "Your own name for this request: 1 to 255 letters, digits or `._~:@+=,-`")),
    responses(
        (status = 201, description = "Opened", body = Account),
        (status = 422, description = "`too_many_accounts`, `idempotency_key_reused`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/accounts")]
pub async fn open_account(
    principal: Principal,
    key: OptionalIdempotencyKey,
    body: Json<OpenAccountRequest>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let claim = match key.0 {
        Some(key) => Some(Claim {
            key,
            fingerprint: fingerprint("POST /accounts", &*body)?,
        }),
        None => None,
    };
    let (row, replayed) = insert_pending(&state, principal.user_id, &body, claim.as_ref()).await?;
    let account = if row.status == AccountStatus::Pending {
        open(&state, row).await
    } else {
        present_one(&state, row).await?
    };
    let mut response = HttpResponse::Created();
    if replayed {
        metrics::counter!("idempotent_replays_total").increment(1);
        response.insert_header((REPLAYED_HEADER, "true"));
    }
    Ok(response.json(account))
}

/// The new account's row, or the one that an earlier request with the same key made, and whether it is that one.
async fn insert_pending(
    state: &AppState,
    owner_id: UserId,
    request: &OpenAccountRequest,
    claim: Option<&Claim>,
) -> Result<(AccountRow, bool), ApiError> {
    let now = state.clock.now();
    let account = AccountRow {
        id: AccountId::new(),
        owner_id,
        kind: request.kind,
        currency: request.currency,
        nickname: request
            .nickname
            .as_ref()
            .map(|nickname| nickname.as_str().to_owned()),
        status: AccountStatus::Pending,
        frozen_by: None,
        retry_at: Some(now + ledger::RETRY_DELAY),
        created_at: now,
        updated_at: now,
        changed_by: None,
    };
    state
        .db
        .transaction("open_account", async |conn| {
            queries::lock_owner(conn, owner_id).await?;
            if let Some(claim) = claim
                && let Some((existing, fingerprint)) =
                    queries::find_by_key(conn, owner_id, claim.key.as_str()).await?
            {
                if fingerprint.as_deref() != Some(&claim.fingerprint) {
                    return Err(key_reused());
                }
                return Ok((existing, true));
            }
            if queries::count_open(conn, owner_id).await? >= MAX_OPEN_ACCOUNTS {
                return Err(AccountError::TooManyAccounts.into());
            }
            Ok((queries::insert(conn, &account, claim).await?, false))
        })
        .await
}

/// The account exists from here on, so whatever happens to the second step, the answer is that it does.
async fn open(state: &AppState, row: AccountRow) -> Account {
    match ledger::settle(state, row.clone()).await {
        Ok((row, ledger)) => Account::new(row, Some(&ledger)),
        Err(error) => {
            tracing::warn!(account_id = %row.id, %error, "the ledger account is not open yet; the job will open it");
            Account::new(row, None)
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListAccountsQuery {
    #[serde(default)]
    limit: Limit,
    after: Option<Cursor<AccountId>>,
}

/// List your accounts, newest first.
#[utoipa::path(
    tag = "accounts",
    params(
        ("limit" = Option<u8>, Query, description = "1 to 100, 20 unless told"),
        ("after" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Account>), AuthErrors, CommonErrors),
    security(("access_token" = [])),
)]
#[get("/api/v1/accounts")]
pub async fn list_accounts(
    principal: Principal,
    query: web::Query<ListAccountsQuery>,
    state: web::Data<AppState>,
) -> Result<web::Json<Page<Account>>, ApiError> {
    let mut conn = state.db.connection().await?;
    let rows = queries::list_own(&mut conn, principal.user_id, query.after, query.limit).await?;
    drop(conn);
    let page = Page::new(rows, query.limit, |row| row.id);
    Ok(web::Json(Page {
        data: ledger::present(&state, page.data).await?,
        next_cursor: page.next_cursor,
    }))
}

/// Get one of your accounts, with its balance.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path)),
    responses(
        (status = 200, description = "The account", body = Account),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[get("/api/v1/accounts/{account_id}")]
pub async fn get_account(
    principal: Principal,
    account_id: web::Path<AccountId>,
    state: web::Data<AppState>,
) -> Result<web::Json<Account>, ApiError> {
    let row = find_own(&state, &principal, *account_id).await?;
    Ok(web::Json(present_one(&state, row).await?))
}

/// What to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateAccountRequest {
    /// `null` takes it away.
    #[serde(deserialize_with = "Option::deserialize")]
    nickname: Option<Nickname>,
}

/// Change an account's nickname.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path)),
    responses(
        (status = 200, description = "The account as it is now", body = Account),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        AuthErrors, BodyErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[patch("/api/v1/accounts/{account_id}")]
pub async fn update_account(
    principal: Principal,
    account_id: web::Path<AccountId>,
    body: Json<UpdateAccountRequest>,
    state: web::Data<AppState>,
) -> Result<web::Json<Account>, ApiError> {
    let mut conn = state.db.connection().await?;
    let nickname = body.nickname.as_ref();
    let now = state.clock.now();
    let row = queries::set_nickname(&mut conn, principal.user_id, *account_id, nickname, now).await?;
    drop(conn);
    Ok(web::Json(present_one(&state, row).await?))
}

/// Freeze an account: it neither sends nor receives until it is unfrozen.
///
/// Its owner may, and `compliance`, whose freeze the owner cannot lift. When the ledger cannot be reached the answer is 503,
/// and the account is frozen as soon as that is possible.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path)),
    responses(
        (status = 200, description = "Frozen, now or before", body = Account),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`account_closed`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/accounts/{account_id}/freeze")]
pub async fn freeze_account(
    principal: Principal,
    account_id: web::Path<AccountId>,
    state: web::Data<AppState>,
) -> Result<web::Json<Account>, ApiError> {
    let account = change_status(&state, &principal, *account_id, AccountRow::frozen).await?;
    Ok(web::Json(account))
}

/// Lift a freeze.
///
/// An owner cannot lift a freeze of `compliance`. When the ledger cannot be reached the answer is 503, and the freeze is
/// lifted as soon as that is possible.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path)),
    responses(
        (status = 200, description = "Active, now or before", body = Account),
        (status = 403, description = "`frozen_by_compliance`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`account_closed`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/accounts/{account_id}/unfreeze")]
pub async fn unfreeze_account(
    principal: Principal,
    account_id: web::Path<AccountId>,
    state: web::Data<AppState>,
) -> Result<web::Json<Account>, ApiError> {
    let account = change_status(&state, &principal, *account_id, AccountRow::unfrozen).await?;
    Ok(web::Json(account))
}

/// Writes the status that `change` gives, and brings the ledger to it.
async fn change_status(
    state: &AppState,
    principal: &Principal,
    id: AccountId,
    change: impl Fn(&AccountRow, Party) -> Result<(AccountStatus, Option<Party>), AccountError>,
) -> Result<Account, ApiError> {
    let mut conn = state.db.connection().await?;
    let row = queries::find(&mut conn, id).await?;
    drop(conn);
    let party = row.party(principal)?;
    finish_opening(state, row).await?;
    let now = state.clock.now();
    let row = state
        .db
        .transaction("change_account_status", async |conn| {
            let row = queries::lock(conn, id).await?;
            let (status, frozen_by) = change(&row, party)?;
            let is_same = (row.status, row.frozen_by) == (status, frozen_by);
            let command = Command {
                status,
                frozen_by,
                updated_at: if is_same { row.updated_at } else { now },
                retry_at: now + ledger::RETRY_DELAY,
                changed_by: serde_json::to_value(Actor::from(principal)).map_err(ApiError::internal)?,
            };
            Ok(queries::write_command(conn, id, &command).await?)
        })
        .await?;
    tracing::info!(account_id = %id, by = %principal.user_id, ?party, status = ?row.status, "account status changed");
    let (row, ledger) = ledger::settle(state, row).await?;
    Ok(Account::new(row, Some(&ledger)))
}

/// Close an account for good. It must be empty and not frozen. Closing it again changes nothing.
#[utoipa::path(
    tag = "accounts",
    params(("account_id" = AccountId, Path)),
    responses(
        (status = 200, description = "Closed, now or before", body = Account),
        (status = 403, description = "`frozen_by_compliance`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: there is none, or it is not yours", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`account_not_empty`: it has a balance or a hold; `account_frozen`", body = Problem, content_type = "application/problem+json"),
        AuthErrors, CommonErrors,
    ),
    security(("access_token" = [])),
)]
#[post("/api/v1/accounts/{account_id}/close")]
pub async fn close_account(
    principal: Principal,
    account_id: web::Path<AccountId>,
    state: web::Data<AppState>,
) -> Result<web::Json<Account>, ApiError> {
    let id = *account_id;
    let row = find_own(&state, &principal, id).await?;
    if row.status == AccountStatus::Closed {
        return Ok(web::Json(present_one(&state, row).await?));
    }
    row.require_power(Party::Owner)?;
    finish_opening(&state, row).await?;
    // Only the ledger knows whether the account is empty, so closing is not written before it agreed. Should we crash then,
    // the job, which is told here, hears from the ledger that the account is closed.
    let mut conn = state.db.connection().await?;
    queries::retry(&mut conn, &[id], state.clock.now() + ledger::RETRY_DELAY).await?;
    drop(conn);
    let command = SetLedgerStatus {
        status: LedgerStatus::Closed,
        actor: Some(Actor::from(&principal)),
    };
    let ledger = state.ledger.set_status(id, &command).await?;
    let mut conn = state.db.connection().await?;
    let row = queries::mark_closed(&mut conn, id, state.clock.now()).await?;
    Ok(web::Json(Account::new(row, Some(&ledger))))
}

pub(super) async fn find_own(
    state: &AppState,
    principal: &Principal,
    id: AccountId,
) -> Result<AccountRow, ApiError> {
    let mut conn = state.db.connection().await?;
    Ok(queries::find_own(&mut conn, principal.user_id, id).await?)
}

async fn present_one(state: &AppState, row: AccountRow) -> Result<Account, ApiError> {
    let presented = ledger::present(state, vec![row]).await?;
    presented
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::internal(anyhow::anyhow!("one account in, none out")))
}

/// An account must be in the ledger before its status can change there.
async fn finish_opening(state: &AppState, row: AccountRow) -> Result<(), ApiError> {
    if row.status == AccountStatus::Pending {
        ledger::settle(state, row).await?;
    }
    Ok(())
}
