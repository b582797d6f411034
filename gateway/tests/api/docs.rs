//! The documentation, without a network.

use serde_json::Value;

use crate::stack::Stack;

#[tokio::test]
async fn the_document_is_merged_and_public() {
    let stack = Stack::start().await;
    let answer = stack.request("GET", "/openapi.json").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: Value = answer.json().await.unwrap();
    assert_eq!(
        (document["openapi"].as_str(), document["info"]["title"].as_str()),
        (Some("3.1.0"), Some("Flowlet API"))
    );
    assert_eq!(document["servers"][0]["url"], "/");
    let internal = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .find(|path| path.starts_with("/internal"));
    assert_eq!(internal, None);
}

#[tokio::test]
async fn the_page_loads_only_what_the_gateway_serves() {
    let stack = Stack::start().await;
    let page = stack.request("GET", "/docs/").send().await.unwrap();
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let page = page.text().await.unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    let attribute = |text: &str| {
        text.split('"')
            .next()
            .unwrap()
            .trim_start_matches("./")
            .to_owned()
    };
    let loaded: Vec<String> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|name| page.split(name).skip(1).map(attribute))
        .collect();
    assert!(loaded.len() >= 5, "{loaded:?}");
    for file in loaded {
        let answer = stack
            .request("GET", &format!("/docs/{file}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{file}");
    }
    let settings = stack
        .request("GET", "/docs/swagger-initializer.js")
        .send()
        .await
        .unwrap();
    let settings = settings.text().await.unwrap();
    assert!(
        settings.contains("/openapi.json") && settings.contains(r#""validatorUrl": "none""#),
        "{settings}"
    );
}

#[tokio::test]
async fn the_root_leads_to_the_documentation() {
    let stack = Stack::start().await;
    for path in ["/", "/docs"] {
        let answer = stack.request("GET", path).send().await.unwrap();
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers()["location"].to_str().unwrap()
            ),
            (307, "/docs/")
        );
    }
}
