//! One row of the table of settings: its names, its bounds, its place in [`Config`].

use crate::config::{Config, LogFormat, LogLevel};
use crate::cpus;
use crate::durability::DurabilityRules;
use crate::edge::{CODECS, FileChoice};
use crate::networks::Networks;
use crate::origins::{self, Origins};
use crate::secret::Secret;
use conduit_protocol::Encoding;
use std::net::IpAddr;
use std::path::PathBuf;

/// One thing that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The flag without its dashes; also the setting's name in listings. Always the variable's name without
    /// `CONDUIT_`, in lower case with dashes.
    pub flag: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// Its place in the YAML file: keys joined by dots.
    pub yaml: &'static str,
    /// The heading it stands under.
    pub group: Group,
    /// What values pass.
    pub bounds: Bounds,
    /// What the number counts.
    pub unit: Unit,
    /// A reload brings another value into force; without this it needs a restart.
    pub is_live: bool,
    /// Where the value lives.
    pub(crate) slot: fn(&mut Config) -> Slot<'_>,
    /// What it does, in a sentence or two.
    pub doc: &'static str,
}

/// The headings of the help text and of `docs/config.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Addresses and connections.
    Listen,
    /// Shards and CPUs.
    Threads,
    /// Shutdown and diagnostics.
    Process,
    /// Reload and drain.
    Reload,
    /// Access logs.
    Logs,
    /// Tokens, tenants, rules, origins.
    Access,
    /// Rates and caps.
    Rates,
    /// HTTP requests.
    Http,
    /// WebSocket connections.
    WebSocket,
    /// Streams, messages and memory.
    Streams,
    /// Consumers, credit and acknowledgements.
    Consumers,
    /// What is on the disk.
    Durability,
}

impl Group {
    /// All headings, in order.
    pub const ALL: [Self; 12] = [
        Self::Listen,
        Self::Threads,
        Self::Process,
        Self::Reload,
        Self::Logs,
        Self::Access,
        Self::Rates,
        Self::Durability,
        Self::Http,
        Self::WebSocket,
        Self::Streams,
        Self::Consumers,
    ];

    /// The heading's text.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Listen => "Addresses and connections",
            Self::Threads => "Shards and CPUs",
            Self::Process => "Shutdown and diagnostics",
            Self::Http => "HTTP",
            Self::WebSocket => "WebSocket",
            Self::Streams => "Streams and memory",
            Self::Consumers => "Consumers, credit and acks",
            Self::Reload => "Reload and drain",
            Self::Logs => "Access logs",
            Self::Access => "Access, tenants and rules",
            Self::Rates => "Rates and caps",
            Self::Durability => "Durability",
        }
    }

    /// Few operators need these: they are left out of the short help.
    #[must_use]
    pub const fn is_advanced(self) -> bool {
        matches!(self, Self::Rates | Self::Logs | Self::Http | Self::WebSocket | Self::Streams | Self::Consumers)
    }
}

/// What values pass.
#[derive(Debug, Clone, Copy)]
pub enum Bounds {
    /// A whole number from the first to the second, both included.
    Range(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Anything its type can read, described for people.
    Form(&'static str),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nothing: a word, an address, a list, a plain count of what the name says.
    None,
    /// Bytes; the text may end with `KiB`, `MiB` or `GiB` (or `k`, `m`, `g`, all powers of 1,024).
    Bytes,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
}

impl Unit {
    /// The unit for people; empty for none.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bytes => "bytes",
            Self::Ms => "ms",
            Self::Us => "us",
        }
    }
}

/// The place of a value in [`Config`], borrowed for reading or writing.
#[derive(Debug)]
pub(crate) enum Slot<'c> {
    /// A number.
    U16(&'c mut u16),
    /// A number.
    U32(&'c mut u32),
    /// A number.
    U64(&'c mut u64),
    /// A number.
    Usize(&'c mut usize),
    /// An address.
    Ip(&'c mut IpAddr),
    /// A CPU list.
    Cpus(&'c mut Option<Vec<usize>>),
    /// A directory, or none.
    Path(&'c mut Option<PathBuf>),
    /// Rules.
    Durability(&'c mut DurabilityRules),
    /// A severity.
    Level(&'c mut LogLevel),
    /// A format.
    Format(&'c mut LogFormat),
    /// A switch.
    Bool(&'c mut bool),
    /// A token or key.
    Secret(&'c mut Option<Secret>),
    /// Tokens.
    Secrets(&'c mut Vec<Secret>),
    /// A text, or none.
    Text(&'c mut Option<String>),
    /// A text.
    Word(&'c mut String),
    /// Texts.
    Texts(&'c mut Vec<String>),
    /// An address of the web, or none.
    Url(&'c mut Option<String>),
    /// Addresses of the web.
    Urls(&'c mut Vec<String>),
    /// Names of variables.
    Names(&'c mut Vec<String>),
    /// Networks.
    Networks(&'c mut Networks),
    /// Origins.
    Origins(&'c mut Origins),
    /// A file, the usual one, or none.
    File(&'c mut FileChoice),
    /// An encoding.
    Codec(&'c mut Encoding),
}

/// Why a text is not a value of a setting, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// What is wrong, with the bound.
    pub(crate) reason: String,
    /// What to write.
    pub(crate) remedy: String,
}

impl Setting {
    /// The same row, of a setting that a reload changes.
    pub(crate) const fn live(self) -> Self {
        Self { is_live: true, ..self }
    }

    /// Its value is never shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!((self.slot)(&mut Config::new(1)), Slot::Secret(_) | Slot::Secrets(_))
    }

    /// Its value is a list: commas separate its entries in a flag or variable.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(
            (self.slot)(&mut Config::new(1)),
            Slot::Secrets(_)
                | Slot::Texts(_)
                | Slot::Urls(_)
                | Slot::Names(_)
                | Slot::Networks(_)
                | Slot::Origins(_)
                | Slot::Cpus(_)
                | Slot::Durability(_)
        )
    }

    /// The text of a list without entries.
    pub(crate) fn empty_list(&self) -> &'static str {
        if self.is_secret() { "" } else { NOTHING }
    }

    /// Its value is `true` or `false`.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        matches!((self.slot)(&mut Config::new(1)), Slot::Bool(_))
    }

    /// Reads `text` into its place.
    pub(crate) fn set(&self, config: &mut Config, text: &str) -> Result<(), Unfit> {
        let slot = (self.slot)(config);
        match slot {
            Slot::U16(place) => store(place, self.number(text)?),
            Slot::U32(place) => store(place, self.number(text)?),
            Slot::U64(place) => store(place, self.number(text)?),
            Slot::Usize(place) => store(place, self.number(text)?),
            Slot::Ip(place) => *place = text.trim().parse().map_err(|_| self.unfit("it is not an IP address"))?,
            Slot::Cpus(place) => *place = Some(cpus::parse(text).map_err(|reason| self.unfit(reason))?),
            Slot::Path(place) => *place = parse_path(text).map_err(|reason| self.unfit(reason))?,
            Slot::Durability(place) => *place = DurabilityRules::parse(text).map_err(|reason| self.unfit(reason))?,
            Slot::Level(place) => *place = LogLevel::from_text(text).ok_or_else(|| self.unfit("no such level"))?,
            Slot::Format(place) => *place = LogFormat::from_text(text).ok_or_else(|| self.unfit("no such format"))?,
            Slot::Bool(place) => {
                *place = parse_switch(text).ok_or_else(|| self.unfit("it is neither true nor false"))?;
            }
            Slot::Secret(place) => *place = self.parse_secret(text).map_err(|reason| self.unfit(reason))?,
            Slot::Secrets(place) => *place = Secret::tokens(text).map_err(|reason| self.unfit(reason))?,
            Slot::Text(place) => *place = parse_text(text).map_err(|reason| self.unfit(reason))?,
            Slot::Word(place) => {
                let text = parse_text(text).map_err(|reason| self.unfit(reason))?;
                *place = text.ok_or_else(|| self.unfit("it is needed"))?;
            }
            Slot::Texts(place) => *place = parse_texts(text).map_err(|reason| self.unfit(reason))?,
            Slot::Url(place) => *place = parse_url(text).map_err(|reason| self.unfit(reason))?,
            Slot::Urls(place) => *place = parse_urls(text).map_err(|reason| self.unfit(reason))?,
            Slot::Names(place) => *place = parse_names(text).map_err(|reason| self.unfit(reason))?,
            Slot::Networks(place) => *place = Networks::parse(text).map_err(|reason| self.unfit(reason))?,
            Slot::Origins(place) => *place = Origins::parse(text).map_err(|reason| self.unfit(reason))?,
            Slot::File(place) => *place = parse_file(text).map_err(|reason| self.unfit(reason))?,
            Slot::Codec(place) => *place = parse_codec(text).ok_or_else(|| self.unfit("no such codec"))?,
        }
        Ok(())
    }

    /// The value, in the form that the flag takes.
    #[must_use]
    pub fn show(&self, config: &Config) -> String {
        // The table has one accessor for reading and writing; a listing can afford the copy.
        let mut config = config.clone();
        match (self.slot)(&mut config) {
            Slot::U16(place) => place.to_string(),
            Slot::U32(place) => place.to_string(),
            Slot::U64(place) => place.to_string(),
            Slot::Usize(place) => place.to_string(),
            Slot::Ip(place) => place.to_string(),
            Slot::Cpus(place) => place.as_deref().map_or_else(|| "any".to_owned(), cpus::show),
            Slot::Path(place) => place.as_ref().map_or_else(|| NOTHING.to_owned(), |path| path.display().to_string()),
            Slot::Durability(place) => place.to_string(),
            Slot::Level(place) => place.text().to_owned(),
            Slot::Format(place) => place.text().to_owned(),
            Slot::Bool(place) => place.to_string(),
            Slot::Secret(None) => NOTHING.to_owned(),
            Slot::Secret(Some(_)) => "set, not shown".to_owned(),
            Slot::Secrets(place) => match place.len() {
                0 => NOTHING.to_owned(),
                1 => "1 token, not shown".to_owned(),
                count => format!("{count} tokens, not shown"),
            },
            Slot::Word(place) => place.clone(),
            Slot::Text(place) | Slot::Url(place) => place.clone().unwrap_or_else(|| NOTHING.to_owned()),
            Slot::Texts(place) | Slot::Urls(place) | Slot::Names(place) if place.is_empty() => NOTHING.to_owned(),
            Slot::Texts(place) | Slot::Urls(place) | Slot::Names(place) => place.join(","),
            Slot::Networks(place) => place.to_string(),
            Slot::Origins(place) => place.to_string(),
            Slot::File(FileChoice::Usual) => USUAL.to_owned(),
            Slot::File(FileChoice::None) => NOTHING.to_owned(),
            Slot::File(FileChoice::Path(path)) => path.display().to_string(),
            Slot::Codec(place) => CODECS[*place as usize].to_owned(),
        }
    }

    /// It has the same value in two configurations.
    #[must_use]
    pub fn is_same(&self, one: &Config, other: &Config) -> bool {
        let (mut copy, mut other_copy) = (one.clone(), other.clone());
        match ((self.slot)(&mut copy), (self.slot)(&mut other_copy)) {
            (Slot::Secret(one), Slot::Secret(other)) => one == other,
            (Slot::Secrets(one), Slot::Secrets(other)) => one == other,
            _ => self.show(one) == self.show(other),
        }
    }

    /// Takes its value over from another configuration.
    pub(crate) fn copy(&self, from: &Config, to: &mut Config) {
        if self.flag == "cpus" {
            to.cpus.clone_from(&from.cpus);
        } else if !self.is_secret() {
            // What is shown is what the flag takes, for all but secrets, which are live.
            let _ = self.set(to, &self.show(from));
        }
    }

    /// The default for people: it may depend on the machine.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.flag {
            "shards" => "one per core".to_owned(),
            _ => self.show(&Config::new(1)),
        }
    }

    /// A token, or a key of signatures. Nothing that is said about it contains it.
    fn parse_secret(&self, text: &str) -> Result<Option<Secret>, String> {
        let text = text.trim();
        if self.flag == "jwt-secret" {
            // RFC 7518, section 3.2: a key shorter than the hash can be found by trying.
            return if text.len() < JWT_SECRET_BYTES_MIN {
                Err(format!("it is shorter than {JWT_SECRET_BYTES_MIN} bytes"))
            } else {
                Ok(Some(Secret::new(text)))
            };
        }
        Secret::token(text).map(Some)
    }

    fn number(&self, text: &str) -> Result<u64, Unfit> {
        let Bounds::Range(min, max) = self.bounds else { return Err(self.unfit("it takes no number")) };
        let number = parse_number(text, self.unit).ok_or_else(|| self.unfit("it is not a whole number"))?;
        if number < min {
            return Err(self.unfit(format!("it is below the minimum of {min}")));
        }
        if number > max {
            return Err(self.unfit(format!("it is above the maximum of {max}")));
        }
        Ok(number)
    }

    fn unfit(&self, reason: impl Into<String>) -> Unfit {
        let remedy = match (self.bounds, self.unit) {
            (Bounds::Range(min, max), Unit::None) => format!("give a whole number from {min} to {max}"),
            (Bounds::Range(min, max), Unit::Bytes) => {
                format!("give a number of bytes from {min} to {max}, with KiB, MiB or GiB behind it if you like")
            }
            (Bounds::Range(min, max), unit) => format!("give a whole number of {} from {min} to {max}", unit.text()),
            (Bounds::Choice(words), _) => format!("give one of: {}", words.join(", ")),
            (Bounds::Form(form), _) => format!("give {form}"),
        };
        Unfit { reason: reason.into(), remedy }
    }
}

/// The word for the absence of a value.
const NOTHING: &str = "none";

/// Shortest key of HS256.
const JWT_SECRET_BYTES_MIN: usize = 32;

/// The word for the file at the usual place.
const USUAL: &str = "auto";

/// Most addresses or names of a list.
const LIST_MAX: usize = 256;

/// `true` or `false`; `1` and `0` are what service files like to write.
fn parse_switch(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn parse_codec(text: &str) -> Option<Encoding> {
    [Encoding::Json, Encoding::MessagePack].into_iter().find(|codec| CODECS[*codec as usize] == text.trim())
}

fn parse_text(text: &str) -> Result<Option<String>, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return Err("it has a control character, or bytes that are not UTF-8");
    }
    Ok((text != NOTHING).then(|| text.to_owned()))
}

fn parse_texts(text: &str) -> Result<Vec<String>, String> {
    parse_list(text, |entry| match parse_text(entry) {
        Ok(Some(entry)) => Ok(entry),
        Ok(None) => Err("`none` stands among others".to_owned()),
        Err(reason) => Err(format!("an entry is wrong: {reason}")),
    })
}

fn parse_url(text: &str) -> Result<Option<String>, String> {
    if text.trim() == NOTHING { Ok(None) } else { origins::url(text, &["https", "http"]).map(Some) }
}

fn parse_urls(text: &str) -> Result<Vec<String>, String> {
    parse_list(text, |entry| origins::url(entry, &["wss", "ws", "https", "http"]))
}

fn parse_names(text: &str) -> Result<Vec<String>, String> {
    parse_list(text, |entry| {
        let is_name = !entry.is_empty() && entry.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_name { Ok(entry.to_owned()) } else { Err(format!("`{entry}` is no name of a variable")) }
    })
}

fn parse_list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    if text.trim() == NOTHING {
        return Ok(Vec::new());
    }
    let entries: Vec<T> = text.split(',').map(|entry| parse(entry.trim())).collect::<Result<_, _>>()?;
    if entries.len() > LIST_MAX { Err(format!("there are more than {LIST_MAX} entries")) } else { Ok(entries) }
}

fn parse_file(text: &str) -> Result<FileChoice, &'static str> {
    if text == USUAL {
        return Ok(FileChoice::Usual);
    }
    Ok(parse_path(text)?.map_or(FileChoice::None, FileChoice::Path))
}

/// A directory or file, or `none`. A path with bytes that are not UTF-8 has arrived with a mark in their place.
fn parse_path(text: &str) -> Result<Option<PathBuf>, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.contains(['\0', char::REPLACEMENT_CHARACTER]) {
        return Err("it has bytes that are not UTF-8");
    }
    Ok((text != NOTHING).then(|| PathBuf::from(text)))
}

/// Writes a number that its bounds have checked. The table's own test proves that every maximum fits its place.
fn store<T: TryFrom<u64>>(place: &mut T, number: u64) {
    if let Ok(number) = T::try_from(number) {
        *place = number;
    }
}

/// A whole number; `_` may group its digits, and bytes may have a binary suffix.
pub(crate) fn parse_number(text: &str, unit: Unit) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    let factor: u64 = match (unit, suffix.trim().to_ascii_lowercase().as_str()) {
        (_, "") => 1,
        (Unit::Bytes, "k" | "kib") => 1 << 10,
        (Unit::Bytes, "m" | "mib") => 1 << 20,
        (Unit::Bytes, "g" | "gib") => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_groups_and_binary_suffixes() {
        assert_eq!(parse_number("10_000", Unit::None), Some(10_000));
        assert_eq!(parse_number(" 64KiB ", Unit::Bytes), Some(65_536));
        assert_eq!(parse_number("2g", Unit::Bytes), Some(2 << 30));
        for (text, unit) in [("64KiB", Unit::None), ("", Unit::None), ("-1", Unit::None), ("1.5", Unit::Bytes)] {
            assert_eq!(parse_number(text, unit), None, "{text:?} was accepted");
        }
        assert_eq!(parse_number("99999999999999999999", Unit::None), None);
        assert_eq!(parse_number("18446744073709551615g", Unit::Bytes), None);
    }
}
