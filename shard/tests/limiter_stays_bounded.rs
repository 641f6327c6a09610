//! Any number of addresses takes a bounded number of accounts, and somebody who is out of tokens is forgotten last.

use conduit_protocol::limiter::{Allowance, Category, Charge, Gate as _, Rate, Subject, Verdict};
use conduit_protocol::{Now, ShardId};
use conduit_shard::Limiter;
use conduit_shard::limiter::ACCOUNTS_MAX;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RATE: Rate = Rate { per_window: 60, window_ms: 60_000, burst: 10 };

fn connects(address: IpAddr) -> Charge {
    Charge { subject: Subject::ip(address), category: Category::Connects, allowance: Allowance::Rate(RATE) }
}

fn v4(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + number))
}

fn is_granted(limiter: &mut Limiter, now: Now, address: IpAddr) -> bool {
    limiter.charge(now, &connects(address)) == Verdict::Granted
}

#[test]
fn a_flood_of_addresses_takes_bounded_memory_and_forgets_no_offender() {
    let mut limiter = Limiter::new(ShardId(0), 1);
    let now = Now::default();
    let offenders: Vec<IpAddr> = (0..100).map(|number| v4(0x00F0_0000 + number)).collect();
    for offender in &offenders {
        while is_granted(&mut limiter, now, *offender) {}
    }
    for number in 0..300_000 {
        assert!(is_granted(&mut limiter, now, v4(number)), "a stranger is never refused for others");
        assert!(limiter.accounts() <= ACCOUNTS_MAX);
    }
    for offender in &offenders {
        assert!(!is_granted(&mut limiter, now, *offender));
    }
}

#[test]
fn a_flood_of_offenders_takes_bounded_memory_too() {
    let mut limiter = Limiter::new(ShardId(0), 1);
    let now = Now::default();
    for number in 0..100_000 {
        for _ in 0..11 {
            is_granted(&mut limiter, now, v4(number));
        }
    }
    assert!(limiter.accounts() <= ACCOUNTS_MAX);
    assert!(limiter.accounts() > ACCOUNTS_MAX / 2, "{}", limiter.accounts());
}

#[test]
fn accounts_that_are_full_again_are_forgotten_by_and_by() {
    let mut limiter = Limiter::new(ShardId(0), 1);
    let mut now = Now::default();
    for number in 0..10_000 {
        assert!(is_granted(&mut limiter, now, v4(number)));
    }
    assert_eq!(limiter.accounts(), 10_000);
    // Each has its token back after a second.
    now = now.plus_ns(1_000_000_000);
    for _ in 0..64 {
        now = now.plus_ns(100_000_000);
        limiter.sweep(now);
    }
    assert_eq!(limiter.accounts(), 0);
}

#[test]
fn a_network_of_ipv6_is_one_address() {
    let mut limiter = Limiter::new(ShardId(0), 1);
    let now = Now::default();
    let host = |network: u16, host: u128| IpAddr::V6(Ipv6Addr::from_bits((u128::from(network) << 64) | host));
    let granted = (0..100_000).filter(|number| is_granted(&mut limiter, now, host(1, *number))).count();
    assert_eq!((granted, limiter.accounts()), (10, 1));
    assert!(is_granted(&mut limiter, now, host(2, 0)));
    let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
    let granted = (0..10).filter(|_| is_granted(&mut limiter, now, mapped)).count();
    assert_eq!(granted, 10);
    assert!(!is_granted(&mut limiter, now, v4(1)));
}

#[test]
fn time_that_stands_still_or_leaps_grants_no_more_than_the_burst() {
    let mut limiter = Limiter::new(ShardId(0), 1);
    for mono_ns in [0, 0, 1, u64::MAX / 2, u64::MAX] {
        let now = Now { mono_ns, unix_ms: 0 };
        assert!((0..100).filter(|_| is_granted(&mut limiter, now, v4(1))).count() <= 10);
    }
}
