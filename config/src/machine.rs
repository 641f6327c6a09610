//! What the machine has, and the defaults that follow from it.

use crate::config::Config;
use crate::memory::MemoryBound;
use crate::resolve::Origin;
use crate::table::SETTINGS;

/// What a process may use of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// CPUs: the default number of shards.
    pub cores: usize,
    /// Bytes of memory; `None`: not known, and then no default follows from it.
    pub memory_bytes: Option<u64>,
}

impl From<usize> for Machine {
    fn from(cores: usize) -> Self {
        Self { cores, memory_bytes: None }
    }
}

/// The part of the memory that messages may take by default, in sixteenths: the rest is for connections, for the kernel's
/// sockets and its page cache.
const MESSAGES_SIXTEENTHS: u64 = 12;
/// Defaults shrink in steps of one part in so many...
const STEPS: u64 = 256;
/// ... and to no less than so many of them. A machine that is smaller still is warned of at the start.
const STEPS_MIN: u64 = 4;

/// The settings whose defaults shrink with the memory, what they are rounded down to, and from which part of the memory on:
/// the number of streams is as it always is until messages have shrunk to a quarter.
const SHRINKING: [(&str, u64, u64); 7] = [
    ("shard-bytes-max", 1 << 20, 1),
    ("stream-bytes-max", 1 << 20, 1),
    ("shard-messages-max", 1_000, 1),
    ("stream-messages-max", 1_000, 1),
    ("streams-max", 100, 4),
    ("groups-max", 100, 4),
    ("dedup-entries-max", 1_000, 4),
];

/// A stream lives in one shard: what it may hold is at most what the shard may hold.
const WITHIN: [(&str, &str); 2] =
    [("stream-bytes-max", "shard-bytes-max"), ("stream-messages-max", "shard-messages-max")];

/// Makes the defaults follow from the machine, and from each other.
pub(crate) fn settle_defaults(config: &mut Config, origins: &mut [Origin], machine: Machine) {
    if let Some(memory_bytes) = machine.memory_bytes {
        fit_memory(config, origins, memory_bytes);
    }
    let defaults = Config::new(1);
    for (stream, shard) in WITHIN.map(|(stream, shard)| (at(stream), at(shard))) {
        let (of_stream, of_shard) = (number(config, stream), number(config, shard));
        if of_stream <= of_shard {
            continue;
        }
        let (lower, to, follows) = if is_unset(&origins[stream]) {
            (stream, of_shard, shard)
        } else if is_unset(&origins[shard]) && of_stream <= number(&defaults, shard) {
            // It was lowered to fit the machine, and somebody knows better.
            (shard, of_stream, stream)
        } else {
            continue;
        };
        if SETTINGS[lower].set(config, &to.to_string()).is_ok() {
            origins[lower] = Origin::Follows(SETTINGS[follows].flag);
        }
    }
}

/// Lowers what nobody set, so that all messages at their maximum fit into the memory with room for the rest.
fn fit_memory(config: &mut Config, origins: &mut [Origin], memory_bytes: u64) {
    let messages_bytes_max = memory_bytes / 16 * MESSAGES_SIXTEENTHS;
    let fits = |config: &Config| MemoryBound::of(config).messages_bytes <= messages_bytes_max;
    if fits(config) {
        return;
    }
    let defaults = Config::new(1);
    for steps in (STEPS_MIN..STEPS).rev() {
        // What groups have outstanding is not a setting, and of no use beyond the messages that there are.
        config.shard.outstanding_max = defaults.shard.outstanding_max / STEPS * steps;
        for (flag, unit, times) in SHRINKING {
            let (at, steps) = (at(flag), steps * times);
            if steps >= STEPS || !is_unset(&origins[at]) {
                continue;
            }
            let fitting = number(&defaults, at) / STEPS * steps / unit * unit;
            if SETTINGS[at].set(config, &fitting.to_string()).is_ok() {
                origins[at] = Origin::Memory;
            }
        }
        if fits(config) {
            return;
        }
    }
}

const fn is_unset(origin: &Origin) -> bool {
    matches!(origin, Origin::Default | Origin::Memory)
}

fn at(flag: &str) -> usize {
    let at = SETTINGS.iter().position(|setting| setting.flag == flag);
    at.expect("the lists above name settings of the table: a unit test proves it")
}

fn number(config: &Config, at: usize) -> u64 {
    SETTINGS[at].show(config).parse().expect("the lists above name numbers: a unit test proves it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_name_settings() {
        let flags =
            SHRINKING.iter().map(|(flag, ..)| *flag).chain(WITHIN.iter().flat_map(|(lower, upper)| [*lower, *upper]));
        for flag in flags {
            assert!(SETTINGS[at(flag)].show(&Config::new(1)).parse::<u64>().is_ok(), "{flag}");
        }
    }
}
