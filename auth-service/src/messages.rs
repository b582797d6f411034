//! Mail and text messages. They are queued in the transaction of what they tell about, and sent by `delivery` afterwards, so
//! that nothing waits for a mail server and nothing is told that did not happen.
//!
//! A mail that carries a token is only a request in the queue: who has the e-mail, if anybody, is looked up and the token is
//! made when it is sent. So asking for one takes the same steps whether or not there is such a user, and no token is stored.
//!
//! Deliberately absent: anything that a user wrote, such as a name. Whoever registers the e-mail of a stranger would
//! otherwise choose what we send there.

mod carrier;
pub mod delivery;
mod letter;
mod links;
pub mod queries;

use chrono::Duration;
use serde::{Deserialize, Serialize};

pub use carrier::{CarrierConfig, Carriers};
pub use links::{LinkTarget, Links};

/// By which way a message goes, and so what its recipient is: an e-mail or a phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Email,
    Sms,
}

impl Channel {
    pub const ALL: [Self; 2] = [Self::Email, Self::Sms];

    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.name() == name)
    }
}

/// What a message says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// With a link that verifies the e-mail.
    EmailVerification,
    /// With a link to a page where another password is set.
    PasswordReset {
        target: LinkTarget,
    },
    /// With a link to a page that logs in.
    LoginLink {
        target: LinkTarget,
    },
    /// With a code for the program that asked for it, and has this request.
    LoginCode {
        request: String,
    },
    /// The second step of a login, or a step that proves that a phone or an e-mail is the user's.
    Code {
        code: String,
    },
    PasswordChanged,
    /// To the e-mail that was the user's until now.
    EmailChanged,
    /// The password that the user just logged in with is on lists that everybody has.
    BreachedPassword,
    /// A way to log in that was added: the name of a provider.
    LoginAdded {
        provider: String,
    },
}

impl Content {
    /// What the queue and the metrics call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EmailVerification => "email_verification",
            Self::PasswordReset { .. } => "password_reset",
            Self::LoginLink { .. } => "login_link",
            Self::LoginCode { .. } => "login_code",
            Self::Code { .. } => "code",
            Self::PasswordChanged => "password_changed",
            Self::EmailChanged => "email_changed",
            Self::BreachedPassword => "breached_password",
            Self::LoginAdded { .. } => "login_added",
        }
    }

    /// After this long it is of no use any more, and is not sent.
    fn lifetime(&self) -> Duration {
        match self {
            Self::LoginLink { .. } | Self::LoginCode { .. } | Self::Code { .. } => Duration::minutes(10),
            Self::PasswordReset { .. } => Duration::hours(1),
            Self::EmailVerification
            | Self::PasswordChanged
            | Self::EmailChanged
            | Self::BreachedPassword
            | Self::LoginAdded { .. } => Duration::days(1),
        }
    }
}
