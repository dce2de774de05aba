//! Runs simulated networks under as many seeds as wanted, and names those that break a promise.
//!
//! ```text
//! cargo run --release --features sim --example treecast-sim -- 10000 [FIRST-SEED] [STEPS] [moves|laden|movers|twins|mixed|features|lives]
//! ```
//!
//! In storms of their own subscriptions move from home to home (`moves`), with what nobody has read, where
//! puts and quotas wait for it (`laden`), publishers from relay to relay
//! (`movers`), names have two homes that are to be one (`twins`), or much of it happens at once (`mixed`). In others
//! applications use what groups and subscriptions can be set to (`features`): filters, times to live, failures,
//! seeks, subscriptions that come and go; or a group is removed and made again all the time (`lives`).

use std::io::Write;
use std::process::ExitCode;

fn main() -> std::io::Result<ExitCode> {
    let (kinds, words): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| {
        ["moves", "laden", "movers", "twins", "mixed", "features", "lives"].contains(&word.as_str())
    });
    let kind = kinds.first().map_or("", String::as_str);
    let mut numbers = words.into_iter().map(|word| word.parse::<u64>());
    let mut next = |default| numbers.next().map_or(Some(default), Result::ok);
    let (Some(seeds), Some(first), Some(steps)) = (next(1000), next(0), next(500)) else {
        writeln!(
            std::io::stderr(),
            "usage: treecast-sim [SEEDS] [FIRST-SEED] [STEPS] [moves|laden|movers|twins|mixed|features|lives]"
        )?;
        return Ok(ExitCode::from(2));
    };
    let mut failed = 0;
    for seed in first..first + seeds {
        let run = std::panic::catch_unwind(|| match kind {
            "moves" => treecast::sim::world::moves(seed, steps as usize).map(drop),
            "laden" => treecast::sim::world::laden(seed, steps as usize).map(drop),
            "twins" => treecast::sim::world::twins(seed, steps as usize).map(drop),
            "mixed" => treecast::sim::world::mixed(seed, steps as usize).map(drop),
            "features" => treecast::sim::world::features(seed, steps as usize).map(drop),
            "lives" => treecast::sim::world::lives(seed, steps as usize).map(drop),
            "movers" => treecast::sim::storms::movers(seed, steps as usize).map(drop),
            _ => treecast::sim::storms::storm(seed, steps as usize),
        });
        let what = match run {
            Ok(Ok(())) => continue,
            Ok(Err(what)) => what,
            Err(_) => "it panicked".to_owned(),
        };
        failed += 1;
        writeln!(std::io::stdout(), "seed {seed}: {what}")?;
    }
    writeln!(std::io::stdout(), "{seeds} seeds from {first}, {steps} steps each: {failed} failed")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
