//! Work on several files at the same time.

use std::future::Future;
use std::io;

use tokio::task::JoinSet;

/// Does something with each item, with so many at a time; returns the results in the order in which they come. After the first
/// error nothing more is begun, and what was begun is given up.
///
/// # Errors
/// The first one.
pub(crate) async fn each<I, R, E, F>(
    items: impl IntoIterator<Item = I>,
    at_a_time: usize,
    work: impl Fn(I) -> F,
) -> Result<Vec<R>, E>
where
    F: Future<Output = Result<R, E>> + Send + 'static,
    R: Send + 'static,
    E: Send + 'static,
{
    let mut running = JoinSet::new();
    let mut results = Vec::new();
    for item in items {
        if running.len() >= at_a_time.max(1)
            && let Some(result) = running.join_next().await
        {
            results.push(joined(result)?);
        }
        running.spawn(work(item));
    }
    while let Some(result) = running.join_next().await {
        results.push(joined(result)?);
    }
    Ok(results)
}

/// Nothing here is cancelled while it is waited for, so a task that did not end has panicked.
fn joined<R>(result: Result<R, tokio::task::JoinError>) -> R {
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Runs what may wait for a disk where that holds nobody up.
///
/// # Errors
/// Its own.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|lost| Err(io::Error::other(lost)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn as_many_as_allowed_are_worked_on_together_and_no_more() {
        let (together, now, most) = (Arc::new(Barrier::new(3)), Arc::new(AtomicUsize::new(0)), Arc::default());
        let work = |item: u32| {
            let (together, now, most) = (Arc::clone(&together), Arc::clone(&now), Arc::<AtomicUsize>::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Would wait for ever, were there fewer at a time.
                together.wait().await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, ()>(item)
            }
        };
        let mut results = each(0..9, 3, work).await.unwrap();
        results.sort_unstable();
        assert_eq!(results, (0..9).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn the_first_error_ends_it() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let failed = each(0..100, 2, move |item| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move { if item == 1 { Err(item) } else { Ok(()) } }
        });
        assert_eq!(failed.await, Err(1));
        assert!(begun.load(Ordering::SeqCst) < 10);
    }
}
