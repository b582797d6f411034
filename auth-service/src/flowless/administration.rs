//! Users as programs for Flowless administer them: `/auth/admin/users`, and the same at `/auth/users`.
//!
//! Who may do what to whom is decided where `/api/v1/auth/users` decides it, by the same functions. E-mails and names are encrypted, so
//! they are found whole or not at all, and nothing is sorted by them.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};
use shared::id::UserId;
use shared::{Principal, Role};
use uuid::Uuid;

use super::failure::Failure;
use super::input::{Input, session_of_request};
use super::logins::{password, registration};
use super::profile::changed;
use super::reply;
use crate::administration::changes::{self, Update};
use crate::administration::handlers::SessionRecord;
use crate::administration::queries::{self, MOST_NUMBERED, Numbered};
use crate::administration::{ADMINISTRATORS, BanReason, READERS, UserRecord, no_such_user};
use crate::state::AppState;
use crate::users::profile::UserName;
use crate::users::{Email, email_indexes};

const MAX_QUERY_LENGTH: usize = 254;
const MOST_ON_A_PAGE: i64 = 100;

pub fn configure(config: &mut web::ServiceConfig) {
    config.route("/admin/users", web::get().to(list_in_object));
    config.route("/users", web::get().to(list));
    for path in ["/admin/users", "/users"] {
        let one = format!("{path}/{{id}}");
        config
            .route(path, web::post().to(create))
            .route(&one, web::get().to(show))
            .route(&one, web::put().to(update))
            .route(&one, web::delete().to(erase))
            .route(&format!("{one}/ban"), web::post().to(ban))
            .route(&format!("{one}/unban"), web::post().to(unban))
            .route(&format!("{one}/revoke-sessions"), web::post().to(end_sessions))
            .route(&format!("{one}/sessions"), web::delete().to(end_sessions));
    }
    config.route("/password-change/admin", web::post().to(set_password));
}

/// A user as staff sees them.
fn described(record: &UserRecord) -> Value {
    reply::user_who_is(&record.user, record.status)
}

fn answer(record: &UserRecord, message: &str) -> HttpResponse {
    reply::described(described(record), json!({ "message": message }))
}

async fn principal(state: &AppState, input: &Input) -> Result<Principal, Failure> {
    Ok(input.session(state).await?.principal())
}

/// Whom the path names. A text that is no id names nobody.
fn id_of(text: &str) -> Result<UserId, Failure> {
    text.parse().map_err(|_| no_such_user().into())
}

/// What a list is asked for, by all of its names.
#[derive(Default)]
struct Asked {
    q: String,
    user_type: String,
    page: i64,
    limit: i64,
    oldest_first: bool,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, Failure> {
        let mut asked = Self {
            page: 1,
            limit: 20,
            ..Self::default()
        };
        let members = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| Failure::bad_request("Invalid query"))?;
        for (name, value) in members.into_inner() {
            if value.is_empty() {
                continue;
            }
            match name.as_str() {
                "q" | "search" if value.len() <= MAX_QUERY_LENGTH => asked.q = value,
                "q" | "search" => return Err(Failure::bad_request("q is too long")),
                "userType" | "user_type" => asked.user_type = value,
                "page" => asked.page = number("page", &value, MOST_NUMBERED)?,
                "limit" => asked.limit = number("limit", &value, MOST_ON_A_PAGE)?,
                "sortBy" | "sort_by" if matches!(value.as_str(), "created_at" | "createdAt") => {}
                "sortBy" | "sort_by" => return Err(Failure::bad_request("sortBy is created_at")),
                "sortOrder" | "sort_order" => {
                    asked.oldest_first = match value.to_ascii_lowercase().as_str() {
                        "asc" => true,
                        "desc" => false,
                        _ => return Err(Failure::bad_request("sortOrder is asc or desc")),
                    }
                }
                _ => {}
            }
        }
        Ok(asked)
    }

    /// What comes before the page.
    fn offset(&self) -> Result<i64, Failure> {
        let before = self.page.saturating_sub(1).saturating_mul(self.limit);
        if before < MOST_NUMBERED {
            return Ok(before);
        }
        let detail =
            format!("Pages go as far as the first {MOST_NUMBERED} users: ask for less with q or userType");
        Err(Failure::bad_request(detail))
    }
}

fn number(name: &str, text: &str, most: i64) -> Result<i64, Failure> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Failure::bad_request(format!("{name} is a number from 1 to {most}")))
}

/// Who the whole of `q` names, by id, e-mail or user name.
async fn find(state: &AppState, q: &str) -> Result<Option<UserId>, Failure> {
    if let Ok(id) = q.parse() {
        return Ok(Some(id));
    }
    let as_email = Email::parse(q).map(|email| email.as_str().to_owned());
    let name = as_email.or_else(|| UserName::parse(q).map(|name| name.as_str().to_owned()));
    let Some(name) = name else { return Ok(None) };
    let mut connection = state.db.connection().await?;
    Ok(email_indexes::find_user(&mut connection, &state.field_keys, &name).await?)
}

async fn find_page(state: &AppState, request: &HttpRequest) -> Result<(Vec<Value>, Value), Failure> {
    let principal = session_of_request(state, request).await?.principal();
    principal.require_any(&READERS)?;
    let asked = Asked::parse(request.query_string())?;
    let (with, without) = match asked.user_type.as_str() {
        "" => (None, Vec::new()),
        name => reply::roles_of_type(role_of(name)?),
    };
    let page = Numbered {
        only: match asked.q.trim() {
            "" => None,
            // Nobody has the id of nothing.
            q => Some(find(state, q).await?.unwrap_or(UserId::from_uuid(Uuid::nil()))),
        },
        with,
        without,
        oldest_first: asked.oldest_first,
        offset: asked.offset()?,
        limit: asked.limit,
    };
    let mut connection = state.db.connection().await?;
    let (found, total) = queries::numbered_page(&mut connection, &state.field_keys, &page).await?;
    let pages = total
        .saturating_add(page.limit)
        .saturating_sub(1)
        .checked_div(page.limit);
    let pagination = json!({ "page": asked.page, "limit": page.limit, "total": total, "pages": pages });
    Ok((found.iter().map(described).collect(), pagination))
}

async fn list_in_object(state: web::Data<AppState>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let (users, pagination) = find_page(&state, &request).await?;
    Ok(reply::twice(json!({ "users": users, "pagination": pagination })))
}

/// For clients to whom `data` is the list.
async fn list(state: web::Data<AppState>, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let (users, pagination) = find_page(&state, &request).await?;
    Ok(reply::secret(&json!({
        "success": true, "data": users, "users": users, "pagination": pagination, "meta": pagination,
    })))
}

async fn show(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    principal(&state, &input).await?.require_any(&READERS)?;
    let (id, now, keys) = (id_of(&path)?, state.clock.now(), &state.field_keys);
    let mut connection = state.db.connection().await?;
    let record = queries::find(&mut connection, keys, id).await?;
    let sessions = SessionRecord::list(&mut connection, keys, id, now).await?;
    let sessions: Vec<Value> = sessions.iter().map(described_session).collect();
    Ok(reply::twice(json!({
        "user": described(&record),
        "sessionCount": sessions.len(),
        "session_count": sessions.len(),
        "sessions": sessions,
    })))
}

/// The prefix is that of the id: of the credential, nothing is known.
fn described_session(session: &SessionRecord) -> Value {
    let id = session.id.to_string();
    let mut members = json!({
        "session_prefix": id.chars().take(12).collect::<String>(),
        "id": id,
        "ip_address": session.ip.as_deref().unwrap_or_default(),
        "user_agent": session.user_agent.as_deref().unwrap_or_default(),
        "user_device": session.device_id,
        "last_used_at": session.last_used_at,
        "created_at": session.created_at,
        "expires_at": session.expires_at,
        "status": "active",
    });
    reply::spell_both(&mut members);
    members
}

/// The role that a `user_type` stands for.
fn role_of(user_type: &str) -> Result<Role, Failure> {
    reply::role_of_type(user_type).ok_or_else(|| {
        Failure::bad_request("user_type is user, partner, support, compliance, admin or superadmin")
    })
}

/// What who has this role has besides.
fn roles_with(role: Role) -> Vec<Role> {
    let mut roles = vec![Role::Customer, role];
    roles.dedup();
    roles
}

async fn create(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let principal = principal(&state, &input).await?;
    create_by(&state, &principal, &input).await
}

pub async fn create_by(
    state: &AppState,
    principal: &Principal,
    input: &Input,
) -> Result<HttpResponse, Failure> {
    principal.require_any(&ADMINISTRATORS)?;
    let role = input
        .text(&["user_type", "userType"])?
        .map_or(Ok(Role::Customer), role_of)?;
    let mut new = registration(input)?;
    if input.text(&["password"])?.is_some_and(|text| !text.is_empty()) {
        new.password = Some(password(input, &["password"])?);
    }
    let record = changes::create(state, principal, new, &roles_with(role)).await?;
    Ok(answer(&record, "User created successfully"))
}

async fn update(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let principal = principal(&state, &input).await?;
    principal.require_any(&ADMINISTRATORS)?;
    let id = id_of(&path)?;
    let before = queries::find(&mut *state.db.connection().await?, &state.field_keys, id).await?;
    let update = update_of(&before, &input.into_body())?;
    let record = changes::update(&state, &principal, id, &update).await?;
    Ok(answer(&record, "User updated successfully"))
}

/// Programs send the whole of a form. What is in it and as it was is no change, so that nobody is made the role that they have,
/// and an e-mail that stays keeps having been verified.
fn update_of(before: &UserRecord, body: &Map<String, Value>) -> Result<Update, Failure> {
    let is_said = |names: [&str; 2]| {
        names
            .into_iter()
            .find_map(|name| body.get(name))
            .filter(|value| !value.is_null())
    };
    let mut members = changed(body);
    if members
        .get("email")
        .and_then(Value::as_str)
        .and_then(Email::parse)
        .is_some_and(|email| email.as_str() == before.user.email)
    {
        members.remove("email");
    }
    let verified = is_said(["is_verified", "isVerified"]);
    if let Some(verified) = verified.filter(|_| !members.contains_key("email")) {
        members.insert("email_verified".to_owned(), verified.clone());
    }
    if is_said(["two_factor", "twoFactor"]).is_some_and(|wanted| *wanted != json!(before.user.two_factor)) {
        return Err(Failure::bad_request("two_factor is changed by the user alone"));
    }
    let mut update = Update::parse(members)?;
    if let Some(user_type) = is_said(["user_type", "userType"]) {
        let user_type = user_type
            .as_str()
            .ok_or_else(|| Failure::bad_request("user_type must be a text"))?;
        let role = role_of(user_type)?;
        if role != reply::highest_role(&before.user) {
            update.roles = Some(roles_with(role));
        }
    }
    Ok(update)
}

/// As everywhere: not who is under a legal hold, and who is active is banned first.
async fn erase(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let principal = principal(&state, &input).await?;
    changes::erase(&state, &principal, id_of(&path)?).await?;
    Ok(reply::done("User deleted successfully"))
}

/// What the audit log keeps of a reason is one of five words.
async fn ban(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let principal = principal(&state, &input).await?;
    let reason = match input.text(&["reason"])? {
        Some("fraud") => BanReason::Fraud,
        Some("abuse" | "violation") => BanReason::Abuse,
        Some("security") => BanReason::Security,
        Some("user_request") => BanReason::UserRequest,
        _ => BanReason::Other,
    };
    let record = changes::ban(&state, &principal, id_of(&path)?, reason).await?;
    Ok(answer(&record, "User banned"))
}

async fn unban(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let principal = principal(&state, &input).await?;
    let record = changes::unban(&state, &principal, id_of(&path)?).await?;
    Ok(answer(&record, "User unbanned"))
}

async fn end_sessions(
    state: web::Data<AppState>,
    path: web::Path<String>,
    input: Input,
) -> Result<HttpResponse, Failure> {
    let principal = principal(&state, &input).await?;
    let ended = changes::end_sessions(&state, &principal, id_of(&path)?).await?;
    Ok(reply::twice(
        json!({ "message": "Sessions revoked", "revoked": ended }),
    ))
}

async fn set_password(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let principal = principal(&state, &input).await?;
    let id = id_of(input.required(&["user_id", "userId"])?)?;
    let new = password(&input, &["new_password", "newPassword"])?;
    changes::set_password(&state, &principal, id, &new).await?;
    Ok(reply::done("Password updated successfully"))
}
