//! What every service of the platform shares: the vocabulary (ids, money, errors, pages), the typed clients and
//! wire types of calls between services, and the bootstrap of a process (configuration, database, telemetry, server).
//!
//! Deliberately absent: any rule of the business. A rule belongs to the one service that owns its truth.

pub mod access_token;
pub mod audit;
pub mod authorization;
pub mod clients;
pub mod clock;
pub mod config;
pub mod currency;
pub mod db;
pub mod denial;
pub mod error;
pub mod export;
pub mod field_key;
pub mod http_client;
pub mod id;
pub mod idempotency;
pub mod json;
pub mod money;
pub mod openapi;
pub mod origin;
pub mod page;
pub mod principal;
pub mod process;
pub mod redis;
pub mod request_context;
pub mod scope;
pub mod server;
pub mod service_token;
pub mod telemetry;
pub mod time_zone;
pub mod trace;

pub use clock::Clock;
pub use currency::Currency;
pub use db::Db;
pub use denial::Denial;
pub use error::{ApiError, Outcome};
pub use field_key::FieldKeys;
pub use http_client::HttpClient;
pub use id::Id;
pub use json::Json;
pub use money::Amount;
pub use origin::Origin;
pub use page::{Cursor, Page};
pub use principal::{Assurance, Principal, Role};
pub use redis::Redis;
pub use scope::Scope;
pub use service_token::{ServiceCaller, ServiceTokens};
pub use time_zone::TimeZone;
