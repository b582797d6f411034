//! The words of messages: a letter for each kind, in text and in HTML by one pair of templates, and as a text message.

use anyhow::Context;
use askama::Template;

/// What a message says, before it is put into a form.
#[derive(Debug)]
pub struct Letter {
    pub brand: String,
    pub subject: String,
    pub paragraphs: Vec<String>,
    pub action: Option<Action>,
    pub code: Option<String>,
    pub closing: String,
}

/// What the reader is asked to do.
#[derive(Debug)]
pub struct Action {
    pub label: &'static str,
    pub url: String,
}

#[derive(Template)]
#[template(path = "letter.txt")]
struct Text<'l> {
    letter: &'l Letter,
}

#[derive(Template)]
#[template(path = "letter.html")]
struct Html<'l> {
    letter: &'l Letter,
}

const NOT_YOU: &str = "If you did not ask for this, ignore this message: nothing changes without it.";
const WAS_NOT_YOU: &str = "If this was not you, reset your password now, and look at your sessions.";

impl Letter {
    fn new(brand: &str, subject: String, paragraphs: &[&str], closing: &str) -> Self {
        Self {
            brand: brand.to_owned(),
            subject,
            paragraphs: paragraphs.iter().map(|text| (*text).to_owned()).collect(),
            action: None,
            code: None,
            closing: closing.to_owned(),
        }
    }

    fn with_action(mut self, label: &'static str, url: String) -> Self {
        self.action = Some(Action { label, url });
        self
    }

    fn with_code(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }

    pub fn email_verification(brand: &str, url: String) -> Self {
        Self::new(
            brand,
            format!("Verify your e-mail for {brand}"),
            &["Somebody registered with this e-mail address. Verify that it is yours within 24 hours."],
            "If it was not you, do nothing, and the address stays unverified.",
        )
        .with_action("Verify the e-mail", url)
    }

    pub fn password_reset(brand: &str, url: String) -> Self {
        Self::new(
            brand,
            format!("Set a new password for {brand}"),
            &["Set a new password within an hour. It ends all sessions."],
            NOT_YOU,
        )
        .with_action("Set a new password", url)
    }

    pub fn login_link(brand: &str, url: String) -> Self {
        let warning = "Open it within 10 minutes. It works once; never pass it on to anybody.";
        Self::new(brand, format!("Log in to {brand}"), &[warning], NOT_YOU).with_action("Log in", url)
    }

    pub fn code(brand: &str, code: &str) -> Self {
        let warning = "Your code is good for 10 minutes. We never ask for it: never tell it to anybody.";
        Self::new(brand, format!("Your code for {brand}"), &[warning], NOT_YOU).with_code(code)
    }

    pub fn password_changed(brand: &str) -> Self {
        Self::new(
            brand,
            format!("Your password for {brand} was changed"),
            &["The password of your account has just been changed, and other sessions were ended."],
            WAS_NOT_YOU,
        )
    }

    pub fn email_changed(brand: &str) -> Self {
        Self::new(
            brand,
            format!("Your e-mail for {brand} was changed"),
            &["Your account has another e-mail from now on. This one does not log in any more."],
            "If this was not you, somebody else has your account: write to us now.",
        )
    }

    pub fn breached_password(brand: &str) -> Self {
        Self::new(
            brand,
            format!("Change your password for {brand}"),
            &[
                "The password that you log in with is on a list of passwords that were stolen elsewhere.",
                "Whoever wants to break into accounts tries those first. Choose another one, used nowhere else.",
            ],
            "Your account has not been broken into as far as we know.",
        )
    }

    pub fn login_added(brand: &str, provider: &str) -> Self {
        Self::new(
            brand,
            format!("A way to log in to {brand} was added"),
            &[&format!("From now on your account at {provider} logs you in.")],
            WAS_NOT_YOU,
        )
    }

    pub fn text(&self) -> anyhow::Result<String> {
        Text { letter: self }.render().context("a letter")
    }

    pub fn html(&self) -> anyhow::Result<String> {
        Html { letter: self }.render().context("a letter")
    }

    /// As a text message, where every character costs.
    pub fn short_text(&self) -> String {
        match (&self.code, &self.action) {
            (Some(code), _) => format!(
                "{code} is your code for {}. Never tell it to anybody.",
                self.brand
            ),
            (None, Some(action)) => format!("{}: {}", self.subject, action.url),
            (None, None) => format!("{}. {}", self.subject, self.closing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_whole_in_both_forms_and_nothing_of_it_is_markup() {
        let url = r#"https://app.example.com/a?token=reset_1&x="><script>"#;
        let letter = Letter::password_reset("A <b> bank", url.to_owned());
        assert!(letter.text().unwrap().contains(&format!("\n{url}\n")));
        let html = letter.html().unwrap();
        assert!(!html.contains("<script>") && !html.contains("A <b>"), "{html}");
        assert!(
            html.contains("token=reset_1&#38;x=&#34;&#62;&#60;script&#62;"),
            "{html}"
        );
    }

    #[test]
    fn a_code_is_in_every_form() {
        let letter = Letter::code("Flowlet", "123456");
        for form in [
            letter.text().unwrap(),
            letter.html().unwrap(),
            letter.short_text(),
        ] {
            assert!(form.contains("123456"), "{form}");
        }
        assert!(letter.short_text().len() <= 160);
    }

    #[test]
    fn what_we_write_needs_no_encoding() {
        for letter in [
            Letter::email_verification("Flowlet", "https://app.example.com".to_owned()),
            Letter::login_link("Flowlet", "https://app.example.com".to_owned()),
            Letter::password_changed("Flowlet"),
            Letter::email_changed("Flowlet"),
            Letter::breached_password("Flowlet"),
            Letter::login_added("Flowlet", "google"),
        ] {
            for form in [
                letter.text().unwrap(),
                letter.html().unwrap(),
                letter.short_text(),
            ] {
                assert!(form.is_ascii() && !form.trim().is_empty(), "{form}");
            }
        }
    }
}
