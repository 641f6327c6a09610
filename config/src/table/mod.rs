//! The table of settings: the only place where a setting is declared. Each file holds the rows of some headings.

mod access;
mod durability;
mod http;
mod listen;
mod logs;
mod rates;
mod streams;
mod ws;

use crate::config::Config;
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// Most shards of one server.
pub const SHARDS_MAX: usize = 1_024;

/// A day in milliseconds: the longest any wait may be set to.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The largest byte bound that makes sense on one machine: 64 TiB.
const BYTES_MAX: u64 = 1 << 46;

type Place = fn(&mut Config) -> Slot<'_>;

/// A row whose unit is its name, such as a count or a port.
const fn row(
    flag: &'static str,
    env: &'static str,
    yaml: &'static str,
    group: Group,
    bounds: Bounds,
    slot: Place,
    doc: &'static str,
) -> Setting {
    Setting { flag, env, yaml, group, bounds, unit: Unit::None, is_live: false, slot, doc }
}

/// A row that counts bytes or time.
const fn measure(
    (flag, env, yaml): (&'static str, &'static str, &'static str),
    group: Group,
    unit: Unit,
    (min, max): (u64, u64),
    slot: Place,
    doc: &'static str,
) -> Setting {
    Setting { flag, env, yaml, group, bounds: Bounds::Range(min, max), unit, is_live: false, slot, doc }
}

/// The rows by heading, in the order of [`Group::ALL`].
const PARTS: &[&[Setting]] =
    &[listen::ROWS, logs::ROWS, access::ROWS, rates::ROWS, durability::ROWS, http::ROWS, ws::ROWS, streams::ROWS];

const fn count() -> usize {
    let (mut part, mut count) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
}

const fn joined() -> [Setting; count()] {
    let mut all = [PARTS[0][0]; count()];
    let (mut part, mut at) = (0, 0);
    while part < PARTS.len() {
        let mut row = 0;
        while row < PARTS[part].len() {
            all[at] = PARTS[part][row];
            at += 1;
            row += 1;
        }
        part += 1;
    }
    all
}

/// Every setting, grouped, in the order of the help text.
pub static SETTINGS: &[Setting] = &joined();

/// Other names of variables that documents of older versions use, each with the variable that it stands for.
pub static ALIASES: &[(&str, &str)] = &[
    ("CONDUIT_RATE_LIMIT_ENABLED", "CONDUIT_HTTP_RATE_LIMIT_ENABLED"),
    ("CONDUIT_RATE_LIMIT_RATE", "CONDUIT_HTTP_RATE_LIMIT_PER_IP"),
    ("CONDUIT_RATE_LIMIT_WINDOW_MS", "CONDUIT_HTTP_RATE_LIMIT_WINDOW_MS"),
    ("CONDUIT_RATE_LIMIT_BURST_ENQUEUE", "CONDUIT_HTTP_BURST_LIMIT_ENQUEUE"),
    ("CONDUIT_REQUEST_TIMEOUT", "CONDUIT_REQUEST_TIMEOUT_MS"),
    ("CONDUIT_MAX_BODY_SIZE", "CONDUIT_MAX_JSON_SIZE"),
];

/// The setting of a flag.
#[must_use]
pub fn by_flag(flag: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.flag == flag)
}

/// The setting of an environment variable, by its own name or another that it is known by.
#[must_use]
pub fn by_env(env: &str) -> Option<&'static Setting> {
    let env = ALIASES.iter().find(|(alias, _)| *alias == env).map_or(env, |(_, env)| env);
    SETTINGS.iter().find(|setting| setting.env == env)
}

#[cfg(test)]
mod tests;
