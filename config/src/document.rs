//! The table of settings as text: the listing of `--check-config` and the tables of `docs/config.md`.

use crate::memory::bytes_text;
use crate::reserved::RESERVED;
use crate::resolve::Resolved;
use crate::setting::{Bounds, Group, Setting, Unit};
use crate::table::SETTINGS;
use std::fmt::Write as _;

/// Every setting with its value and origin, aligned, and the memory bound.
pub(crate) fn listing(resolved: &Resolved) -> String {
    let mut text = String::new();
    for setting in SETTINGS {
        let value = value_text(setting, &setting.show(&resolved.config));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<24} {:<24} {}", setting.flag, value, resolved.origin(setting));
    }
    let bound = resolved.memory_bound();
    let _ = writeln!(
        text,
        "memory bound: messages {}, one connection {} at worst and {} idle",
        bytes_text(bound.messages_bytes),
        bytes_text(bound.connection_bytes),
        bytes_text(bound.connection_idle_bytes),
    );
    text
}

/// The settings of one group as a Markdown table.
#[must_use]
pub fn markdown_table(group: Group) -> String {
    let mut text = String::from("| flag | variable | default | bounds | meaning |\n|---|---|---|---|---|\n");
    for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
        let _ = writeln!(
            text,
            "| `--{}` | `{}` | {} | {} | {} |",
            setting.flag,
            setting.env,
            value_text(setting, &setting.default_text()),
            bounds_text(setting),
            setting.doc,
        );
    }
    text
}

/// The variables of parts that are not built, as a Markdown table.
#[must_use]
pub fn markdown_reserved() -> String {
    let mut text = String::from("| variable | asks for |\n|---|---|\n");
    for reserved in RESERVED {
        let _ = writeln!(text, "| `{}` | {} |", reserved.env, reserved.part);
    }
    text
}

/// A value with its unit, bytes also in powers of 1,024.
pub(crate) fn value_text(setting: &Setting, value: &str) -> String {
    match (setting.unit, value.parse::<u64>()) {
        (Unit::Bytes, Ok(bytes)) if bytes >= 1_024 => format!("{bytes} ({})", bytes_text(bytes)),
        (Unit::None, _) => value.to_owned(),
        (unit, _) => format!("{value} {}", unit.text()),
    }
}

fn bounds_text(setting: &Setting) -> String {
    match (setting.bounds, setting.unit) {
        (Bounds::Range(min, max), Unit::Bytes) => format!("{} to {}", bytes_text(min), bytes_text(max)),
        (Bounds::Range(min, max), _) => format!("{min} to {max}"),
        (Bounds::Choice(words), _) => words.join(", "),
        (Bounds::Form(form), _) => form.to_owned(),
    }
}
