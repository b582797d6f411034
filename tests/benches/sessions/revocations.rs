//! From the moment a logout is sent until each of two gateways refuses the access token, on a route whose service does not
//! look at sessions itself.

use std::time::{Duration, Instant};

use anyhow::ensure;
use platform::platform::Replica;
use platform::{Client, Platform, Service};

use super::requests::quantile_ms;

const SAMPLES: usize = 300;
const PATH: &str = "/api/v1/accounts";

pub async fn run(platform: &Platform) -> anyhow::Result<()> {
    eprintln!("revocations");
    let user = platform.register("revocation").await;
    let gateways = [0, 1].map(|number| {
        let service = Service::Gateway;
        let url = platform.url_of(Replica { service, number });
        Client::new(platform.http.clone(), url)
    });
    let mut took_us: [Vec<u32>; 2] = Default::default();
    for _ in 0..SAMPLES {
        let session = user.log_in_again().await;
        let [asked, other] = gateways.each_ref().map(|it| it.with_token(&session.access_token));
        // Both have verified the token and keep it.
        for gateway in [&asked, &other] {
            gateway.get(PATH).await.success()?;
        }
        let sent_at = Instant::now();
        asked.post_empty("/api/v1/auth/logout").await.success()?;
        let (one, two) = tokio::try_join!(refused(&asked, sent_at), refused(&other, sent_at))?;
        for (took_us, took) in took_us.iter_mut().zip([one, two]) {
            took_us.push(took.as_micros().try_into()?);
        }
    }
    println!(
        "\n{:<36}{:>10}{:>10}{:>10}",
        "from logout to refusal", "p50 ms", "p99 ms", "max ms"
    );
    let gateways = ["the gateway that was asked", "another gateway"];
    for (gateway, took_us) in gateways.into_iter().zip(&mut took_us) {
        took_us.sort_unstable();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile_ms(took_us, share));
        println!("{gateway:<36}{p50:>10.1}{p99:>10.1}{max:>10.1}");
    }
    Ok(())
}

async fn refused(client: &Client, sent_at: Instant) -> anyhow::Result<Duration> {
    loop {
        let answer = client.get(PATH).await;
        if answer.status == 401 {
            return Ok(sent_at.elapsed());
        }
        answer.success()?;
        ensure!(sent_at.elapsed() < Duration::from_secs(30), "still let in");
    }
}
