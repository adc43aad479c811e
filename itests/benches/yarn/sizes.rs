//! What is shipped to a cluster, and what a user unpacks.

use anyhow::{Context as _, Result};

use crate::client::Distribution;

/// Sizes of the stripped executables.
pub fn report(distribution: &Distribution) -> Result<()> {
    println!("\n### Sizes\n\n| executable | MB |\n|---|--:|");
    let mut total = 0;
    for name in ["lib/flink", "lib/flumen-appmaster", "lib/flumen-taskexecutor", "examples/wordcount"] {
        let path = distribution.dir.join(name);
        let bytes = std::fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?.len();
        total += bytes;
        println!("| {name} | {:.1} |", bytes as f64 / 1e6);
    }
    println!("| together | {:.1} |", total as f64 / 1e6);
    Ok(())
}
