//! API keys and clients in the database.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use ipnet::IpNet;
use shared::field_key::Encrypted;
use shared::id::{ApiKeyId, UserId};
use shared::{ApiError, FieldKeys, Scope};

use super::{ApiKey, Kind, MAX_LIVE, NewKeyRequest, Secret, USE_NOTED_EVERY, parse_network};
use crate::field_keys::{API_KEY_NAME, Protection};
use crate::schema::{api_keys, users};
use crate::users::Roles;

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys, check_for_backend(Pg))]
pub struct StoredKey {
    pub id: ApiKeyId,
    pub user_id: UserId,
    name_encrypted: Encrypted,
    scopes: Vec<Option<String>>,
    allowed_networks: Vec<Option<String>>,
    created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    pub replaced_by: Option<ApiKeyId>,
}

impl StoredKey {
    pub fn decrypt(self, keys: &FieldKeys) -> Result<ApiKey, ApiError> {
        Ok(ApiKey {
            name: keys.decrypt(API_KEY_NAME, self.id.uuid(), &self.name_encrypted)?,
            scopes: scopes(&self.scopes),
            allowed_networks: networks(&self.allowed_networks)?,
            id: self.id,
            created_at: self.created_at,
            expires_at: self.expires_at,
            last_used_at: self.last_used_at,
            replaced_by: self.replaced_by,
        })
    }
}

fn scopes(names: &[Option<String>]) -> Vec<Scope> {
    names
        .iter()
        .flatten()
        .filter_map(|name| Scope::parse(name))
        .collect()
}

/// A network that cannot be read must not turn into none, which would allow every address.
fn networks(texts: &[Option<String>]) -> Result<Vec<IpNet>, ApiError> {
    let networks: Option<Vec<IpNet>> = texts.iter().flatten().map(|text| parse_network(text)).collect();
    networks
        .ok_or_else(|| ApiError::internal(anyhow::anyhow!("an allowed network of an API key cannot be read")))
}

/// What a key is to be, however it was asked for.
pub struct NewKey<'n> {
    pub kind: Kind,
    pub user_id: UserId,
    pub name: &'n str,
    pub scopes: &'n [Scope],
    pub allowed_networks: &'n [IpNet],
    pub expires_at: DateTime<Utc>,
}

impl<'n> NewKey<'n> {
    pub fn of_request(
        kind: Kind,
        user_id: UserId,
        request: &'n NewKeyRequest,
        now: DateTime<Utc>,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            kind,
            user_id,
            name: request.name.as_str(),
            scopes: &request.scopes.0,
            allowed_networks: &request.allowed_networks.0,
            expires_at: request.expires_at(now)?,
        })
    }
}

/// Inserts a key, unless its user has as many as there may be. The user's row is locked, so that two at once are counted.
pub async fn insert(
    connection: &mut AsyncPgConnection,
    protection: &Protection<'_>,
    new: &NewKey<'_>,
    secret: &Secret,
    now: DateTime<Utc>,
) -> Result<ApiKey, ApiError> {
    let id = ApiKeyId::new();
    let user: Option<UserId> = users::table
        .find(new.user_id)
        .filter(users::status.eq("active"))
        .select(users::id)
        .for_no_key_update()
        .first(connection)
        .await
        .optional()?;
    user.ok_or_else(|| ApiError::not_found("There is no such user."))?;
    let live: i64 = api_keys::table
        .filter(api_keys::user_id.eq(new.user_id))
        .filter(api_keys::kind.eq(new.kind.name()))
        .filter(api_keys::revoked_at.is_null())
        .filter(api_keys::expires_at.gt(now))
        .count()
        .get_result(connection)
        .await?;
    if live >= MAX_LIVE {
        let detail = format!("There are {MAX_LIVE} already. Revoke one that is not used.");
        return Err(ApiError::unprocessable("too_many_keys", detail));
    }
    let scopes: Vec<Option<&str>> = new.scopes.iter().map(|scope| Some(scope.name())).collect();
    let networks = new
        .allowed_networks
        .iter()
        .map(|network| Some(network.to_string()));
    let networks: Vec<Option<String>> = networks.collect();
    diesel::insert_into(api_keys::table)
        .values((
            api_keys::id.eq(id),
            api_keys::kind.eq(new.kind.name()),
            api_keys::user_id.eq(new.user_id),
            api_keys::name_encrypted.eq(protection.encrypt(API_KEY_NAME, id.uuid(), new.name)?),
            api_keys::secret_hash.eq(secret.hash()),
            api_keys::scopes.eq(scopes),
            api_keys::allowed_networks.eq(networks),
            api_keys::created_at.eq(now),
            api_keys::expires_at.eq(new.expires_at),
        ))
        .execute(connection)
        .await?;
    Ok(ApiKey {
        id,
        name: new.name.to_owned(),
        scopes: new.scopes.to_vec(),
        allowed_networks: new.allowed_networks.to_vec(),
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        replaced_by: None,
    })
}

/// The live keys of a user, newest first.
pub async fn list(
    connection: &mut AsyncPgConnection,
    kind: Kind,
    user_id: UserId,
    now: DateTime<Utc>,
) -> QueryResult<Vec<StoredKey>> {
    api_keys::table
        .filter(api_keys::user_id.eq(user_id))
        .filter(api_keys::kind.eq(kind.name()))
        .filter(api_keys::revoked_at.is_null())
        .filter(api_keys::expires_at.gt(now))
        .order(api_keys::id.desc())
        .select(StoredKey::as_select())
        .load(connection)
        .await
}

/// A live key, locked.
pub async fn lock_live(
    connection: &mut AsyncPgConnection,
    kind: Kind,
    id: ApiKeyId,
    now: DateTime<Utc>,
) -> QueryResult<Option<StoredKey>> {
    api_keys::table
        .find(id)
        .filter(api_keys::kind.eq(kind.name()))
        .filter(api_keys::revoked_at.is_null())
        .filter(api_keys::expires_at.gt(now))
        .select(StoredKey::as_select())
        .for_no_key_update()
        .first(connection)
        .await
        .optional()
}

pub async fn revoke(
    connection: &mut AsyncPgConnection,
    id: ApiKeyId,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(api_keys::table.find(id).filter(api_keys::revoked_at.is_null()))
        .set(api_keys::revoked_at.eq(now))
        .execute(connection)
        .await
}

/// Revokes all that a user's programs have.
pub async fn revoke_all(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> QueryResult<usize> {
    let live = api_keys::table
        .filter(api_keys::user_id.eq(user_id))
        .filter(api_keys::revoked_at.is_null());
    diesel::update(live)
        .set(api_keys::revoked_at.eq(now))
        .execute(connection)
        .await
}

/// The key whose place this one took, if that is still good.
pub async fn predecessor(connection: &mut AsyncPgConnection, id: ApiKeyId) -> QueryResult<Option<ApiKeyId>> {
    api_keys::table
        .filter(api_keys::replaced_by.eq(id))
        .filter(api_keys::revoked_at.is_null())
        .select(api_keys::id)
        .first(connection)
        .await
        .optional()
}

pub async fn replace(
    connection: &mut AsyncPgConnection,
    id: ApiKeyId,
    successor: ApiKeyId,
    expires_at: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(api_keys::table.find(id))
        .set((
            api_keys::replaced_by.eq(successor),
            api_keys::expires_at.eq(expires_at),
        ))
        .execute(connection)
        .await
}

/// A key that was presented, with what an access token for it says.
#[derive(QueryableByName)]
pub struct UsedKey {
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pub id: ApiKeyId,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pub user_id: UserId,
    #[diesel(sql_type = Array<Nullable<Text>>)]
    pub roles: Roles,
    #[diesel(sql_type = Array<Nullable<Text>>)]
    scopes: Vec<Option<String>>,
    #[diesel(sql_type = Array<Nullable<Text>>)]
    allowed_networks: Vec<Option<String>>,
    #[diesel(sql_type = Timestamptz)]
    pub expires_at: DateTime<Utc>,
}

impl UsedKey {
    pub fn scopes(&self) -> Vec<Scope> {
        scopes(&self.scopes)
    }

    pub fn allowed_networks(&self) -> Result<Vec<IpNet>, ApiError> {
        networks(&self.allowed_networks)
    }
}

/// The live key of an active user with this secret, which is used now.
pub async fn use_secret(
    connection: &mut AsyncPgConnection,
    kind: Kind,
    secret_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<UsedKey>> {
    diesel::sql_query(
        "WITH used AS (
             UPDATE api_keys SET last_used_at = $3
             WHERE secret_hash = $1 AND kind = $2 AND revoked_at IS NULL AND expires_at > $3
                 AND (last_used_at IS NULL OR last_used_at < $4)
         )
         SELECT api_keys.id, user_id, roles, scopes, allowed_networks, expires_at
         FROM api_keys JOIN users ON users.id = user_id
         WHERE secret_hash = $1 AND kind = $2 AND revoked_at IS NULL AND expires_at > $3 AND users.status = 'active'",
    )
    .bind::<Binary, _>(secret_hash)
    .bind::<Text, _>(kind.name())
    .bind::<Timestamptz, _>(now)
    .bind::<Timestamptz, _>(now - USE_NOTED_EVERY)
    .get_result(connection)
    .await
    .optional()
}
