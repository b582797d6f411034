//! Why whoever asks is refused: the reasons that `security_access_denied_total` tells apart.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    /// The token is genuine, but its session was ended.
    SessionRevoked,
    ServiceTokenInvalid,
    /// Known, and not surely or not lately enough for what they want.
    InsufficientAuthentication,
    /// Known, but without the role or the right, or one who must not decide about their own matter.
    Forbidden,
    /// Of a thing that exists, and was told apart from one that does not only here.
    NotOwner,
}

impl Denial {
    pub const ALL: [Self; 8] = [
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::SessionRevoked,
        Self::ServiceTokenInvalid,
        Self::InsufficientAuthentication,
        Self::Forbidden,
        Self::NotOwner,
    ];

    pub const fn reason(self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::SessionRevoked => "session_revoked",
            Self::ServiceTokenInvalid => "service_token_invalid",
            Self::InsufficientAuthentication => "insufficient_authentication",
            Self::Forbidden => "forbidden",
            Self::NotOwner => "not_owner",
        }
    }
}
