//! Containers that restart 0, 1, 2 and 5 times, and what their processes say.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use podgate::core::time::UnixNanos;

use crate::apps::App;
use crate::world::World;

const RESTARTS: [usize; 4] = [0, 1, 2, 5];

/// Four pods whose containers restart so often, side by side. Each run is a process that speaks at once, before its end,
/// and once more after it with what it made before.
pub async fn play(world: &World) {
    let stories = RESTARTS.iter().map(|times| story(world, *times));
    futures_util::future::join_all(stories).await;
}

async fn story(world: &World, times: usize) {
    let pod = world.pod(&format!("cart-{times}"));
    let mut words = FuturesUnordered::new();
    for number in 0..=times {
        if number > 0 {
            world.restart(&pod).await;
        }
        // The label of the deployment, which is the container's name in half of the pods.
        let app = world.app(&pod, if times.is_multiple_of(2) { "app" } else { "checkout" });
        // Each with the time at which it was made, so that a busy machine makes nothing later than its process lived.
        words.push(later(app.clone(), UnixNanos::now(), Duration::ZERO));
        let lives = if number == times { Duration::from_secs(2) } else { Duration::from_millis(1_300) };
        heard(&mut words, lives).await;
        words.push(later(app.clone(), UnixNanos::now(), Duration::ZERO));
        words.push(later(app, UnixNanos::now(), Duration::from_secs(1)));
    }
    while words.next().await.is_some() {}
}

/// What was made at `made` is sent after `wait`.
fn later(app: App, made: UnixNanos, wait: Duration) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        tokio::time::sleep(wait).await;
        app.say(made).await;
    })
}

/// Time goes by, in which what was said is sent.
async fn heard(words: &mut FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>>, time: Duration) {
    let over = tokio::time::sleep(time);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return,
            Some(()) = words.next(), if !words.is_empty() => {}
        }
    }
}
