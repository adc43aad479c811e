//! What a program says about its execution.

use std::time::Duration;

use flumen::{CheckpointingMode, RestartStrategy};

use crate::world::{env, run};

#[test]
fn a_wrong_option_that_the_program_sets_is_refused() {
    let env = env(1);
    env.set_max_parallelism(2);
    env.set_parallelism(3);
    let error = run(&env, env.generate(1, None, |i| i)).unwrap_err().to_string();
    assert!(error.contains("maximum parallelism 2"), "{error}");
}

#[test]
fn a_restart_strategy_of_the_program_wins() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let env = env(1);
    env.set_restart_strategy(RestartStrategy::FixedDelay { attempts: 2, delay: Duration::from_millis(1) });
    let tries = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&tries);
    let stream = env.generate(1, None, |i| i).map(move |i| {
        assert!(counter.fetch_add(1, Ordering::SeqCst) >= 2, "not yet");
        i
    });
    assert_eq!(run(&env, stream).unwrap(), [0]);
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[test]
fn a_missing_savepoint_is_named_before_anything_runs() {
    let env = crate::world::with_options(1, &[("execution.state-recovery.path", "/no/such/savepoint")]);
    env.enable_checkpointing(Duration::from_secs(3600), CheckpointingMode::ExactlyOnce);
    let error = run(&env, env.generate(1, None, |_| -> u64 { unreachable!("it must not run") })).unwrap_err();
    assert!(matches!(&error, flumen::Error::Snapshot { path, .. } if path == "/no/such/savepoint"), "{error:?}");
}
