//! Prefixed ids: `acct_01h455vb4pex5vsknk084sn02q` on the wire, a plain UUIDv7 in the database.
//!
//! The form is the TypeID specification's (Crockford base32, 26 characters), so an id tells what it names, and one of
//! another kind is refused where it is parsed. The uuid is time-ordered, which keeps indexes compact.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use diesel::deserialize::{FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{Output, ToSql};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// What an [`Id`] names, and the prefix that says so.
pub trait Kind: 'static {
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $prefix:literal as $id:ident;)*) => {$(
        #[derive(Debug)]
        pub enum $kind {}
        impl Kind for $kind {
            const PREFIX: &'static str = $prefix;
        }
        $(#[$doc])*
        pub type $id = Id<$kind>;
    )*};
}

kinds! {
    /// A person or a program that can log in.
    User = "usr" as UserId;
    /// A login; the `sid` of an access token. Not the session's secret.
    Session = "sid" as SessionId;
    /// What a program of a user logs in with, and equally the id of an OAuth client.
    ApiKey = "key" as ApiKeyId;
    /// An account of a customer, and equally the ledger account behind it.
    Account = "acct" as AccountId;
    Transfer = "xfer" as TransferId;
    Hold = "hold" as HoldId;
    /// A transfer that is made later, once or again and again.
    Schedule = "sch" as ScheduleId;
    /// A mail or a text message.
    Message = "msg" as MessageId;
    /// A picture of a user.
    Picture = "pic" as PictureId;
    /// An account at another provider that logs a user in.
    SocialAccount = "soc" as SocialAccountId;
    /// The `jti` of an access token.
    AccessToken = "jti" as AccessTokenId;
    /// A second factor of a user, other than a passkey.
    SecondFactor = "fac" as SecondFactorId;
    Passkey = "pky" as PasskeyId;
    /// A challenge that an authenticator was given.
    Ceremony = "cer" as CeremonyId;
    /// A fact in the outbox.
    Event = "evt" as EventId;
    /// What a backend that validates sessions is known by.
    BridgeSecret = "bsec" as BridgeSecretId;
    /// The facts of one transaction of the ledger, and the blocks that one connection wrote.
    Block = "blk" as BlockId;
    Chain = "chn" as ChainId;
    /// Something that a holder's transfers tell; made from what it is about, so it is no UUIDv7.
    Insight = "ins" as InsightId;
    /// What a holder says a payment is for.
    CategoryRule = "cat" as CategoryRuleId;
    /// How likely a customer is to pay back, as assessed once.
    RiskAssessment = "rsk" as RiskAssessmentId;
    /// Where events are sent.
    WebhookEndpoint = "whk" as WebhookEndpointId;
    /// An event on its way to an endpoint.
    WebhookDelivery = "dlv" as WebhookDeliveryId;
    /// A fraud model in the registry.
    Model = "mdl" as ModelId;
    /// A fraud rule that somebody proposed.
    RuleProposal = "rpr" as RuleProposalId;
    /// Who is allowed, blocked or watched.
    ListEntry = "lst" as ListEntryId;
    /// What a person has to judge.
    Alert = "alt" as AlertId;
    Case = "case" as CaseId;
}

#[derive(AsExpression, FromSqlRow)]
#[diesel(sql_type = diesel::sql_types::Uuid)]
pub struct Id<K: Kind> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Id<K> {
    /// A new id, ordered after those made before it on this machine.
    #[expect(clippy::new_without_default, reason = "an id is never a neutral value")]
    pub fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
        let uuid = Uuid::now_v7();
        Self::from_uuid(uuid)
    }

    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self {
            uuid,
            kind: PhantomData,
        }
    }

    pub const fn uuid(self) -> Uuid {
        self.uuid
    }

    /// When it was made, to the millisecond, if it is a UUIDv7.
    pub fn created_at(self) -> Option<DateTime<Utc>> {
        let (seconds, nanoseconds) = self.uuid.get_timestamp()?.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
    }
}

impl<K: Kind> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K: Kind> Copy for Id<K> {}
impl<K: Kind> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K: Kind> Eq for Id<K> {}
impl<K: Kind> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: Kind> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K: Kind> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LENGTH: usize = 26;

/// The value of each byte as a digit; 255 for those that are none.
#[expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "evaluated by the compiler"
)]
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value: u8 = 0;
    let mut letters: &[u8] = ALPHABET;
    while let [letter, rest @ ..] = letters {
        digits[*letter as usize] = value;
        value += 1;
        letters = rest;
    }
    digits
};

fn encode(uuid: Uuid) -> [u8; ENCODED_LENGTH] {
    let mut rest = uuid.as_u128();
    let mut text = [b'0'; ENCODED_LENGTH];
    for character in text.iter_mut().rev() {
        let digit = usize::try_from(rest & 31).unwrap_or_default();
        *character = ALPHABET.get(digit).copied().unwrap_or(b'0');
        rest >>= 5;
    }
    text
}

fn decode(text: &str) -> Option<Uuid> {
    // 26 digits hold 130 bits: the first may only be 0 to 7.
    if text.len() != ENCODED_LENGTH || !text.starts_with(|first: char| ('0'..='7').contains(&first)) {
        return None;
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = DIGITS
            .get(usize::from(byte))
            .copied()
            .filter(|digit| *digit < 32)?;
        value = (value << 5) | u128::from(digit);
    }
    Some(Uuid::from_u128(value))
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::PREFIX)?;
        f.write_str("_")?;
        f.write_str(std::str::from_utf8(&encode(self.uuid)).map_err(|_| fmt::Error)?)
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an id of the kind that was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an id that starts with `{prefix}_`, such as `{prefix}_01h455vb4pex5vsknk084sn02q`")]
pub struct InvalidId {
    prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .and_then(decode)
            .map(Self::from_uuid)
            .ok_or(InvalidId { prefix: K::PREFIX })
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<K: Kind> utoipa::PartialSchema for Id<K> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", K::PREFIX)))
            .examples([format!("{}_01h455vb4pex5vsknk084sn02q", K::PREFIX)])
            .build()
            .into()
    }
}
impl<K: Kind> utoipa::ToSchema for Id<K> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("{}_id", K::PREFIX).into()
    }
}

impl<K: Kind> ToSql<diesel::sql_types::Uuid, Pg> for Id<K> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        ToSql::<diesel::sql_types::Uuid, Pg>::to_sql(&self.uuid, out)
    }
}

impl<K: Kind> FromSql<diesel::sql_types::Uuid, Pg> for Id<K> {
    fn from_sql(value: PgValue<'_>) -> diesel::deserialize::Result<Self> {
        <Uuid as FromSql<diesel::sql_types::Uuid, Pg>>::from_sql(value).map(Self::from_uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_the_typeid_specification_says() {
        let id = AccountId::from_uuid(Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").unwrap());
        assert_eq!(id.to_string(), "acct_01h455vb4pex5vsknk084sn02q");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn another_kind_or_another_text_is_refused() {
        let user = UserId::new().to_string();
        for text in [
            user.as_str(),
            "acct_",
            "acct",
            "",
            "acct_81h455vb4pex5vsknk084sn02q",
            "acct_01H455VB4PEX5VSKNK084SN02Q",
        ] {
            assert!(text.parse::<AccountId>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_ordered_by_the_time_they_were_made() {
        let ids: Vec<AccountId> = (0..1000).map(|_| AccountId::new()).collect();
        assert!(ids.is_sorted());
    }
}
