//! The table of settings as text: the listing of `--check-config` and the tables of `docs/config.md`.

use crate::config::Config;
use crate::memory::bytes_text;
use crate::reserved::RESERVED;
use crate::resolve::{CONFIG_ENV, Resolved};
use crate::setting::{Bounds, Group, Setting, Unit};
use crate::table::{ALIASES, SETTINGS};
use std::fmt::Write as _;

/// Every setting with its value and origin, aligned, and the memory bound.
pub(crate) fn listing(resolved: &Resolved) -> String {
    let mut text = String::new();
    for setting in SETTINGS {
        let value = value_text(setting, &setting.show(&resolved.config));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<28} {:<32} {}", setting.flag, value, resolved.origin(setting));
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
    let mut text = String::from("| flag | variable | file | default | bounds | meaning |\n|---|---|---|---|---|---|\n");
    for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
        let _ = writeln!(
            text,
            "| `--{}` | `{}` | `{}`{} | {} | {} | {} |",
            setting.flag,
            setting.env,
            setting.yaml,
            if setting.is_live { " ↻" } else { "" },
            value_text(setting, &setting.default_text()),
            bounds_text(setting),
            setting.doc,
        );
    }
    text
}

/// The variables that are known by another name, as a Markdown table.
#[must_use]
pub fn markdown_aliases() -> String {
    let mut text = String::from("| variable | means |\n|---|---|\n");
    for (alias, env) in ALIASES {
        let _ = writeln!(text, "| `{alias}` | `{env}` |");
    }
    text
}

/// Every variable with its default, in the form of an environment file.
#[must_use]
pub fn environment() -> String {
    let mut text = format!("# YAML file with settings, below the environment.\n{CONFIG_ENV}=\n");
    for group in Group::ALL {
        let _ = writeln!(text, "\n# ---- {}", group.title());
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            let default = match setting.flag {
                "shards" | "cpus" => String::new(),
                _ if setting.is_secret() => String::new(),
                _ => setting.show(&Config::new(1)),
            };
            let _ = writeln!(text, "# {} [{}]", setting.doc, bounds_text(setting));
            for (alias, _) in ALIASES.iter().filter(|(_, env)| *env == setting.env) {
                let _ = writeln!(text, "# Also known as {alias}.");
            }
            let _ = writeln!(text, "{}={default}", setting.env);
        }
    }
    let _ = writeln!(
        text,
        "\n# ---- Not built in this version: only their absence, or a value that asks for nothing, is accepted"
    );
    for reserved in RESERVED {
        let _ = writeln!(text, "# {}: {}", reserved.env, reserved.part);
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
