//! The events of the programs that measure: number `i` has the value `i` and a key that follows from it.

use clap::Parser;

/// The arguments that these programs have in common.
#[derive(Debug, Clone, Parser)]
pub struct Arguments {
    /// How many events there are
    #[arg(long, default_value_t = 50_000_000)]
    pub events: u64,
    /// How many keys there are
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// Events per second of all subtasks together; 0 is as fast as it goes
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Events per second of event time
    #[arg(long, default_value_t = 1_000_000)]
    pub evrate: u64,
    /// Directory for the lines of the sink
    #[arg(long)]
    pub probe: String,
    /// The job's name
    #[arg(long)]
    pub name: Option<String>,
}

impl Arguments {
    /// The rate as a source takes it.
    pub fn per_second(&self) -> Option<f64> {
        (self.rate > 0).then_some(self.rate as f64)
    }

    /// The key of event `i`.
    pub fn key(&self) -> impl Fn(u64) -> u64 + Clone + Send + Sync + 'static {
        let keys = self.keys.max(1);
        move |i| splitmix64(i) % keys
    }
}

/// A number that looks random and follows from `i`: SplitMix64.
#[inline]
pub fn splitmix64(i: u64) -> u64 {
    let mut z = i.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::splitmix64;

    #[test]
    fn the_numbers_are_those_of_splitmix64_with_the_seed_0() {
        // The generator's n-th output has the state n times the constant: it is this function of the state before.
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(splitmix64(0x9E37_79B9_7F4A_7C15), 0x6E78_9E6A_A1B9_65F4);
    }
}
