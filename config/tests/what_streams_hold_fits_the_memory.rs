//! Nobody should have to know the memory of a machine to start a server that stays within it.

use conduit_config::table::by_flag;
use conduit_config::{Flags, Machine, Origin, Resolved, resolve};

fn on(cores: usize, memory_bytes: u64, given: &[(&'static str, &str)]) -> Resolved {
    let flags = given.iter().fold(Flags::default(), |flags, (flag, text)| flags.with(flag, text));
    resolve(&flags, [], Machine { cores, memory_bytes: Some(memory_bytes) }).expect("valid")
}

fn origin(resolved: &Resolved, flag: &str) -> Origin {
    resolved.origin(by_flag(flag).expect("a setting"))
}

const GIB: u64 = 1 << 30;

#[test]
fn defaults_take_at_most_three_quarters_of_the_memory() {
    for (cores, memory) in
        [(1, GIB), (1, 2 * GIB), (2, 4 * GIB), (2, 23 * GIB), (8, 32 * GIB), (64, 256 * GIB), (64, 64 * GIB)]
    {
        for data_dir in [&[][..], &[("data-dir", "data")]] {
            let resolved = on(cores, memory, data_dir);
            let bound = resolved.memory_bound().messages_bytes;
            assert!(bound <= memory / 4 * 3, "{cores} cores, {memory} bytes: {bound}");
            // They are lowered, and not for nothing: at least the half of what they may take is used.
            assert!(bound > memory / 4, "{cores} cores, {memory} bytes: {bound}");
            assert_eq!(origin(&resolved, "shard-bytes-max"), Origin::Memory);
        }
    }
}

#[test]
fn a_machine_with_room_for_the_defaults_gets_them() {
    let resolved = on(2, 128 * GIB, &[]);
    assert_eq!(resolved.config.shard.shard_bytes_max, 4 * GIB);
    assert_eq!(origin(&resolved, "shard-bytes-max"), Origin::Default);
}

#[test]
fn what_somebody_set_stays_as_it_is() {
    let resolved = on(2, 8 * GIB, &[("shard-bytes-max", "8589934592")]);
    assert_eq!(resolved.config.shard.shard_bytes_max, 8 * GIB);
    assert_eq!(origin(&resolved, "shard-bytes-max"), Origin::Flag);
    assert!(resolved.config.shard.shard_messages_max < 20_000_000);
}

#[test]
fn a_stream_may_hold_what_its_shard_may_unless_somebody_said_otherwise() {
    let lower = on(2, 128 * GIB, &[("shard-bytes-max", "1073741824")]);
    assert_eq!(lower.config.shard.stream_bytes_max, GIB);
    assert_eq!(origin(&lower, "stream-bytes-max"), Origin::Follows("shard-bytes-max"));
    // The shard's default was lowered below what a stream was given.
    let higher = on(2, 4 * GIB, &[("stream-bytes-max", "3221225472")]);
    assert_eq!(higher.config.shard.shard_bytes_max, 3 * GIB);
    assert_eq!(origin(&higher, "shard-bytes-max"), Origin::Follows("stream-bytes-max"));
    // More than the default is a decision that nobody took.
    assert!(resolve(&Flags::default().with("stream-bytes-max", "8589934592"), [], 2).is_err());
}
