//! Changing one's password.

use actix_web::{HttpResponse, web};

use super::failure::Failure;
use super::input::Input;
use super::logins::password;
use super::reply;
use crate::passwords::handlers::change;
use crate::state::AppState;

pub fn configure(config: &mut web::ServiceConfig) {
    for path in ["/password-change/self", "/password/change"] {
        config.route(path, web::post().to(change_own));
    }
}

async fn change_own(state: web::Data<AppState>, input: Input) -> Result<HttpResponse, Failure> {
    let valid = input.session(&state).await?;
    let current = password(&input, &["current_password", "currentPassword"])?;
    let new = password(&input, &["new_password", "newPassword"])?;
    let device = &input.client.device;
    change(&state, valid.session.id, device, &current, &new).await?;
    Ok(reply::done("Password updated successfully"))
}
