//! Pictures of users: uploaded, made anew, shown to everybody, taken away.

use platform::client::{Answer, text_of};
use platform::{Customer, Platform};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

const PICTURE: &str = "/api/v1/auth/me/picture";

/// A whole PNG of one transparent pixel.
pub const PIXEL: &[u8] =
    b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\
    \x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\x0b\x49\x44\x41\x54\x78\x9c\x63\x60\x00\x02\x00\
    \x00\x05\x00\x01\x7a\x5e\xab\x3f\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";

async fn upload(who: &Customer, name: &str, file: &[u8]) -> Answer {
    let head = format!(
        "--limit\r\nContent-Disposition: form-data; name=\"about\"\r\n\r\nme\r\n\
         --limit\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"me.html\"\r\n\
         Content-Type: text/html\r\n\r\n"
    );
    let body = [head.as_bytes(), file, b"\r\n--limit--\r\n"].concat();
    let request = who.request(Method::PUT, PICTURE);
    let request = request.header(CONTENT_TYPE, "multipart/form-data; boundary=limit");
    who.send(request.body(body)).await
}

fn path_of(answer: Answer) -> String {
    let url = text_of(&answer.must_be(200), "picture_url");
    url[url.find("/api/").unwrap()..].to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_shown_to_everybody_until_another_takes_its_place() {
    let platform = Platform::start().await;
    let (ada, anybody) = (platform.register("ada").await, platform.client());
    let first = path_of(upload(&ada, "picture", PIXEL).await);
    let shown = anybody.get(&first).await;
    assert_eq!(shown.status, 200, "{shown}");
    for (name, value) in [
        ("content-type", "image/png"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(shown.header(name), Some(value), "{name}");
    }
    let second = path_of(upload(&ada, "file", PIXEL).await);
    assert_ne!(first, second);
    anybody.get(&first).await.must_be_problem(404, "not_found");
    assert_eq!(anybody.get(&second).await.status, 200);
    let removed = ada.send(ada.request(Method::DELETE, PICTURE)).await;
    assert_eq!(removed.status, 204);
    anybody.get(&second).await.must_be_problem(404, "not_found");
    platform.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_picture_is_refused_whatever_it_is_called() {
    let platform = Platform::start().await;
    let ada = platform.register("ada").await;
    for file in [b"".as_slice(), b"<script>alert(1)</script>", &PIXEL[..40]] {
        upload(&ada, "picture", file)
            .await
            .must_be_problem(422, "invalid_picture");
    }
    let answer = upload(&ada, "portrait", PIXEL).await;
    answer.must_be_problem(400, "invalid_body");
    assert_eq!(answer.pointers(), ["/picture"]);
    let large = vec![0; 5 * 1024 * 1024 + 1];
    upload(&ada, "picture", &large)
        .await
        .must_be_problem(413, "body_too_large");
    let json = ada.put(PICTURE, serde_json::json!({ "picture": "me" })).await;
    json.must_be_problem(415, "unsupported_media_type");
    let cut = ada.request(Method::PUT, PICTURE);
    let cut = cut.header(CONTENT_TYPE, "multipart/form-data; boundary=limit");
    let answer = ada.send(cut.body("--limit\r\nContent-Dis")).await;
    answer.must_be_problem(400, "malformed_body");
    platform.stop().await.unwrap();
}
