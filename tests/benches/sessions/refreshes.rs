//! Refreshes: each connection exchanges the refresh token of its session for the next one, again and again.

use platform::{Customer, Platform};
use serde_json::{Value, json};

use super::requests::{Caller, expect, measure, post};
use super::{CONNECTIONS, ROUND, ROUNDS, checks, median, print_head, print_row};

pub async fn run(platform: &Platform) -> anyhow::Result<()> {
    let user = platform.register("refresh").await;
    let mut sessions = Vec::new();
    for _ in 0..CONNECTIONS {
        sessions.push(user.log_in_again().await);
    }
    let mut cells = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("refreshes, round {round} of {ROUNDS}");
        // The tokens of the round before are used up.
        if round > 1 {
            for session in &mut sessions {
                *session = session.log_in_again().await;
            }
        }
        let callers = sessions.iter().map(refresh).collect();
        let url = checks::url(platform, 0);
        cells.push(measure(platform, &url, callers, None, ROUND).await?);
    }
    print_head("refreshes");
    print_row("refreshes", &median(cells), None);
    Ok(())
}

fn refresh(session: &Customer) -> Caller {
    let mut token = session.refresh_token.clone();
    Box::new(move |answer| {
        if let Some(answer) = answer {
            expect(answer, "refresh_token")?;
            let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
            let tokens: Value = serde_json::from_str(body)?;
            token = platform::client::text_of(&tokens, "refresh_token");
        }
        let body = json!({ "refresh_token": token });
        Ok(Some(post("/api/v1/auth/refresh", &body.to_string())))
    })
}
