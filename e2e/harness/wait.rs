//! Waiting for something to become true, with a limit and a good account when it does not.

use std::future::Future;
use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

/// Tries until the closure returns `Some`. An error of the closure counts as "not yet" and is shown at the end.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let end = Instant::now() + limit;
    loop {
        let seen = look().await;
        if let Ok(Some(found)) = seen {
            return Ok(found);
        }
        if Instant::now() >= end {
            match seen {
                Err(error) => bail!("waited {limit:?} for {what}; the last look failed: {error:#}"),
                Ok(_) => bail!("waited {limit:?} for {what}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Stays true: looks again and again for the whole time and fails at the first `false`.
pub async fn holds<F, Fut>(what: &str, time: Duration, mut look: F) -> anyhow::Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<bool>>,
{
    let end = Instant::now() + time;
    while Instant::now() < end {
        if !look().await? {
            bail!("no longer true: {what}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
